"""A year of nights of the flights, through the real stages, in one process without Airflow.

The flights from 2013-01-01 to 2013-10-28. The warehouse's days are built once. Then night follows night: the pipeline
trains by its own schedule, and each day is scored, audited, published and monitored. The first table tells by month how
many days were published, refused or an alarm, and how good the predictions were. The second plants faults at the source
and tells which check caught each the same night: the suite of the features, the audit, or the drift light. The last one
counts how often faults in the features of every fifth night were caught (year_faults.py).

`--home` keeps the warehouse, the lake and the models: a second run with the same folder goes on from there.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import os
import statistics
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    import pyarrow as pa

    from tailrace.spec import PipelineSpec
    from tailrace.wiring import Wiring
    from tailrace.work import Work

PIPELINE = "flight_delay"
FIRST, LAST = dt.date(2013, 1, 1), dt.date(2013, 10, 28)
TRIALS = 0
"""Search trials of each training; 0: as many as the spec says."""
SOUND_SHARE, ALARMS = 0.02, 5
"""Aims: at most this share of the sound days refused, and so many alarms a quarter."""
PLANTED = (dt.date(2013, 4, 17), dt.date(2013, 7, 10), dt.date(2013, 10, 9))
"""The days on which faults are planted: a Wednesday of three seasons."""


@dataclass(frozen=True, kw_only=True)
class Night:
    """What became of a day: `state` is published or refused; `caught_by` is set where a check objected."""

    day: dt.date
    state: str
    model: str = ""
    drift: str | None = None
    why: str = ""
    caught_by: str = ""
    metrics: Mapping[str, float] = dataclasses.field(default_factory=dict)


def run(*, trials: int = TRIALS, home: Path | None = None, last: dt.date = LAST) -> list[str]:
    """Print the tables; the aims that were missed."""
    from benchmarks import year_faults

    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="tailrace-year-") as scratch:
        os.environ["TAILRACE_HOME"] = str(home or Path(scratch))
        _leave_out_pictures()
        year = Year(trials)
        year.build(last)
        nights = year.walk(last)
        faults = year.plant([day for day in PLANTED if day <= last])
        in_features = year_faults.run(year.work("faults"))
    console = Console(width=150)
    console.print(_months(nights))
    console.print(_refused_and_alarms(nights))
    console.print(_caught(faults))
    console.print(in_features)
    console.print(f"{(time.monotonic() - started) / 60:.0f} minutes.")
    return _missed(nights, faults)


def _leave_out_pictures() -> None:
    """The report of a training takes longer than a training of few trials, and judges nothing."""
    from tailrace.reporting import model_report

    model_report.write = lambda folder, judged: None


class Year:
    """The nights of the flights on one installation."""

    def __init__(self, trials: int) -> None:
        from tailrace import settings
        from tailrace.spec import registry
        from tailrace.wiring import Wiring

        self.settings = settings.load()
        self.services: Wiring = Wiring(self.settings)
        self.spec: PipelineSpec = registry.get(PIPELINE)
        self.trials = trials or self.spec.search.trials
        self.started = time.monotonic()

    def work(self, run_id: str) -> Work:
        from tailrace.work import Work

        return Work(services=self.services, spec=self.spec, run_id=run_id)

    def say(self, what: str) -> None:
        print(f"{time.monotonic() - self.started:7.0f} s  {what}", flush=True)

    def build(self, last: dt.date) -> None:
        """Land, build and validate all days at once, and take them into the lake day by day."""
        from tailrace import days
        from tailrace.rows import scheduled_days
        from tailrace.stages import build, ingest, snapshot, validate

        taken = self.services.lake.days(self.spec.features_table)
        if last in taken:
            return
        ingest.run(self.services, FIRST, last)
        build.run(self.services, FIRST, last, absent=scheduled_days.absent(FIRST, last), only=[PIPELINE])
        self.say("built")
        validate.run(self.work("validate"), FIRST, last)
        for day in days.span(FIRST, last):
            if day not in taken:
                snapshot.run(self.work(f"night-{day}"), day)
        self.say("in the lake")

    def walk(self, last: dt.date) -> list[Night]:
        """Night after night; trains on the days of the pipeline's schedule."""
        from tailrace import days

        first = FIRST + dt.timedelta(days=self.spec.window.days + self.spec.outcome.lag_days)
        nights = self._done()
        for day in days.span(max([first, *(night.day + dt.timedelta(days=1) for night in nights)]), last):
            if day.isoweekday() % 7 in self._weekdays():
                self._train(day)
            night = self._predict(day, f"night-{day}")
            if night is not None:
                nights.append(night)
        return self._with_metrics(nights)

    def _done(self) -> list[Night]:
        """The nights of an earlier run on the same folder."""
        from tailrace.rows import refused_days
        from tailrace.stages import monitor

        published = self.services.lake.days(self.spec.predictions_table)
        rows: list[Mapping[str, Any]] = monitor.rows_of(self.services, self.spec)
        nights = [
            Night(
                day=row["ds"],
                state="published",
                model=row["model_version"],
                drift=row["drift"],
                why=row["note"],
                caught_by="drift light" if row["drift"] == "alarm" else "",
            )
            for row in rows
            if row["ds"] in published
        ]
        nights += [
            Night(day=each.day, state="refused", model=each.model_version, why=each.reason, caught_by="audit")
            for each in refused_days.history(self.services.lake, self.spec)
            if each.stands
        ]
        return sorted(nights, key=lambda night: night.day)

    def _weekdays(self) -> set[int]:
        """The weekdays of the training's schedule: Sunday is 0."""
        return {int(each) for each in (self.spec.schedule.train or "").split()[4].split(",")}

    def _train(self, day: dt.date) -> None:
        from tailrace.errors import Refused
        from tailrace.stages import evaluate, promote, train

        work = self.work(f"train-{day}")
        trained = train.run(work, day, seed=self.settings.seed, trials=self.trials)
        verdict = evaluate.run(work, trained.training_run).decision
        recorded = dt.datetime.combine(day, dt.time(6), dt.UTC)
        outcome: str
        try:
            outcome = promote.run(work, trained.training_run, recorded_at=recorded).outcome
        except Refused:
            outcome = "refused"
        self.say(f"{day} trained {trained.version} ({trained.candidate}): {outcome}. {' '.join(verdict.broken())}")

    def _predict(self, day: dt.date, run_id: str) -> Night | None:
        """Score, audit, publish and monitor a day; None before there is a champion."""
        from tailrace.errors import AuditFailed, NoChampion
        from tailrace.stages import audit, monitor, publish, score

        work = self.work(run_id)
        try:
            scored = score.run(work, day, force=True)
        except NoChampion:
            return None
        try:
            audit.run(work, day)
        except AuditFailed as refusal:
            listed = [line[4:] for line in str(refusal).splitlines() if line.startswith("  - ")]
            self.say(f"{day} refused: {' '.join(listed)}")
            return Night(day=day, state="refused", model=scored.model_version, why=" ".join(listed), caught_by="audit")
        publish.run(work, day)
        seen = monitor.run(work, day)
        if seen.drift == "alarm":
            self.say(f"{day} alarm: {seen.note}")
        caught_by = "drift light" if seen.drift == "alarm" else ""
        return Night(
            day=day,
            state="published",
            model=scored.model_version,
            drift=seen.drift,
            why=seen.note,
            caught_by=caught_by,
        )

    def _with_metrics(self, nights: Sequence[Night]) -> list[Night]:
        """With how good the published predictions were, once the outcomes were known."""
        from tailrace.stages import monitor

        rows: list[Mapping[str, Any]] = monitor.rows_of(self.services, self.spec)
        metrics = {row["ds"]: row["metrics"] for row in rows}
        return [dataclasses.replace(night, metrics=metrics.get(night.day) or {}) for night in nights]

    def plant(self, planted: Sequence[dt.date]) -> dict[str, list[Night]]:
        """Plant each fault at the source on each of the days, go through its night again, and take it back."""
        found: dict[str, list[Night]] = defaultdict(list)
        for day in planted:
            for name, fault in FAULTS.items():
                found[name].append(self._faulty(day, name, fault))
                self.say(f"{day} {name}: {found[name][-1].caught_by or 'not caught'}. {found[name][-1].why[:200]}")
            self._night_again(day, None, "sound")
        return dict(found)

    def _faulty(self, day: dt.date, name: str, fault: Fault) -> Night:
        from tailrace.errors import BuildFailed, LandingRefused, Refused, ValidationFailed

        try:
            return self._night_again(day, fault, name)
        except LandingRefused as refusal:
            return Night(day=day, state="refused", why=str(refusal), caught_by="landing")
        except BuildFailed as refusal:
            return Night(day=day, state="refused", why=str(refusal), caught_by="dbt tests")
        except ValidationFailed as refusal:
            return Night(day=day, state="refused", why=str(refusal), caught_by="suite")
        except Refused as refusal:
            return Night(day=day, state="refused", why=str(refusal), caught_by="lake")

    def _night_again(self, day: dt.date, fault: Fault | None, name: str) -> Night:
        """The whole night of a day, from the mart's rows on."""
        from tailrace.stages import build, ingest, snapshot, validate

        run_id = f"{name.replace(' ', '-')}-{day}"
        source = self.services.source
        self.services.__dict__["source"] = _Faulty(source, day, fault) if fault else source
        try:
            ingest.run(self.services, day, day)
        finally:
            self.services.__dict__["source"] = source
        build.run(self.services, day, day, only=[PIPELINE])
        work = self.work(run_id)
        validate.run(work, day, day)
        snapshot.run(work, day)
        night = self._predict(day, run_id)
        assert night is not None
        return night


Fault = Mapping[str, "Callable[[pa.Table], pa.Table]"]
"""What a fault does to the extracts: a change for each table."""


class _Faulty:
    """A source whose extracts of one day have a fault."""

    def __init__(self, source: Any, day: dt.date, fault: Fault) -> None:
        self._source, self._day, self._fault = source, day, fault

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def extract(self, table: str, day: dt.date) -> pa.Table:
        rows = self._source.extract(table, day)
        change = self._fault.get(table)
        return change(rows).cast(rows.schema, safe=False) if change and day == self._day else rows


def _celsius(rows: pa.Table) -> pa.Table:
    import pyarrow.compute as pc

    for name in ("temp", "dewp"):
        rows = _with(rows, name, pc.divide(pc.subtract(rows[name], 32.0), 1.8))
    return rows


def _kilometres(rows: pa.Table) -> pa.Table:
    import pyarrow.compute as pc

    return _with(rows, "distance", pc.round(pc.multiply(rows["distance"], 1.609344)))


def _stuck(name: str) -> Callable[[pa.Table], pa.Table]:
    """All rows have the value of the first one that has any."""
    import pyarrow as pa

    return lambda rows: _with(rows, name, pa.array([rows[name].drop_null()[0].as_py()] * rows.num_rows))


def _every_second(rows: pa.Table) -> pa.Table:
    return rows.take(list(range(0, rows.num_rows, 2)))


def _without(name: str, *values: str) -> Callable[[pa.Table], pa.Table]:
    def change(rows: pa.Table) -> pa.Table:
        import pyarrow as pa
        import pyarrow.compute as pc

        return rows.filter(pc.invert(pc.is_in(rows[name], pa.array(values))))

    return change


def _swapped(one: str, other: str) -> Callable[[pa.Table], pa.Table]:
    return lambda rows: _with(_with(rows, one, rows[other]), other, rows[one])


def _with(rows: pa.Table, name: str, values: Any) -> pa.Table:
    return rows.set_column(rows.schema.get_field_index(name), name, values)


FAULTS: Mapping[str, Fault] = {
    "unit change: temperatures in Celsius": {"weather": _celsius},
    "unit change: distances in kilometres": {"schedules": _kilometres},
    "stuck column: one distance for all flights": {"schedules": _stuck("distance")},
    "stuck column: one year of construction for all planes": {"planes": _stuck("year")},
    "half the feed missing: every second flight": {"schedules": _every_second},
    "half the feed missing: no flight from EWR": {"schedules": _without("origin", "EWR")},
    "half the feed missing: weather of one airport only": {"weather": _without("origin", "EWR", "LGA")},
    "swapped columns: origin and destination": {"schedules": _swapped("origin", "dest")},
    "swapped columns: distance and flight number": {"schedules": _swapped("distance", "flight")},
    "swapped columns: seats and engines of planes": {"planes": _swapped("seats", "engines")},
}


def _months(nights: Sequence[Night]) -> Table:
    """By month: published, refused, alarms, what each caught, metric."""
    columns = ("month", "published", "refused", "alarms", "watch", "AUC of ok", "of watch", "of alarms")
    table = Table(*columns, title="The nights, by month", title_justify="left")
    for month in [*sorted({night.day.replace(day=1) for night in nights}), None]:
        of_month = [night for night in nights if month in (None, night.day.replace(day=1))]
        lights = Counter(night.drift for night in of_month if night.state == "published")
        auc = {light: _auc(of_month, light) for light in ("ok", "watch", "alarm")}
        table.add_row(
            f"{month:%Y-%m}" if month else "all",
            str(sum(lights.values())),
            str(sum(night.state == "refused" for night in of_month)),
            str(lights["alarm"]),
            str(lights["watch"]),
            *auc.values(),
        )
    return table


def _auc(nights: Sequence[Night], light: str) -> str:
    found = [night.metrics["roc_auc"] for night in nights if night.drift == light and "roc_auc" in night.metrics]
    return f"{statistics.mean(found):.3f}" if found else ""


def _refused_and_alarms(nights: Sequence[Night]) -> Table:
    table = Table("day", "model", "what", "why", title="Refused days and alarms", title_justify="left")
    for night in nights:
        if night.caught_by:
            table.add_row(str(night.day), night.model, night.caught_by, night.why)
    return table


def _caught(faults: Mapping[str, Sequence[Night]]) -> Table:
    planted = [str(night.day) for night in next(iter(faults.values()), [])]
    table = Table("fault", *planted, title="Planted faults, and the check that caught each", title_justify="left")
    for name, nights in faults.items():
        table.add_row(name, *(night.caught_by or "nothing" for night in nights))
    return table


def _missed(nights: Sequence[Night], faults: Mapping[str, Sequence[Night]]) -> list[str]:
    missed = []
    refused = [night for night in nights if night.state == "refused"]
    if len(refused) > SOUND_SHARE * len(nights):
        missed.append(f"{len(refused)} of {len(nights)} sound days were refused; at most {SOUND_SHARE:.0%} may be.")
    quarters = Counter(
        f"{night.day.year} Q{(night.day.month + 2) // 3}" for night in nights if night.caught_by == "drift light"
    )
    missed += [
        f"{count} alarms in {quarter}; at most {ALARMS} may be."
        for quarter, count in quarters.items()
        if count > ALARMS
    ]
    missed += [
        f"{name} of {night.day} was not caught."
        for name, of_fault in faults.items()
        for night in of_fault
        if not night.caught_by
    ]
    return missed
