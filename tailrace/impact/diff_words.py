"""A diff of predictions in words, for the terminal, and as plain values for JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from tailrace.impact import words
from tailrace.impact.comparing import Compared, MovedColumn
from tailrace.impact.diffing import Diff
from tailrace.impact.pipeline_diff import MetricChange, MovedSlice, PipelineDiff
from tailrace.problems.metrics import METRICS, written

_MOST = 8


def lines(found: Diff) -> Iterator[str]:
    """The whole diff as text, line by line."""
    yield f"Compared with {found.impact.base.short} ({found.impact.base.words})."
    for each in found.pipelines:
        yield ""
        yield from of_pipeline(each)
    yield ""
    yield conclusion(found)


def conclusion(found: Diff) -> str:
    """The diff in one or two sentences."""
    if not found.pipelines:
        return f"{words.conclusion(found.impact)} Nothing was built."
    took = f" {len(found.built)} models built, {found.seconds:.0f} s."
    beyond = [each.pipeline for each in found.pipelines if each.beyond]
    wrong = [each.pipeline for each in found.pipelines if each.error]
    if wrong:
        return f"Not compared: {', '.join(wrong)}.{took}"
    if beyond:
        return f"Beyond the review policy: {', '.join(beyond)}.{took}"
    if all(each.skipped for each in found.pipelines):
        return f"Nothing to compare yet.{took}"
    if all(each.equal or each.skipped for each in found.pipelines):
        return f"Nothing changes, proven by digests.{took}"
    return f"Within the review policy.{took}"


def headline(each: PipelineDiff) -> str:
    """What happens to the predictions of a pipeline, in one line."""
    if each.error or each.skipped:
        return (each.error or each.skipped).rstrip(".")
    days = f"{each.days[0]} to {each.days[-1]}" if len(each.days) > 1 else str(each.days[0])
    predictions = each.predictions
    if predictions is None:
        return f"nothing was scored for {days}"
    if predictions.equal:
        return f"0 of {predictions.rows[0]:,} predictions change (proven by digest), {days}"
    share = each.moved / predictions.both if predictions.both else 0.0
    flips = f", {each.flips:,} decisions flip" if each.flips is not None else ""
    rows = _rows(predictions)
    return f"{each.moved:,} of {predictions.both:,} predictions change ({share:.1%}){flips}{rows}, {days}"


def of_pipeline(each: PipelineDiff) -> Iterator[str]:
    """One pipeline, line by line."""
    yield f"{each.pipeline}: {headline(each)}."
    if each.error or each.skipped:
        return
    yield f"  Scored by version {', '.join(each.versions)}, the champion of those days."
    yield from _table("Features", each.features)
    yield from _table("Outcomes", each.outcomes)
    yield from _table("Predictions", each.predictions)
    if each.shift:
        yield f"  Scores move by {each.shift:.2f} standard deviations on average."
    yield from (f"  Most moved: {slice_words(one)}" for one in each.slices)
    yield from (f"  {metric_words(one)}" for one in each.metrics if one.before != one.after)
    yield from (f"  Beyond what the champion learned from: {name} ({said})" for name, said in each.left_range.items())
    if each.left_range:
        yield "  A training is due: the champion has not learned such values."
    yield from (f"  Tonight would refuse: {said}" for said in each.refusals)
    yield from (f"  Tonight would warn: {said}" for said in each.warnings)
    yield from (f"  Tonight would no longer say: {said}" for said in each.lifted)
    yield from (f"  Review policy: {said}." for said in each.beyond)


def moved_words(each: MovedColumn) -> str:
    """One column that moved."""
    said = [f"{each.column}: {each.changed:,} of {each.rows:,} ({each.share:.1%})"]
    if each.types:
        said.append(f"{each.types[0]} became {each.types[1]}")
    if each.missing[0] != each.missing[1]:
        said.append(f"missing {each.missing[0]:,} -> {each.missing[1]:,}")
    if each.before and each.after:
        said.append(f"median {each.before[2]:.4g} -> {each.after[2]:.4g}")
    if each.difference:
        said.append(f"change {each.difference[0]:+.3g} to {each.difference[-1]:+.3g} (5 to 95 %)")
    for values, what in ((each.new, "new values"), (each.gone, "values gone")):
        if values:
            more = f" and {len(values) - 4} more" if len(values) > 4 else ""
            said.append(f"{what}: {', '.join(values[:4])}{more}")
    return ", ".join(said)


def slice_words(one: MovedSlice) -> str:
    flips = f"{one.flips:,} flip, " if one.flips else ""
    return f"{one.column} = {one.value}: {one.rows:,} rows, {flips}mean change {one.mean_size:.4g}"


def metric_words(one: MetricChange) -> str:
    better = "better" if METRICS[one.metric].gain(one.after, one.before) > 0 else "worse"
    return f"{one.metric} on {one.rows:,} known outcomes: {written(one.before)} -> {written(one.after)} ({better})"


def values(found: Diff) -> dict[str, Any]:
    """The diff as values for JSON."""
    return {
        "impact": words.values(found.impact),
        "pipelines": [
            {
                **{name: it for name, it in asdict(each).items() if name != "drawn"},
                "days": [str(day) for day in each.days],
                "headline": headline(each),
                "changed_predictions": each.moved,
            }
            for each in found.pipelines
        ],
        "built": [asdict(each) for each in found.built],
        "seconds": found.seconds,
        "failed": found.failed,
        "sentence": conclusion(found),
    }


def _table(name: str, compared: Compared | None) -> Iterator[str]:
    if compared is None:
        return
    if compared.equal:
        yield f"  {name}: {compared.rows[0]:,} rows, equal."
        return
    rows = _rows(compared)
    if rows:
        yield f"  {name}: {compared.rows[0]:,} rows before, {compared.rows[1]:,} after{rows}."
    for names, said in ((compared.only_before, "no longer there"), (compared.only_after, "new")):
        if names:
            yield f"  {name}, {said}: {', '.join(names)}"
    yield from (f"  {name}, {moved_words(each)}" for each in compared.moved[:_MOST])
    if len(compared.moved) > _MOST:
        yield f"  {name}: {len(compared.moved) - _MOST} more columns differ."


def _rows(compared: Compared) -> str:
    before, after = compared.repeated
    counts = (
        (compared.gone, f"{compared.gone:,} gone"),
        (compared.new, f"{compared.new:,} new"),
        (before, f"{before:,} keys are repeated before the edit, so their rows are not compared"),
        (after, f"{after:,} keys are repeated after the edit, so their rows are not compared"),
    )
    said = [text for count, text in counts if count]
    return f"; {', '.join(said)}" if said else ""
