"""Judge the staged predictions on exactly the staged files, before anyone can read them."""

from __future__ import annotations

import datetime as dt
import math
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tailrace.champions import policies, score_limits
from tailrace.champions.score_limits import JudgedScores
from tailrace.contracts import LakeReader, Staged, Verdict
from tailrace.errors import AuditFailed, StagingGone
from tailrace.lineage import identity, pins
from tailrace.lineage.identity import Identity
from tailrace.monitoring import refusal_evidence
from tailrace.problems.distributions import DAYS_BEFORE, Distribution
from tailrace.rows import refused_days
from tailrace.spec import PipelineSpec
from tailrace.stages import publish
from tailrace.validation import describe_failures
from tailrace.work import Work

MEMORY = "512MB"
"""What grouping the keys may take of it."""


@dataclass(frozen=True, kw_only=True)
class Audited:
    """What the audit measured; `psi` is None where it was not judged (too few rows, or no limit).

    `coverage` is None where no predictions were due: nothing of nothing is not full coverage.
    """

    pipeline: str
    day: dt.date
    run_id: str
    rows: int
    null_share: float
    coverage: float | None
    psi: float | None
    warnings: tuple[str, ...]
    report: str


def run(work: Work, day: dt.date, *, dry_run: bool = False) -> Audited:
    """Raises AuditFailed listing everything outside its threshold; the staged rows are then removed.

    The refusal is written down in the lake table `refusals/<pipeline>`, unless it is a dry run's. A retry finds no
    staged rows, and raises what was written down. Raises StagingGone if nothing was staged.
    """
    services, spec = work.services, work.spec
    try:
        staged = services.lake.staged(spec.predictions_table, day, work.run_id)
    except StagingGone as gone:
        if refused := refused_days.by_run(services.lake, spec, day, work.run_id):
            version, reason = refused
            raise AuditFailed(_sentence(spec, day, version=version, problems=[reason], report="")) from gone
        raise
    verdict = services.validator.validate(
        f"{spec.name}/predictions", day, services.lake.read_staged(staged), spec.features.key
    )
    now = policies.of_commit(staged.notes)
    scored_under = policies.under(spec, now) if now else spec
    nulls, scores, wrong = _scores(scored_under, services.lake.read_staged(staged))
    null_share = _null_share(staged, nulls)
    due = pins.from_json(staged.notes["features_pin"]).rows
    coverage = staged.rows / due if due else None
    moved = _judged_scores(services.lake, scored_under, staged, scores)
    problems = _beyond_limits(spec, staged, due=due, nulls=nulls, coverage=coverage)
    problems += moved.problems if moved else ()
    problems += [f"{count} of {staged.rows} predictions {what}." for what, count in wrong.items() if count]
    problems += _key_problems(work, staged)
    if not due and (emptied := _emptied(work, day)):
        problems.append(emptied)
    if verdict.failures("critical"):
        problems.append(describe_failures(verdict, "critical"))
    if problems:
        if not dry_run:
            evidence = refusal_evidence.of(work, staged, verdict, scores).to_json()
            version, reason = staged.notes["model_version"], " ".join(problems)
            refused_days.record(work, day, model_version=version, reason=reason, evidence=evidence)
        services.lake.discard(staged)
        version = staged.notes["model_version"]
        raise AuditFailed(_sentence(spec, day, version=version, problems=problems, report=verdict.report))
    services.lake.annotate(staged, _notes(verdict, null_share, coverage, moved))
    warnings = (describe_failures(verdict, "warning"),) if verdict.failures("warning") else ()
    return Audited(
        pipeline=spec.name,
        day=day,
        run_id=work.run_id,
        rows=staged.rows,
        null_share=null_share,
        coverage=coverage,
        psi=moved.psi if moved else None,
        warnings=warnings,
        report=verdict.report,
    )


def run_all(work: Work, days: Sequence[dt.date], *, dry_run: bool = False) -> list[Audited]:
    """Audit several days of a run. If one is refused, raises AuditFailed about all that are, and nothing stays staged.

    Raises what `run` raises.
    """
    judged, refused, gone = [], [], []
    for day in days:
        try:
            judged.append(run(work, day, dry_run=dry_run))
        except AuditFailed as refusal:
            refused.append(str(refusal))
        except StagingGone as error:
            # What an earlier try discarded with the refused days. They say why.
            gone.append(error)
    if refused:
        for one in judged:
            publish.discard(work, one.day)
        raise AuditFailed("\n".join(refused))
    if gone:
        raise gone[0]
    return judged


def _sentence(spec: PipelineSpec, day: dt.date, *, version: str, problems: Sequence[str], report: str) -> str:
    listed = "\n".join(f"  - {problem}" for problem in problems)
    docs = f" Data Docs: {report}" if report else ""
    return (
        f"{spec.predictions_table} of {day}, scored by version {version}, is refused:\n"
        f"{listed}\nWhat was published before stays. Look at the features of {day} and at the model; "
        f"the thresholds are `audit` in pipelines/{spec.name}.py.{docs}"
    )


def beyond_limits(
    lake: LakeReader,
    spec: PipelineSpec,
    day: dt.date,
    rows: pa.Table,
    *,
    model: Identity,
    holdout_scores: str,
    due: int,
) -> list[str]:
    """What the audit of a day would refuse in these predictions of a model, apart from the suite; nothing need be
    staged."""
    staged = Staged(
        table=spec.predictions_table,
        day=day,
        run_id="",
        rows=rows.num_rows,
        fence=0,
        digest="",
        files=(),
        notes={"holdout_scores": holdout_scores, **identity.notes(model)},
    )
    nulls, scores, wrong = _scores(spec, rows.to_batches())
    coverage = staged.rows / due if due else None
    moved = _judged_scores(lake, spec, staged, scores)
    problems = _beyond_limits(spec, staged, due=due, nulls=nulls, coverage=coverage)
    problems += moved.problems if moved else ()
    return problems + [f"{count} of {staged.rows} predictions {what}." for what, count in wrong.items() if count]


def _null_share(staged: Staged, nulls: int) -> float:
    return nulls / staged.rows if staged.rows else 0.0


def _scores(spec: PipelineSpec, batches: Iterable[pa.RecordBatch]) -> tuple[int, np.ndarray, Counter[str]]:
    """How many scores are null or NaN, the numbers that drift is told by (8 bytes a row in memory), and how many rows
    contradict themselves, by what is wrong with them."""
    problem, columns = spec.problem, spec.predictions
    nulls, parts, wrong = 0, [np.empty(0)], Counter[str]()
    for batch in batches:
        rows = pa.Table.from_batches([batch])
        nulls += pc.sum(pc.is_null(rows[columns.score], nan_is_null=True)).as_py() or 0
        parts.append(problem.drift_values(rows[problem.drift_column(columns)]))
        wrong.update(problem.wrong_published(columns, rows))
    return nulls, np.concatenate(parts), wrong


def _key_problems(work: Work, staged: Staged) -> list[str]:
    """What is wrong with the keys: of features that an earlier release took in, some may repeat or be missing."""
    import duckdb

    spec = work.spec
    names = ['"' + name.replace('"', '""') + '"' for name in spec.features.key]
    key, missing = ", ".join(names), " or ".join(f"{name} is null" for name in names)
    with (
        tempfile.TemporaryDirectory(prefix="tailrace-audit-") as folder,
        # Beyond its memory, DuckDB groups on disk.
        duckdb.connect(config={"memory_limit": MEMORY, "temp_directory": folder}) as connection,
    ):
        rows = connection.from_arrow(work.services.lake.read_staged(staged))
        keys = rows.aggregate(f"count(*) as n, bool_or({missing}) as missing", key)
        counts = "count(*) filter (where n > 1 and not missing), coalesce(sum(n) filter (where missing), 0)"
        repeated, nameless = keys.aggregate(counts).fetchall()[0]
    said = []
    if repeated:
        said.append(f"{repeated} keys ({', '.join(spec.features.key)}) have more than one prediction each.")
    if nameless:
        said.append(f"{nameless} predictions have no key ({', '.join(spec.features.key)}).")
    if said:
        said.append(f"Correct {spec.mart('features').table} in dbt and take the day into the lake again.")
    return [" ".join(said)] if said else []


def _judged_scores(lake: LakeReader, spec: PipelineSpec, staged: Staged, scores: np.ndarray) -> JudgedScores | None:
    """How far the scores moved from the holdout's; None if the spec names no limit, or the day has too few rows."""
    audit = spec.audit
    if not score_limits.judged(audit, len(scores)):
        return None
    holdout = Distribution.from_json(staged.notes["holdout_scores"]).in_order_of(spec.problem.drift_classes)
    before = []
    if audit.max_psi_excess is not None:
        before = _days_before(lake, spec, staged.day, model=identity.of_commit(staged.notes), holdout=holdout)
    return score_limits.judge(audit, holdout, scores, before=before)


def _days_before(
    lake: LakeReader, spec: PipelineSpec, day: dt.date, *, model: Identity, holdout: Distribution
) -> list[float]:
    """How far each of the days that the model published before the day is from its holdout, beyond chance.

    What another model published says nothing about this one's scores, and would widen the limit until nothing is
    refused. So a new champion is judged by the single days of its holdout alone, as the gate judged it. Days on which
    this audit would refuse that so many predictions are the same are left out, too.
    """
    first, last = day - dt.timedelta(days=DAYS_BEFORE), day - dt.timedelta(days=1)
    published = lake.days(spec.predictions_table, first=first, last=last)
    made_by = {each: identity.of_commit(commit.metadata) for each, commit in published.items()}
    own = [each for each in sorted(made_by) if made_by[each].version and not made_by[each].differs(model)]
    if not own:
        return []
    column = spec.problem.drift_column(spec.predictions)
    counts: dict[dt.date, np.ndarray] = {}
    varied: set[dt.date] = set()
    for batch in lake.read(spec.predictions_table, first=own[0], last=own[-1], columns=["ds", column]):
        rows = pa.Table.from_batches([batch])
        rows = rows.filter(pc.is_in(rows["ds"], pa.array(own, pa.date32())))
        for each in pc.unique(rows["ds"]):
            scores = spec.problem.drift_values(rows.filter(pc.equal(rows["ds"], each))[column])
            counts[each.as_py()] = counts.get(each.as_py(), np.zeros(1, int)) + holdout.counts(scores)
            if not score_limits.repeats_too_much(holdout, scores):
                varied.add(each.as_py())
    return [
        holdout.beyond_chance(counts[each])
        for each in sorted(varied & counts.keys())
        if counts[each].sum() >= spec.audit.psi_rows
    ]


def _emptied(work: Work, day: dt.date) -> str:
    """A sentence if predictions would be replaced by none, and no build knows why the day has no features."""
    services, spec = work.services, work.spec
    published = services.lake.days(spec.predictions_table, first=day, last=day).get(day)
    features = services.lake.days(spec.features_table, first=day, last=day).get(day)
    if published is None or not published.rows or (features is not None and pins.EMPTY in features.metadata):
        return ""
    return (
        f"{spec.features_table} has no rows of {day}, without a reason for it, and {published.rows} predictions are "
        f"published; build the day again: tailrace warehouse --date {day}."
    )


def _beyond_limits(
    spec: PipelineSpec,
    staged: Staged,
    *,
    due: int,
    nulls: int,
    coverage: float | None,
) -> list[str]:
    """What is beyond the limits of the spec's audit."""
    audit, null_share, problems = spec.audit, _null_share(staged, nulls), []
    if null_share > audit.max_null_share:
        problems.append(
            f"{null_share:.1%} of the scores are null ({nulls} of {staged.rows}); "
            f"at most {audit.max_null_share:.1%} may be."
        )
    if coverage is not None and coverage < audit.min_coverage:
        problems.append(
            f"{staged.rows} predictions for {due} feature rows ({coverage:.1%}); "
            f"at least {audit.min_coverage:.1%} are due."
        )
    if coverage is not None and coverage > 1:
        problems.append(f"{staged.rows} predictions for {due} feature rows: some are there twice.")
    return problems


def _notes(verdict: Verdict, null_share: float, coverage: float | None, moved: JudgedScores | None) -> dict[str, str]:
    return {
        "audit": "passed",
        "audit_null_share": f"{null_share:.6f}",
        "audit_coverage": "" if coverage is None else f"{coverage:.6f}",
        "audit_psi": _number(moved.psi if moved else None),
        "audit_psi_limit": _number(moved.limit if moved else None),
        "audit_warnings": str(len(verdict.failures("warning"))),
    }


def _number(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.6f}"
