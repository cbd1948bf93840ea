"""A day's page: what was published for it, from which inputs, the checks, and what it replaced."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from tailrace.contracts import Commit, Pin, RunRecord
from tailrace.errors import TailraceError, UpstreamMissing
from tailrace.lineage import identity, pins, run_tags
from tailrace.monitoring import drift_rows
from tailrace.monitoring.drift_rows import DriftMeasure
from tailrace.monitoring.refusal_evidence import Evidence
from tailrace.operations.day_states import DayState
from tailrace.pages import day_records, histories
from tailrace.pages.pipeline import CalendarDay, calendar_day
from tailrace.pages.sources import Sources, number
from tailrace.problems.distributions import Distribution, equal_edges
from tailrace.rows import refused_days
from tailrace.spec import PipelineSpec, zone

COMPARED = 5
"""How many earlier publications are read again and compared; the others are only listed."""
BINS = 20


@dataclass(frozen=True)
class Check:
    """A limit of the audit, as text."""

    name: str
    seen: str
    limit: str
    passed: bool


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How an earlier publication differs from the present one; rows are matched by key."""

    added: int
    removed: int
    rescored: int
    flipped: int | None
    mean_move: float
    largest_move: float


@dataclass(frozen=True)
class Earlier:
    """An earlier publication; `difference` is None if it was not compared."""

    commit: Commit
    difference: Difference | None


@dataclass(frozen=True)
class SourceDay:
    """A source day that the features were built from; `since`: its rows were landed again with changes."""

    day: dt.date
    digest: str
    since: bool


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """Shares of the rows by prediction: the day's in equal bins, the holdout's as a density in steps, on one scale.

    `column` is the published column; `names` are what its numbers 0, 1, 2 ... stand for, if they are classes.
    """

    edges: tuple[float, ...]
    shares: tuple[float, ...]
    training_edges: tuple[float, ...] = ()
    training_shares: tuple[float, ...] = ()
    names: tuple[str, ...] = ()
    column: str = "score"


@dataclass(frozen=True, kw_only=True)
class RefusedPredictions:
    """What is kept of predictions that the audit refused, by the version that made them."""

    version: str
    evidence: Evidence
    histogram: Histogram | None


@dataclass(frozen=True, kw_only=True)
class DayPage:
    """Everything that the page shows; `commit` is None if the day is not published. `known` is what `state` says.

    The predictions were made from `features_commit`; `features_now` is the lake's latest commit of the day's features.
    `ahead`: the day has not begun, so no run would take it.
    """

    spec: PipelineSpec
    day: dt.date
    state: CalendarDay
    known: DayState
    refused: RefusedPredictions | None
    commit: Commit | None
    features: Pin | None
    features_commit: Commit | None
    features_now: Commit | None
    source_days: tuple[SourceDay, ...]
    training: RunRecord | None
    training_pins: Mapping[str, Pin]
    tracker_problem: str
    checks: tuple[Check, ...]
    performance: Mapping[str, Any] | None
    moved: tuple[DriftMeasure, ...]
    histogram: Histogram | None
    earlier: tuple[Earlier, ...]
    run: tuple[str, str] | None
    requested: Mapping[str, str]
    before: dt.date | None
    after: dt.date | None
    ahead: bool = False


def gather(sources: Sources, spec: PipelineSpec, day: dt.date) -> DayPage:
    """Raises LakeUnavailable."""
    sources.look_again(spec)
    commit = sources.lake.days(spec.predictions_table).get(day)
    attempts = sources.activity.attempts({spec.name: None}).get(spec.name, {})
    states = day_records.states(sources, spec, attempts, also=day)
    state = states[day]
    attempt = attempts.get(day, {}).get("predict")
    metadata: Mapping[str, str] = commit.metadata if commit else {}
    tracked = sources.tracker.of(spec.name)
    training = tracked.run(identity.training_run(commit, tracked.versions)) if commit else None
    features = pins.from_json(metadata["features_pin"]) if metadata.get("features_pin") else None
    measured = sources.performance(spec.name) or []
    performance = next((row for row in measured if row["ds"] == day), None)
    of_day = sources.lake.commits(spec.predictions_table, day)
    features_commit = _features_commit(sources, spec, day, features)
    return DayPage(
        spec=spec,
        day=day,
        state=calendar_day(state, zone(spec), sources.today(zone(spec))),
        known=state,
        refused=_refused(sources, spec, day),
        commit=commit,
        features=features,
        features_commit=features_commit,
        features_now=sources.lake.days(spec.features_table).get(day),
        source_days=_source_days(sources, spec, features_commit) if features_commit else (),
        training=training,
        training_pins=pins.from_tags(training.tags) if training else {},
        tracker_problem=tracked.problem,
        checks=_checks(spec, metadata) if commit and not histories.is_stand_in(spec) else (),
        performance=performance,
        moved=drift_rows.of_row(performance) if performance else (),
        histogram=_histogram(sources, spec, commit, training)
        if commit and commit.rows and not histories.is_stand_in(spec)
        else None,
        earlier=tuple(_earlier(sources, spec, commit, of_day)) if commit else (),
        run=_run(metadata) or ((attempt.dag_id, attempt.run_id) if attempt else None),
        requested={
            name.removeprefix("request_"): value for name, value in metadata.items() if name.startswith("request_")
        },
        before=max((each for each in states if each < day), default=None),
        after=min((each for each in states if each > day), default=None),
        ahead=day > sources.today(zone(spec)),
    )


def _features_commit(sources: Sources, spec: PipelineSpec, day: dt.date, pin: Pin | None) -> Commit | None:
    """The publication of the day's features that the predictions were made from."""
    if pin is None:
        return None
    lake, table = sources.lake, spec.features_table
    for commit in lake.commits(table, day):
        try:
            if not lake.came_after(table, commit.version, pin.version):
                return commit
        except UpstreamMissing:  # the pin in the commit's metadata was damaged: it names no version
            return None
    return None


def _source_days(sources: Sources, spec: PipelineSpec, commit: Commit) -> tuple[SourceDay, ...]:
    """The source days of the features, oldest first, compared with those of the latest features."""

    def latest() -> dict[dt.date, str]:
        known: dict[dt.date, str] = {}
        for each in sources.lake.commits(spec.features_table):
            known = {**pins.source_days(each.metadata), **known}
        return known

    nothing: dict[dt.date, str] = {}
    now = sources.lake.cached(spec.features_table, "source days", latest, nothing)
    return tuple(
        SourceDay(day, digest, now.get(day, digest) != digest)
        for day, digest in pins.source_days(commit.metadata).items()
    )


def _checks(spec: PipelineSpec, metadata: Mapping[str, str]) -> tuple[Check, ...]:
    """The audit's measurements, each with the limit that applies now."""
    audit, checks = spec.audit, []
    nulls, coverage, psi = (_measured(metadata, f"audit_{name}") for name in ("null_share", "coverage", "psi"))
    if nulls is not None:
        limit = f"at most {audit.max_null_share:.1%}"
        checks.append(Check("Rows without a prediction", f"{nulls:.1%}", limit, nulls <= audit.max_null_share))
    if coverage is not None:
        limit = f"at least {audit.min_coverage:.1%}"
        checks.append(Check("Rows predicted", f"{coverage:.1%}", limit, audit.min_coverage <= coverage <= 1))
    most = min((each for each in (_measured(metadata, "audit_psi_limit"), audit.max_psi) if each), default=None)
    if psi is not None and most is not None:
        limit = f"at most {most:.2f}"
        checks.append(Check("Predictions moved since training (PSI)", f"{psi:.2f}", limit, psi <= most))
    warnings = metadata.get("audit_warnings")
    if warnings is not None:
        checks.append(Check("Expectations with warnings", warnings or "0", "0 is best", warnings in ("", "0")))
    return tuple(checks)


def _measured(metadata: Mapping[str, str], name: str) -> float | None:
    try:
        return number(float(metadata.get(name) or "nan"))
    except ValueError:
        return None


def _run(metadata: Mapping[str, str]) -> tuple[str, str] | None:
    """The DAG run that published the day; None if it was not published from Airflow."""
    dag, _, run = metadata.get("run_id", "").partition("/")
    return (dag, run) if run else None


def _histogram(sources: Sources, spec: PipelineSpec, commit: Commit, training: RunRecord | None) -> Histogram:
    nothing: tuple[tuple[float, ...], tuple[float, ...]] = ((), ())
    edges, shares = sources.lake.cached(
        spec.predictions_table, ("histogram", commit.day), lambda: _shares(sources, spec, commit), nothing
    )
    tag = training.tags.get(run_tags.HOLDOUT_SCORES) if training else None
    return _beside(spec, edges, shares, Distribution.from_json(tag) if tag else None)


def _refused(sources: Sources, spec: PipelineSpec, day: dt.date) -> RefusedPredictions | None:
    """The last refusal of the day, unless it was published since."""
    refusals = refused_days.history(sources.lake, spec)
    last = next((each for each in refusals if each.day == day and each.stands and each.evidence), None)
    if last is None:
        return None
    found = Evidence.from_json(last.evidence)
    holdout = Distribution.from_fields(found.holdout) if found.holdout else None
    # without a spec, what the numbers stand for is not known
    known = found.edges and not histories.is_stand_in(spec)
    drawn = _beside(spec, found.edges, found.shares, holdout) if known else None
    return RefusedPredictions(version=last.model_version, evidence=found, histogram=drawn)


def _beside(
    spec: PipelineSpec,
    edges: tuple[float, ...],
    shares: tuple[float, ...],
    holdout: Distribution | None,
) -> Histogram:
    """The day's shares with the holdout's on the same scale; without those if they are not known."""
    ours = Histogram(edges=edges, shares=shares, names=spec.problem.drift_names, column=spec.predictions.score)
    if holdout is None or not edges:
        return ours
    holdout = holdout.in_order_of(spec.problem.drift_classes).without_thin_bins()
    low, high = edges[0], edges[-1]
    bounds = (min([low, *holdout.edges]), *holdout.edges, max([high, *holdout.edges]))
    training_edges, training_shares = as_steps(bounds, holdout.shares, (high - low) / (len(edges) - 1))
    return replace(ours, training_edges=training_edges, training_shares=training_shares)


def as_steps(
    bounds: Sequence[float], shares: Sequence[float], width: float
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The bins' edges, and the share of the rows that each has in `width` of its range.

    Bins that are so narrow that this would be more than all rows, such as those of nearly equal values, are joined.
    """
    edges, joined, waiting = [bounds[0]], list[float](), 0.0
    for above, share in zip(bounds[1:], shares, strict=True):
        waiting += share
        if waiting * width <= above - edges[-1]:
            edges.append(above)
            joined.append(waiting)
            waiting = 0.0
    if waiting:
        while joined and waiting * width > bounds[-1] - edges[-1]:
            waiting += joined.pop()
            edges.pop()
        edges.append(bounds[-1])
        joined.append(waiting)
    steps = zip(joined, edges[:-1], edges[1:], strict=True)
    return tuple(edges), tuple(share and share * width / (above - below) for share, below, above in steps)


def _shares(sources: Sources, spec: PipelineSpec, commit: Commit) -> tuple[tuple[float, ...], tuple[float, ...]]:
    import numpy as np

    problem, column = spec.problem, spec.problem.drift_column(spec.predictions)
    values = problem.drift_values(_published(sources, spec, commit, [column])[column])
    counts, edges = np.histogram(values, equal_edges(values, len(problem.drift_names) or BINS, problem.drift_range))
    return tuple(edges.tolist()), tuple((counts / max(counts.sum(), 1)).tolist())


def _published(sources: Sources, spec: PipelineSpec, commit: Commit, columns: Sequence[str]) -> pa.Table:
    """The rows of that publication, read at its version."""
    return sources.lake.read(
        spec.predictions_table, first=commit.day, last=commit.day, version=commit.version, columns=columns
    ).read_all()


def _earlier(sources: Sources, spec: PipelineSpec, commit: Commit, of_day: Sequence[Commit]) -> list[Earlier]:
    """The day's publications before the present one, newest first."""
    before = [each for each in of_day if each.version != commit.version]

    def compared(each: Commit) -> Difference | None:
        what = ("difference", each.version, commit.version)
        return sources.lake.cached(spec.predictions_table, what, lambda: _difference(sources, spec, each, commit), None)

    most = 0 if histories.is_stand_in(spec) else COMPARED
    return [Earlier(each, compared(each) if place < most else None) for place, each in enumerate(before)]


def _difference(sources: Sources, spec: PipelineSpec, before: Commit, now: Commit) -> Difference | None:
    """None if the earlier rows no longer exist: vacuuming removes old versions."""
    import numpy as np

    key, score, decision = list(spec.features.key), spec.predictions.score, spec.problem.decision_of(spec.predictions)
    columns = [*key, score, *([decision] if decision else [])]
    try:
        old, new = (_published(sources, spec, each, columns) for each in (before, now))
    except TailraceError:
        return None
    both = new.join(old, keys=key, join_type="inner", right_suffix="_before")
    moves = np.abs(both[score].to_numpy() - both[f"{score}_before"].to_numpy())
    moves = moves[np.isfinite(moves)]
    decided = both.select([decision, f"{decision}_before"]).to_pylist() if decision else []
    return Difference(
        added=new.num_rows - both.num_rows,
        removed=old.num_rows - both.num_rows,
        rescored=int((moves > 1e-9).sum()),
        flipped=sum(len(set(row.values())) > 1 for row in decided) if decision else None,
        mean_move=float(moves.mean()) if len(moves) else 0.0,
        largest_move=float(moves.max()) if len(moves) else 0.0,
    )
