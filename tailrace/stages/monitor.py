"""How published days turned out, and how far their features and scores moved from those of the training."""

from __future__ import annotations

import datetime as dt
import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tailrace import days
from tailrace.champions import model_versions, policies
from tailrace.contracts import Commit, Services
from tailrace.errors import ModelGone, PinLost, SchemaMismatch, UpstreamMissing
from tailrace.lineage import identity, pins, provenance, run_tags
from tailrace.lineage.identity import Identity
from tailrace.monitoring import drift, performance, references
from tailrace.monitoring.drift import Drift, Look, Moved
from tailrace.monitoring.references import References
from tailrace.problems.distributions import DAYS_BEFORE, Distribution, population_stability_index
from tailrace.spec import PipelineSpec
from tailrace.stages.score import PREDICTIONS_DIGEST, PUBLISHED_COLUMNS, predictions_digest
from tailrace.work import Work

log = logging.getLogger("tailrace")

ROWS_AT_ONCE = 500_000
"""Days before are read together up to so many rows."""
SCHEMA = pa.schema(
    [
        pa.field("model_version", pa.string()),
        pa.field("rows", pa.int64()),
        pa.field("known_outcomes", pa.int64()),
        pa.field("mean_label", pa.float64()),
        pa.field("mean_score", pa.float64()),
        pa.field("metrics", pa.string()),
        pa.field("score_psi", pa.float64()),
        pa.field("worst_feature", pa.string()),
        pa.field("worst_feature_psi", pa.float64()),
        pa.field("feature_psi", pa.string()),
        pa.field("drift", pa.string()),
        pa.field("note", pa.string()),
        pa.field("score_allowance", pa.float64()),
        pa.field("feature_allowance", pa.string()),
        pa.field("jumped", pa.string()),
    ]
)


@dataclass(frozen=True, kw_only=True)
class DayPerformance:
    """A published day. Drift is None where it cannot be told; `note` says why, or what moved.

    `metrics` is a JSON object of those metrics of the problem that are defined for the day's known outcomes;
    `feature_psi` is a JSON object of the population stability index of each feature; the worst feature is the one
    that goes furthest beyond what single days of the training window showed. `score_allowance`, and `feature_allowance`
    as a JSON object, are the indexes that the day may have without having drifted. `jumped` is a JSON list of the
    features that jumped, with '' for the scores.
    """

    day: dt.date
    model_version: str
    rows: int
    known_outcomes: int
    mean_label: float | None
    mean_score: float | None
    metrics: str
    score_psi: float | None
    worst_feature: str | None
    worst_feature_psi: float | None
    feature_psi: str | None
    drift: Drift | None
    note: str
    score_allowance: float | None = None
    feature_allowance: str | None = None
    jumped: str | None = None


@dataclass(frozen=True, kw_only=True)
class Monitored:
    """The days of `performance/<pipeline>` that were written anew, and the drift of the last of them."""

    pipeline: str
    day: dt.date
    days: int
    changed: int
    outcomes: int
    drift: Drift | None
    worst_feature: str | None
    note: str


def run(work: Work, day: dt.date) -> Monitored:
    """Write the performance of `day`, and anew that of the days before whose outcomes may have become known since.

    Each day is judged by all that the lake has of it, so runs may come late or in any order. The request goes into the
    commits. A day that was published without a column that the spec names is left as it was measured. Raises
    UpstreamMissing if none of these days is published, SchemaMismatch if all were published without such a column.
    """
    spec = work.spec
    earliest = day - dt.timedelta(days=spec.outcome.last_lag)
    since = earliest - dt.timedelta(days=DAYS_BEFORE)
    published = work.services.lake.days(spec.predictions_table, first=since, last=day)
    due = [one for one in days.span(earliest, day) if one in published]
    if not due:
        raise UpstreamMissing(
            f"{spec.predictions_table} has no published predictions from {earliest} to {day}, so there is nothing to "
            f"monitor; publish them with: tailrace predict {spec.name} --date {day}."
        )
    due, left = _measurable(work, due, published)
    seen: dict[Identity | str, _Trained] = {}
    trained = {one: _trained(work, published[one], seen) for one in due}
    past = _Past(work, published, list(seen.values()))
    told = _told(work, due[0], due[-1])
    found, changed = [], 0
    for one in past.until(due):
        found.append(_of_day(work, one, published[one], trained=trained[one], past=past))
        changed += _publish(work, found[-1], told.get(one))
    last = found[-1]
    gap = f"{day} is not published; the last published day before it is {last.day}."
    return Monitored(
        pipeline=spec.name,
        day=day,
        days=len(found),
        changed=changed,
        outcomes=sum(one.known_outcomes for one in found),
        drift=last.drift,
        worst_feature=last.worst_feature,
        note=last.note if last.day == day else left.get(day, gap),
    )


def _measurable(
    work: Work, due: Sequence[dt.date], published: Mapping[dt.date, Commit]
) -> tuple[list[dt.date], dict[dt.date, str]]:
    """The days that have all columns by which the spec measures them, and for each other day why it is left out.

    A column that was named or added after a day was published is null for that day: it says nothing about its
    predictions. Raises SchemaMismatch if no day is left.
    """
    spec, left = work.spec, {}
    for day in due:
        if lacks := _lacks(work, published[day]):
            left[day] = (
                f"{spec.predictions_table} of {day} was published without {', '.join(lacks)}, which {spec.name} names "
                "now, so its performance stays as it was measured. If a column was renamed, give it its former name in "
                f"pipelines/{spec.name}.py."
            )
    for sentence in left.values():
        log.warning("%s", sentence)
    if len(left) == len(due):
        raise SchemaMismatch(left[due[-1]])
    return [day for day in due if day not in left], left


def _lacks(work: Work, commit: Commit) -> list[str]:
    """The columns that a published day is measured by, and that it was not published with."""
    lake, spec = work.services.lake, policies.as_published(work.spec, commit.metadata)
    problem, columns = spec.problem, spec.predictions
    named = list(dict.fromkeys([columns.score, problem.drift_column(columns), *problem.columns_due(columns)]))
    if PUBLISHED_COLUMNS in commit.metadata:
        there = json.loads(commit.metadata[PUBLISHED_COLUMNS])
        return [name for name in named if name not in there]
    if commit.metadata.get(PREDICTIONS_DIGEST) == predictions_digest(spec):
        return []
    # Earlier releases did not note the columns.
    there = [name for name in named if name in lake.schema(spec.predictions_table).names]
    rows = lake.read(spec.predictions_table, first=commit.day, last=commit.day, columns=there).read_all()
    return [name for name in named if name not in there or 0 < rows.num_rows == rows[name].null_count]


@dataclass(frozen=True)
class _Trained:
    """What a version was trained on, as far as it was kept; `gone`: why its training is not known any more."""

    references: References | None
    scores: Distribution | None
    gone: str = ""


def _trained(work: Work, commit: Commit, seen: dict[Identity | str, _Trained]) -> _Trained:
    """What the model that made the commit was trained on; `seen` holds what was looked up before, by model and run."""
    services, model = work.services, identity.of_commit(commit.metadata)
    if model in seen:
        return seen[model]
    try:
        record = model_versions.trained_by(services, work.spec, commit)
    except ModelGone as gone:
        return _Trained(None, None, f"Drift is not known: {gone}")
    if record.training_run not in seen:
        scores = record.tags.get(run_tags.HOLDOUT_SCORES)
        known = Distribution.from_json(scores) if scores else None
        seen[record.training_run] = _Trained(references.of_run(services.tracker, record.training_run), known)
    seen[model] = seen[record.training_run]
    return seen[model]


class _Past:
    """What the published days were like, by each of some trainings: every day is read once, oldest first."""

    def __init__(self, work: Work, published: Mapping[dt.date, Commit], trainings: Sequence[_Trained]) -> None:
        self._work, self._published = work, published
        self._trainings = {id(each): each.references for each in trainings if each.references}
        self._looks: dict[int, dict[dt.date, dict[str, Look]]] = {each: {} for each in self._trainings}

    def until(self, due: Sequence[dt.date]) -> Iterator[dt.date]:
        """Yields each of the due days when the days before it are known."""
        first, fewest = due[0] - dt.timedelta(days=DAYS_BEFORE), self._work.spec.monitor.rows
        known = [
            each
            for each in days.span(first, due[-1])
            if self._trainings and each in self._published and self._published[each].rows >= fewest
        ]
        left = iter(due)
        waiting: dt.date | None = next(left)
        for group in self._groups(known):
            names = sorted({name for held in self._trainings.values() for name in held.compared(self._work.spec)})
            features = _features(self._work, group[0], names, last=group[-1])
            scores = _told_by(self._work, {each: self._published[each] for each in group})
            for each in group:
                while waiting is not None and waiting <= each:
                    yield waiting
                    waiting = next(left, None)
                of_day = features.filter(pc.equal(features["ds"], pa.scalar(each)))
                self._look(each, of_day, scores[each])
        while waiting is not None:
            yield waiting
            waiting = next(left, None)

    def before(self, day: dt.date, trained: _Trained) -> _Looks:
        """The days before a day, as that training's references show them; with scores where the same model made them.

        What another model predicted says nothing about how far the scores of this one may be from its holdout's.
        """
        known = self._looks.get(id(trained), {})
        near = {each: looks for each, looks in known.items() if 0 < (day - each).days <= DAYS_BEFORE}
        made_by = {each: identity.of_commit(self._published[each].metadata) for each in [day, *near]}
        others = {each for each in near if made_by[each].differs(made_by[day])}
        return {
            each: {name: look for name, look in looks.items() if name != SCORES or each not in others}
            for each, looks in near.items()
        }

    def rows(self, day: dt.date) -> list[int]:
        """The numbers of rows of the days published before a day, without empty days."""
        known = self._published.items()
        found = (commit.rows for each, commit in known if 0 < (day - each).days <= DAYS_BEFORE)
        return [each for each in found if each]

    def _groups(self, known: Sequence[dt.date]) -> Iterator[list[dt.date]]:
        """Days that are read together: a table is opened once for many small days, and for each large one."""
        group: list[dt.date] = []
        for each in known:
            if group and sum(self._published[one].rows for one in [*group, each]) > ROWS_AT_ONCE:
                yield group
                group = []
            group.append(each)
        if group:
            yield group

    def _look(self, day: dt.date, features: pa.Table, scores: np.ndarray) -> None:
        spec = self._work.spec
        problem = policies.as_published(spec, self._published[day].metadata).problem
        for training, held in self._trainings.items():
            looks = {
                name: drift.look(held.features[name], references.comparable(spec, features, name))
                for name in held.compared(spec)
                if features.num_rows
            }
            if len(scores):
                looks[SCORES] = drift.look(held.score_of(problem), _as_column(scores))
            self._looks[training][day] = looks


_Looks = Mapping[dt.date, Mapping[str, Look]]
"""What published days were like: a look for each feature, and for SCORES."""
SCORES = ""
"""Stands for the scores where features have their names."""


def _features(work: Work, first: dt.date, names: Sequence[str], *, last: dt.date) -> pa.Table:
    columns = ["ds", *names]
    return work.services.lake.read(work.spec.features_table, first=first, last=last, columns=columns).read_all()


def _told_by(work: Work, group: Mapping[dt.date, Commit]) -> dict[dt.date, np.ndarray]:
    """What the drift of the published predictions of each day is told by."""
    spec = work.spec
    column = spec.problem.drift_column(spec.predictions)
    read = work.services.lake.read(spec.predictions_table, first=min(group), last=max(group), columns=["ds", column])
    rows = read.read_all()
    return {
        day: policies.as_published(spec, commit.metadata).problem.drift_values(
            rows.filter(pc.equal(rows["ds"], pa.scalar(day)))[column]
        )
        for day, commit in group.items()
    }


def _as_column(numbers: np.ndarray) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(numbers, pa.float64())])


def _of_day(work: Work, day: dt.date, commit: Commit, *, trained: _Trained, past: _Past) -> DayPerformance:
    services, spec = work.services, policies.as_published(work.spec, commit.metadata)
    problem, score, version = spec.problem, spec.predictions.score, commit.metadata["model_version"]
    columns = list(dict.fromkeys([score, problem.drift_column(spec.predictions)]))
    rows = services.lake.read(spec.predictions_table, first=day, last=day, columns=columns).read_all()
    scores = rows[score].filter(pc.invert(pc.is_null(rows[score], nan_is_null=True)))
    judged = performance.with_outcomes(services.lake, spec, day)
    labels, predictions = performance.labels_and_predictions(spec, judged)
    metrics = problem.measure(labels, predictions) if len(labels) else {}
    told_by = problem.drift_values(rows[problem.drift_column(spec.predictions)])
    moved = _moved(work, day, commit, trained=trained, scores=told_by, past=past)
    return DayPerformance(
        day=day,
        model_version=version,
        rows=rows.num_rows,
        known_outcomes=len(labels),
        mean_label=problem.mean_label(labels),
        mean_score=pc.mean(scores).as_py(),
        metrics=json.dumps({name: value for name, value in metrics.items() if math.isfinite(value)}),
        score_psi=moved.score_psi,
        worst_feature=moved.worst_feature,
        worst_feature_psi=moved.worst_feature_psi,
        feature_psi=moved.feature_psi,
        drift=moved.drift,
        note=moved.note,
        score_allowance=moved.score_allowance,
        feature_allowance=moved.feature_allowance,
        jumped=moved.jumped,
    )


@dataclass(frozen=True, kw_only=True)
class _Moved:
    score_psi: float | None = None
    worst_feature: str | None = None
    worst_feature_psi: float | None = None
    feature_psi: str | None = None
    drift: Drift | None = None
    note: str = ""
    score_allowance: float | None = None
    feature_allowance: str | None = None
    jumped: str | None = None


def _moved(work: Work, day: dt.date, commit: Commit, *, trained: _Trained, scores: np.ndarray, past: _Past) -> _Moved:
    """How far the day is from the training of the version that scored it, and from the days before it."""
    spec, version = work.spec, commit.metadata["model_version"]
    lost = "" if _is_empty_for_a_reason(work, day, commit) else drift.lost_rows(commit.rows, past.rows(day))
    if len(scores) < spec.monitor.rows:
        few = f"{len(scores)} scores are too few to tell drift by; monitor.rows is {spec.monitor.rows}."
        return _Moved(drift="alarm" if lost else None, note=f"{lost} {few}" if lost else few)
    if trained.gone:
        return _Moved(note=trained.gone)
    if trained.references is None:
        said = f"Version {version} was trained without keeping what its features were like; train again to see drift."
        score_psi = population_stability_index(trained.scores, scores) if trained.scores else None
        return _Moved(score_psi=score_psi, note=said)
    held, before = trained.references, past.before(day, trained)
    names = held.compared(spec)
    rows = _features(work, day, names, last=day)
    found = {
        name: drift.judge(
            name,
            held.features[name],
            references.comparable(spec, rows, name),
            day=day,
            before={each: looks[name] for each, looks in before.items() if name in looks},
            monitor=spec.monitor,
        )
        for name in names
        if rows.num_rows
    }
    of_scores = {each: looks[SCORES] for each, looks in before.items() if SCORES in looks}
    score = drift.judge(
        spec.predictions.score,
        held.score_of(policies.as_published(spec, commit.metadata).problem),
        _as_column(scores),
        day=day,
        before=of_scores,
        monitor=spec.monitor,
        ranges=False,
    )
    every = {**found, SCORES: score}
    shines = drift.light(every, spec.monitor, lost)
    note = " ".join([lost] * bool(lost) + [each.jumped for each in every.values() if each.jumped])
    if shines == "watch":
        note = _slowly(spec, day, held, moved=every, before=before)
    if other := held.of_another_kind(spec):
        note = f"{note} {_of_another_kind(other, version)}".strip()
    worst = max(found, key=lambda name: (bool(found[name].jumped), found[name].beyond_training), default=None)
    return _Moved(
        score_psi=score.psi,
        worst_feature=worst,
        worst_feature_psi=found[worst].psi if worst else None,
        feature_psi=json.dumps({name: round(each.psi, 6) for name, each in found.items()}),
        drift=shines,
        note=note,
        score_allowance=score.allowance,
        feature_allowance=json.dumps({name: round(each.allowance, 6) for name, each in found.items()}),
        jumped=json.dumps([name for name, each in every.items() if each.jumped]),
    )


def _slowly(spec: PipelineSpec, day: dt.date, held: References, *, moved: Mapping[str, Moved], before: _Looks) -> str:
    """Since when the column that is furthest beyond the training is beyond it; or what changed, where none is."""
    name = max(moved, key=lambda name: moved[name].beyond_training)
    if moved[name].beyond_training < spec.monitor.watch_psi:
        changed = next(each for each in moved if moved[each].changed)
        return f"{changed} changed since the training, as it did on days before: {moved[changed].changed}."
    reference = held.features[name] if name else held.score
    looks = {each: of_day[name] for each, of_day in before.items() if name in of_day}
    first = drift.since(reference, looks, spec.monitor) or day
    return (
        f"{name or spec.predictions.score} has moved slowly since {first}, further than on any day of the training but "
        "without a jump; a retraining will learn it."
    )


def _of_another_kind(names: Sequence[str], version: str) -> str:
    """Why the drift of some features is not told."""
    they = "was trained with it" if len(names) == 1 else "was trained with them"
    kind = "as another kind of feature" if len(names) == 1 else "as other kinds of features"
    return (
        f"The drift of {', '.join(names)} is not known, since version {version} {they} {kind} than the spec has now; "
        "train again to see it."
    )


def _is_empty_for_a_reason(work: Work, day: dt.date, commit: Commit) -> bool:
    """Whether the day has no predictions because it has no rows of features, and the build knows why."""
    if commit.rows:
        return False
    features = work.services.lake.days(work.spec.features_table, first=day, last=day).get(day)
    return features is not None and pins.EMPTY in features.metadata


def _told(work: Work, first: dt.date, last: dt.date) -> Mapping[dt.date, Mapping[str, object]]:
    """What the performance table says of these days; empty if its files are damaged, so that they are written anew."""
    lake, table = work.services.lake, work.spec.performance_table
    try:
        rows = lake.read(table, first=first, last=last).read_all().to_pylist() if lake.exists(table) else []
    except PinLost:
        return {}
    return {row["ds"]: row for row in rows}


def _publish(work: Work, found: DayPerformance, told: Mapping[str, object] | None) -> bool:
    """Publish the day's row; returns whether it differs from what the table says already."""
    services, spec, run_id = work.services, work.spec, work.run_id
    fields = {name: value for name, value in asdict(found).items() if name != "day"}
    table = spec.performance_table
    # Release 0.1 had a column for each metric of a yes/no question, which stay empty from now on.
    schema = services.lake.schema(table) if services.lake.exists(table) else SCHEMA
    if not set(SCHEMA.names) <= set(schema.names):
        services.lake.add_columns(table, SCHEMA)
        schema = services.lake.schema(table)
    rows = pa.Table.from_pylist([fields], schema=pa.schema([field for field in schema if field.name != "ds"]))
    if told == {**rows.to_pylist()[0], "ds": found.day}:
        # Most nights most days are as they were: nothing is staged for them.
        return False
    staged = services.lake.stage(table, found.day, run_id, rows.to_reader())
    notes = {**provenance.code(), **provenance.request_notes(work.request)}
    metadata = {"pipeline": spec.name, "stage": "monitor", "run_id": run_id, **notes}
    commit = services.lake.publish(staged, metadata)
    if commit.unchanged:
        services.lake.discard(staged)
    return not commit.unchanged


def rows_of(services: Services, spec: PipelineSpec) -> list[Mapping[str, object]]:
    """The performance table, a mapping per published day, oldest first; empty while nothing was monitored."""
    if not services.lake.exists(spec.performance_table):
        return []
    rows = services.lake.read(spec.performance_table).read_all().sort_by("ds").to_pylist()
    return [performance.in_present_form(row) for row in rows]
