"""A diff as a comment for a pull request: Markdown of at most 60,000 characters, the most important first."""

from __future__ import annotations

from collections.abc import Iterator

from tailrace.impact import diff_words, words
from tailrace.impact.diffing import Diff
from tailrace.impact.pipeline_diff import PipelineDiff
from tailrace.reporting.templating import cell

LIMIT = 60_000
"""GitHub takes 65,536 characters, GitLab a million."""
MARK = "<!-- tailrace diff -->"
"""By this, the next run finds its own comment and replaces it."""


def markdown(found: Diff) -> str:
    """The comment."""
    text, cut = [], False
    length = 0
    for part in _parts(found):
        if length + len(part) + 2 > LIMIT - 200:
            cut = True
            break
        text.append(part)
        length += len(part) + 2
    if cut:
        text.append("The rest does not fit into a comment: run `tailrace diff` to see it.")
    return "\n\n".join(text) + "\n"


def _parts(found: Diff) -> Iterator[str]:
    yield f"{MARK}\n### What this edit does to the predictions"
    yield f"**{cell(diff_words.conclusion(found))}** Compared with `{found.impact.base.short}`."
    if found.pipelines:
        yield _overview(found)
    for each in found.pipelines:
        yield from _pipeline(each)
    yield _details("What the edit touches", "\n".join(f"    {line}" for line in words.lines(found.impact)))


def _overview(found: Diff) -> str:
    rows = ["| pipeline | predictions | review policy |", "|---|---|---|"]
    for each in found.pipelines:
        verdict = (
            "not compared"
            if each.error or each.skipped
            else "; ".join(each.beyond) or ("equal" if each.equal else "within")
        )
        rows.append(f"| {cell(each.pipeline)} | {cell(diff_words.headline(each))} | {cell(verdict)} |")
    return "\n".join(rows)


def _pipeline(each: PipelineDiff) -> Iterator[str]:
    judged = each.refusals or each.warnings or each.lifted
    if each.error or each.skipped or (each.equal and not judged):
        return
    yield f"#### {cell(each.pipeline)}"
    said = [diff_words.metric_words(one) for one in each.metrics if one.before != one.after]
    said += [f"beyond what the champion learned from: {name} ({it})" for name, it in each.left_range.items()]
    said += [f"tonight would refuse: {it}" for it in each.refusals]
    said += [f"tonight would warn: {it}" for it in each.warnings]
    said += [f"tonight would no longer say: {it}" for it in each.lifted]
    if said:
        yield "\n".join(f"- {cell(line)}" for line in said)
    for name, table in (("Features", each.features), ("Outcomes", each.outcomes), ("Predictions", each.predictions)):
        if table is not None and table.moved:
            listed = "\n".join(f"- {cell(diff_words.moved_words(one))}" for one in table.moved)
            yield _details(f"{name} that moved: {len(table.moved)}", listed)
    if each.slices:
        yield _details("Where most moves", "\n".join(f"- {cell(diff_words.slice_words(one))}" for one in each.slices))


def _details(title: str, text: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{text}\n\n</details>"
