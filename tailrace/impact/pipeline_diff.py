"""What an edit does to one pipeline: both sides' rows of its last published days, scored and joined by key."""

from __future__ import annotations

import datetime as dt
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tailrace.champions import model_versions, policies
from tailrace.contracts import Services, Warehouse
from tailrace.errors import TailraceError
from tailrace.impact import comparing, suite_verdicts
from tailrace.impact.comparing import Compared, JoinedSides, MovedColumn
from tailrace.impact.finding import TouchedPipeline
from tailrace.impact.predicting import Scorer
from tailrace.impact.suite_verdicts import JudgedPart, SuiteVerdicts
from tailrace.monitoring import performance, references
from tailrace.problems.metrics import METRICS, written
from tailrace.rows import marts, roles
from tailrace.settings import Settings
from tailrace.spec import PARTS, PipelineSpec
from tailrace.stages import audit

_WORST = 5
BEFORE, AFTER = "before", "after"


@dataclass(frozen=True, kw_only=True)
class MovedSlice:
    """The rows with one value of a feature: how many decisions flip, and how far scores move on average."""

    column: str
    value: str
    rows: int
    flips: int
    mean_size: float


@dataclass(frozen=True, kw_only=True)
class MetricChange:
    """A metric on the days whose outcomes are known; `rows` are predictions with an outcome."""

    metric: str
    before: float
    after: float
    rows: int

    @property
    def loss(self) -> float:
        """How much worse it is after the edit, in units of the metric; negative: better."""
        return -METRICS[self.metric].gain(self.after, self.before)


@dataclass(frozen=True, kw_only=True)
class PipelineDiff:
    """What an edit does to one pipeline's last published days.

    `equal` is proven: the digests of all predictions and features are the same. `refusals` are what tonight's
    validation, snapshot and audit would say of the edited side and do not say of the base; `lifted`, what they say of
    the base only. `left_range` are features with values beyond those that the champion learned from. `beyond` are the
    limits of the review policy that are exceeded. `error` says why the sides could not be compared; `skipped`, why
    there is nothing to compare; `unseen`, what a comparison of these days cannot show.
    """

    pipeline: str
    days: tuple[dt.date, ...]
    versions: tuple[str, ...] = ()
    features: Compared | None = None
    outcomes: Compared | None = None
    predictions: Compared | None = None
    equal: bool = False
    flips: int | None = None
    shift: float = 0.0
    slices: tuple[MovedSlice, ...] = ()
    metrics: tuple[MetricChange, ...] = ()
    refusals: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    lifted: tuple[str, ...] = ()
    left_range: Mapping[str, str] = field(default_factory=dict)
    beyond: tuple[str, ...] = ()
    error: str = ""
    skipped: str = ""
    unseen: str = ""
    seconds: float = 0.0
    drawn: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Values before and after of what moved, for charts."""

    @property
    def rows(self) -> int:
        return self.predictions.rows[0] if self.predictions is not None else 0

    @property
    def moved(self) -> int:
        """How many predictions differ."""
        if self.predictions is None:
            return 0
        return max((each.changed for each in self.predictions.moved), default=0)


@dataclass(frozen=True, kw_only=True)
class ComparedPipeline:
    """A pipeline to compare: both specs, and its days."""

    touched: TouchedPipeline
    before: PipelineSpec
    after: PipelineSpec
    days: tuple[dt.date, ...]
    error: str = ""
    skipped: str = ""

    @property
    def builds(self) -> bool:
        edit = self.touched.spec
        asked = edit is not None and edit.asks_for("rebuild", "retrain")
        return self.touched.rebuilds or bool(self.touched.tests) or asked


class PipelineComparison:
    """The comparison of one pipeline; `tests_failing` are sentences about dbt tests that fail after the edit only."""

    def __init__(
        self,
        services: Services,
        settings: Settings,
        *,
        chosen: ComparedPipeline,
        warehouses: Mapping[str, Warehouse],
        base_suites: Path,
        folder: Path,
        tests_failing: Sequence[str] = (),
    ) -> None:
        self._services, self._settings, self._chosen = services, settings, chosen
        self._tests_failing = tests_failing
        self._base_suites = base_suites
        self._specs = {BEFORE: chosen.before, AFTER: chosen.after}
        self._warehouses = warehouses if chosen.builds else {}
        self._folder = folder / f"rows-{chosen.touched.pipeline}"
        self._scorer = Scorer(services, chosen.touched.pipeline)
        self._edited_policy = policies.of_spec(chosen.before) != policies.of_spec(chosen.after)
        self._digests: dict[tuple[str, str], list[str]] = {}
        self._versions: list[str] = []
        self._problems: dict[str, list[str]] = {BEFORE: [], AFTER: []}
        self._labelled: dict[str, list[pa.Table]] = {BEFORE: [], AFTER: []}

    def diff(self) -> PipelineDiff:
        for day in self._chosen.days:
            self._day(day)
        key = list(self._specs[AFTER].features.key)
        tables = {part: self._compared(part, key) for part in (*PARTS, "predictions") if self._has(part)}
        found = PipelineDiff(
            pipeline=self._chosen.touched.pipeline,
            days=self._chosen.days,
            versions=tuple(dict.fromkeys(self._versions)),
            features=tables.get("features"),
            outcomes=tables.get("outcomes"),
            predictions=tables["predictions"],
            equal=all(each.equal for each in tables.values()),
            refusals=tuple(each for each in self._problems[AFTER] if each not in self._problems[BEFORE]),
            metrics=self._metrics(),
        )
        if not found.equal:
            found = self._details(found, key)
        judged = self._judged(found)
        found = replace(
            found,
            refusals=(*self._tests_failing, *found.refusals, *judged.refused),
            warnings=tuple(judged.warned),
            lifted=tuple(judged.lifted),
        )
        return replace(found, beyond=tuple(_beyond(self._specs[AFTER], found)))

    def _day(self, day: dt.date) -> None:
        """Write both sides' rows of a day into files, with their predictions."""
        version = self._scorer.champion(self._specs[AFTER], day).version
        self._versions.append(version)
        for side in (BEFORE, AFTER):
            spec = self._scorer.under(self._specs[side], day, edited=side == AFTER and self._edited_policy)
            rows = self._rows(side, day)
            predictions = self._scorer.scored(spec, version, rows["features"])
            for part, table in {**rows, "predictions": self._with_former_names(spec, predictions)}.items():
                self._write(part, side, day, rows=table)
            self._refused(side, spec, day, rows=rows, predictions=predictions)
            self._with_labels(side, spec, day, predictions)

    def _with_former_names(self, spec: PipelineSpec, predictions: pa.Table, *, back: bool = False) -> pa.Table:
        """The published columns by their names before the edit, so that those that it renames are compared, too.

        `back`: by their names in `spec` again.
        """
        before, now = (dict(each.problem.published_names(each.predictions)) for each in (self._specs[BEFORE], spec))
        names = {now[part]: before[part] for part in now if part in before}
        if back:
            names = {former: name for name, former in names.items()}
        return predictions.rename_columns([names.get(name, name) for name in predictions.column_names])

    def _rows(self, side: str, day: dt.date) -> dict[str, pa.Table]:
        """The rows of the marts; those of the lake where nothing is built for this edit."""
        spec = self._specs[side]
        if side in self._warehouses:
            return {part: marts.read(self._warehouses[side], spec, part, day).read_all() for part in PARTS}
        read = self._services.lake.read
        found = {"features": read(spec.features_table, first=day, last=day).read_all()}
        if any(suite.part == "outcomes" for suite in self._chosen.touched.suites):
            found["outcomes"] = read(spec.outcomes_table, first=day, last=day).read_all()
        order = [(name, "ascending") for name in spec.features.key]
        return {part: rows.sort_by(order) for part, rows in found.items()}

    def _write(self, part: str, side: str, day: dt.date, *, rows: pa.Table) -> None:
        file = self._file(part, side, day)
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(rows, file)
        digest = comparing.digest(rows, self._specs[side].features.key)
        self._digests.setdefault((part, side), []).append(digest)

    def _file(self, part: str, side: str, day: dt.date) -> Path:
        return self._folder / part / side / f"{day}.parquet"

    def _has(self, part: str) -> bool:
        return (part, BEFORE) in self._digests

    def _compared(self, part: str, key: Sequence[str]) -> Compared:
        files = [[self._file(part, side, day) for day in self._chosen.days] for side in (BEFORE, AFTER)]
        if self._digests[part, BEFORE] == self._digests[part, AFTER]:
            rows = sum(pq.read_metadata(file).num_rows for file in files[0])
            return Compared(rows=(rows, rows), both=rows, equal=True)
        with comparing.opened(files[0], files[1], self._key_of(part, key), self._folder) as both:
            return both.compared(self._columns(part, both.columns))

    def _key_of(self, part: str, key: Sequence[str]) -> list[str]:
        """What names a row over all days: outcomes may be corrected, so their day belongs to it."""
        return [*key, "ds"] if part == "outcomes" else [*key]

    def _columns(self, part: str, there: Sequence[str]) -> list[str]:
        spec = self._specs[AFTER]
        if part == "features":
            before = self._specs[BEFORE].features
            named = [*spec.features.columns, *before.columns, spec.features.event_time, spec.features.known_column]
            return list(dict.fromkeys([*named, *(each for each in (spec.features.weight,) if each)]))
        if part == "outcomes":
            return [spec.outcome.label, spec.outcome.known_column]
        return [name for name in there if name not in ("model_version", "ds", spec.features.event_time)]

    # ------------------------------------------------------------ what is said of it

    def _details(self, found: PipelineDiff, key: Sequence[str]) -> PipelineDiff:
        """Flips, slices, charts and features beyond what the champion learned from."""
        found = replace(found, left_range=self._left_range(found))
        files = [[self._file("predictions", side, day) for day in self._chosen.days] for side in (BEFORE, AFTER)]
        features = [[self._file("features", side, day) for day in self._chosen.days] for side in (BEFORE, AFTER)]
        spec = self._specs[BEFORE]
        decision, score = spec.problem.decision_of(spec.predictions), spec.predictions.score
        drawn: dict[str, Any] = {}
        flips, shift = None, 0.0
        with comparing.opened(files[0], files[1], key, self._folder) as both:
            if decision and decision in both.columns:
                flips = both.changed(decision)
            if score in both.columns and found.predictions is not None and found.predictions.of(score):
                drawn[f"prediction {score}"] = both.differences(score)
                shift = _shift(both, score, found.predictions.of(score))
        with comparing.opened(features[0], features[1], key, self._folder) as both:
            for each in (found.features.moved if found.features else ())[:6]:
                if each.before and each.changed:
                    drawn[each.column] = both.differences(each.column)
        slices = self._slices(files, features, decision=decision or "", score=score)
        return replace(found, flips=flips, shift=shift, slices=tuple(slices), drawn=drawn)

    def _slices(
        self, predictions: Sequence[Sequence[Path]], features: Sequence[Sequence[Path]], *, decision: str, score: str
    ) -> list[MovedSlice]:
        """The values of categorical features whose predictions move most."""
        import duckdb

        spec, q = self._specs[AFTER], comparing.q
        columns = [
            name for name in self._specs[BEFORE].features.of_kind("categorical") if name in spec.features.columns
        ]
        if not columns:
            return []
        listed = [", ".join(f"'{file}'" for file in files) for files in (predictions[0], predictions[1], features[0])]
        key = ", ".join(q(name) for name in spec.features.key)
        flips = f"b.{q(decision)} is distinct from a.{q(decision)}" if decision else "false"
        size = f"abs(cast(a.{q(score)} as double) - cast(b.{q(score)} as double))"
        found = []
        with duckdb.connect(config={"memory_limit": "512MB"}) as connection:
            for column in columns:
                rows = connection.execute(
                    f"select cast(f.{q(column)} as varchar), count(*), count(*) filter (where {flips}), avg({size}) "  # noqa: S608
                    f"from read_parquet([{listed[0]}]) b join read_parquet([{listed[1]}]) a using ({key}) "
                    f"join read_parquet([{listed[2]}]) f using ({key}) group by 1 having count(*) >= 20"
                ).fetchall()
                found += [
                    MovedSlice(column=column, value=str(value), rows=count, flips=flipped, mean_size=mean or 0.0)
                    for value, count, flipped, mean in rows
                ]
        moved = [each for each in found if each.flips or each.mean_size]
        return sorted(moved, key=lambda each: (-each.flips / each.rows, -each.mean_size))[:_WORST]

    def _left_range(self, found: PipelineDiff) -> dict[str, str]:
        """The features that are much farther from what the champion learned from than before the edit.

        Both sides are of the same days, so what lies between their stability indices is the edit's doing.
        """
        spec = self._specs[AFTER]
        trained = self._scorer.champion(spec, self._chosen.days[-1]).training_run
        learned = references.of_run(self._services.tracker, trained)
        if learned is None or found.features is None:
            return {}
        said = {}
        sides = [self._table("features", side) for side in (BEFORE, AFTER)]
        for each in found.features.moved:
            reference = learned.features.get(each.column)
            if reference is None or any(each.column not in side.column_names for side in sides):
                continue
            psi = [
                reference.psi(references.comparable(spec, side, each.column)) if side.num_rows else 0.0
                for side in sides
            ]
            if psi[1] > psi[0] + spec.monitor.alarm_psi:
                said[each.column] = f"stability index {psi[0]:.2f} before, {psi[1]:.2f} after"
        return said

    def _table(self, part: str, side: str) -> pa.Table:
        return pa.concat_tables(
            [pq.read_table(self._file(part, side, day)) for day in self._chosen.days], promote_options="default"
        )

    def _refused(
        self, side: str, spec: PipelineSpec, day: dt.date, *, rows: Mapping[str, pa.Table], predictions: pa.Table
    ) -> None:
        """What the snapshot and the audit would refuse."""
        if side in self._warehouses:
            try:
                roles.check(spec, day, rows["features"], rows["outcomes"])
            except TailraceError as error:
                self._problems[side].append(" ".join(str(error).split()))
        champion = self._scorer.champion(spec, day)
        trained = self._services.tracker.run(champion.training_run)
        scores = model_versions.holdout_scores(trained, champion.version)
        problems = audit.beyond_limits(
            self._services.lake,
            spec,
            day,
            predictions,
            model=champion,
            holdout_scores=scores,
            due=rows["features"].num_rows,
        )
        self._problems[side] += [f"audit of {day}: {problem}" for problem in problems]

    def _with_labels(self, side: str, spec: PipelineSpec, day: dt.date, predictions: pa.Table) -> None:
        try:
            found = performance.labelled(self._services.lake, spec, day, predictions)
        except TailraceError:
            return
        if found.num_rows:
            self._labelled[side].append(found)

    def _metrics(self) -> tuple[MetricChange, ...]:
        """The metrics of all days whose outcomes are known."""
        if not self._labelled[BEFORE] or len(self._labelled[BEFORE]) != len(self._labelled[AFTER]):
            return ()
        measured = []
        for side in (BEFORE, AFTER):
            rows = pa.concat_tables(self._labelled[side], promote_options="default")
            spec = self._specs[side]
            measured.append((spec.problem.measure(*performance.labels_and_predictions(spec, rows)), rows.num_rows))
        (before, _), (after, rows) = measured
        return tuple(
            MetricChange(metric=name, before=before[name], after=after[name], rows=rows)
            for name in before
            if name in after and name in METRICS
        )

    def _judged(self, found: PipelineDiff) -> SuiteVerdicts:
        """What the suites say of the last day, of the parts whose rows or suites differ."""
        edited = {suite.part for suite in self._chosen.touched.suites}
        parts = []
        for part in (*PARTS, "predictions"):
            table = getattr(found, part)
            if table is None or (table.equal and part not in edited):
                continue
            day = self._chosen.days[-1]
            before, after = (pq.read_table(self._file(part, side, day)) for side in (BEFORE, AFTER))
            if part == "predictions":
                after = self._with_former_names(self._specs[AFTER], after, back=True)
            parts.append(
                JudgedPart(
                    pipeline=self._chosen.touched.pipeline,
                    part=part,
                    day=day,
                    key=self._specs[AFTER].features.key,
                    before=before,
                    after=after,
                )
            )
        if not parts:
            return SuiteVerdicts()
        return suite_verdicts.of(self._services, self._settings, self._base_suites, parts)


def _shift(both: JoinedSides, score: str, moved: MovedColumn | None) -> float:
    """By how many standard deviations scores move on average; infinite if one is infinite on one side only."""
    before, after = (f"cast({side}.{comparing.q(score)} as double)" for side in ("b", "a"))
    if both.scalar(
        f"count(*) filter (where {before} is distinct from {after} and (isinf({before}) or isinf({after})))"
    ):
        return math.inf
    spread = both.scalar(f"stddev_pop({comparing.finite(f'b.{comparing.q(score)}')})") or 0.0
    size = moved.mean_size if moved is not None else 0.0
    return size / spread if spread else float(size > 0)


def _beyond(spec: PipelineSpec, found: PipelineDiff) -> list[str]:
    """The limits of the review policy that are exceeded."""
    limits, said = spec.review, []
    rows = found.predictions.both if found.predictions is not None else 0
    if found.flips and rows and found.flips / rows > limits.max_flips:
        said.append(f"{found.flips / rows:.1%} of the decisions flip; at most {limits.max_flips:.1%} may (max_flips)")
    if found.shift > limits.max_shift:
        said.append(
            f"scores move by {found.shift:.2f} standard deviations on average; at most {limits.max_shift:g} is allowed "
            "(max_shift)"
        )
    if limits.max_moved is not None and rows and found.moved / rows > limits.max_moved:
        said.append(
            f"{found.moved / rows:.1%} of the predictions differ; at most {limits.max_moved:.1%} may (max_moved)"
        )
    loss = next((each.loss for each in found.metrics if each.metric == spec.gate.metric), None)
    if limits.max_loss is not None and loss is not None and loss > limits.max_loss:
        said.append(f"{spec.gate.metric} is {written(loss)} worse; at most {limits.max_loss:g} is allowed (max_loss)")
    if found.predictions is not None and (found.predictions.gone or found.predictions.new):
        lost, new = found.predictions.gone, found.predictions.new
        share = (lost + new) / max(1, found.predictions.rows[0])
        if share > limits.max_flips:
            said.append(f"{lost:,} predictions are gone and {new:,} are new ({share:.1%} of the rows; max_flips)")
    if found.left_range and not limits.unlearned:
        named = ", ".join(found.left_range)
        said.append(f"features go beyond what the champion learned from, so a training is due: {named} (unlearned)")
    if found.refusals and not limits.refusals:
        first = textwrap.shorten(found.refusals[0].rstrip("."), 100, placeholder=" ...")
        more = f", and {len(found.refusals) - 1} more" if len(found.refusals) > 1 else ""
        said.append(f"tonight's night would refuse it: {first}{more} (refusals)")
    return said
