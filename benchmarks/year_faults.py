"""Faults in the features of every fifth night, and how often the audit or the drift light saw them the same night.

Nothing is written: the features of a published day are read from the lake and changed, scored by the model that
published the day, and judged as the night judges them, by the same training and the same days before.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rich.table import Table

from tailrace.champions import model_versions, score_limits
from tailrace.contracts import Model
from tailrace.lineage import identity, run_tags
from tailrace.lineage.identity import Identity
from tailrace.monitoring import drift, references
from tailrace.monitoring.drift import Look, Moved
from tailrace.monitoring.references import References
from tailrace.problems.distributions import DAYS_BEFORE, Distribution
from tailrace.work import Work

EVERY = 5
"""One night of so many."""
SCORES = ""
"""Stands for the scores where features have their names."""

Change = Callable[[pa.Table], pa.Table]


def _times(name: str, factor: float, plus: float = 0.0) -> Change:
    return lambda rows: _with(rows, name, pc.add(pc.multiply(rows[name].cast(pa.float64()), factor), plus))


def _hour_of_utc(rows: pa.Table) -> pa.Table:
    """Departure hours of New York, read as hours of UTC: four or five later."""
    hour = rows["departure_hour"].to_numpy()
    return _with(rows, "departure_hour", pa.array((hour + 5) % 24))


def _stuck(name: str) -> Change:
    def change(rows: pa.Table) -> pa.Table:
        first = rows[name].drop_null()[0].as_py()
        return _with(rows, name, pa.array([first] * rows.num_rows, rows.schema.field(name).type))

    return change


def _lost(name: str) -> Change:
    return lambda rows: _with(rows, name, pa.nulls(rows.num_rows, rows.schema.field(name).type))


def _swapped(one: str, other: str) -> Change:
    return lambda rows: _with(_with(rows, one, rows[other]), other, rows[one])


def _every_second(rows: pa.Table) -> pa.Table:
    return rows.take(pa.array(range(0, rows.num_rows, 2)))


def _morning(rows: pa.Table) -> pa.Table:
    return rows.filter(pc.less(rows["departure_hour"], 13))


def _half_of(name: str) -> Change:
    """Without the rows of every second value."""

    def change(rows: pa.Table) -> pa.Table:
        kept = sorted(pc.unique(rows[name]).to_pylist())[::2]
        return rows.filter(pc.is_in(rows[name], pa.array(kept)))

    return change


def _without(names: Sequence[str]) -> Change:
    """Every second row has no value in these columns: half of another feed is missing."""

    def change(rows: pa.Table) -> pa.Table:
        odd = pa.array(np.arange(rows.num_rows) % 2 == 1)
        for name in names:
            rows = _with(rows, name, pc.if_else(odd, pa.scalar(None, rows.schema.field(name).type), rows[name]))
        return rows

    return change


def _with(rows: pa.Table, name: str, values: Any) -> pa.Table:
    """With other values, in the column's type as a mart would have them."""
    place, field = rows.schema.get_field_index(name), rows.schema.field(name)
    return rows.set_column(place, field, values.cast(field.type, safe=False))


WEATHER = ("temperature_f", "dew_point_f", "humidity_pct", "wind_speed_mph", "pressure_mb", "visibility_miles")
FAULTS: Mapping[str, Mapping[str, Change]] = {
    "another unit: distances in kilometres, ages in months, a share in per cent, hours in another time zone": {
        "distance": _times("distance_miles", 1.609344),
        "age": _times("plane_age_years", 12),
        "share": _times("carrier_late_rate_28d", 100),
        "hour": _hour_of_utc,
    },
    "another unit: temperature in Celsius": {"temperature": _times("temperature_f", 1 / 1.8, -32 / 1.8)},
    "another unit: dew point in Celsius": {"dew point": _times("dew_point_f", 1 / 1.8, -32 / 1.8)},
    "another unit: pressure in inches": {"pressure": _times("pressure_mb", 0.02953)},
    "another unit: visibility in kilometres": {"visibility": _times("visibility_miles", 1.609344)},
    "another unit: wind in km/h, rain in mm": {
        "wind": _times("wind_speed_mph", 1.609344),
        "rain": _times("precipitation_in", 25.4),
    },
    "stuck: carrier, destination, hour, departures, distance, seats, three late rates": {
        name: _stuck(name)
        for name in (
            "carrier",
            "dest",
            "departure_hour",
            "scheduled_departures_same_hour",
            "distance_miles",
            "plane_seats",
            "carrier_late_rate_7d",
            "route_late_rate_7d",
            "plane_late_rate_7d",
        )
    },
    "stuck: humidity": {"humidity": _stuck("humidity_pct")},
    "stuck: temperature": {"temperature": _stuck("temperature_f")},
    "lost: the distance, the seats, the humidity, a late rate is null": {
        name: _lost(name) for name in ("distance_miles", "plane_seats", "humidity_pct", "route_late_rate_7d")
    },
    "half the feed: every second flight": {"flights": _every_second},
    "half the feed: of the day, of the carriers, of the airports, of the weather, of the planes": {
        "day": _morning,
        "carriers": _half_of("carrier"),
        "airports": _half_of("origin"),
        "weather": _without(WEATHER),
        "planes": _without(["plane_age_years", "plane_seats"]),
    },
    "swapped: hour and weekday, age and seats, origin and destination, distance and departures": {
        "hour": _swapped("departure_hour", "weekday"),
        "age": _swapped("plane_age_years", "plane_seats"),
        "airports": _swapped("origin", "dest"),
        "distance": _swapped("distance_miles", "scheduled_departures_same_hour"),
    },
    "swapped: temperature with humidity or dew point": {
        "humidity": _swapped("temperature_f", "humidity_pct"),
        "dew point": _swapped("temperature_f", "dew_point_f"),
    },
    "swapped: two late rates": {
        "of carriers": _swapped("carrier_late_rate_7d", "carrier_late_rate_28d"),
        "of routes": _swapped("route_late_rate_7d", "route_late_rate_28d"),
    },
}


def run(work: Work) -> Table:
    """A table of how often each fault was caught, by what; the last row has the same days without a fault."""
    nights = _Nights(work)
    chosen = nights.days[::EVERY]
    table = Table("fault in the features", "caught", "by the audit", "by the light", title_justify="left")
    table.title = f"Faults in every {EVERY}th night: {len(chosen)} nights"
    for group, changes in {**FAULTS, "no fault": {"": lambda rows: rows}}.items():
        caught = Counter[str]()
        for day in chosen:
            for change in changes.values():
                by = set(nights.caught(day, change))
                caught.update([*by, *(["at all"] if by else [])])
        of = len(chosen) * len(changes)
        table.add_row(group, f"{caught['at all']} of {of}", str(caught["audit"]), str(caught["light"]))
    return table


@dataclasses.dataclass
class _Nights:
    """The published days, their features and predictions, read once; what was derived of them is kept."""

    work: Work
    _looks: dict[tuple[str, dt.date], dict[str, Look]] = dataclasses.field(default_factory=dict)
    _runs_of: dict[dt.date, str] = dataclasses.field(default_factory=dict)
    _runs: dict[str, tuple[References, Distribution]] = dataclasses.field(default_factory=dict)
    _models: dict[str, Model] = dataclasses.field(default_factory=dict)

    @cached_property
    def _published(self) -> Mapping[dt.date, Any]:
        return self.work.services.lake.days(self.work.spec.predictions_table)

    @cached_property
    def days(self) -> list[dt.date]:
        return sorted(self._published)

    @cached_property
    def _features(self) -> Mapping[dt.date, pa.Table]:
        return self._by_day(self.work.spec.features_table, None)

    @cached_property
    def _scores(self) -> Mapping[dt.date, np.ndarray]:
        spec = self.work.spec
        column = spec.problem.drift_column(spec.predictions)
        read = self._by_day(spec.predictions_table, ["ds", column])
        return {day: spec.problem.drift_values(rows[column]) for day, rows in read.items()}

    def _by_day(self, table: str, columns: list[str] | None) -> dict[dt.date, pa.Table]:
        rows = self.work.services.lake.read(table, columns=columns).read_all()
        return {day: rows.filter(pc.equal(rows["ds"], pa.scalar(day))) for day in self._published}

    def caught(self, day: dt.date, change: Change) -> Iterator[str]:
        """What catches the change in the features of the day: "audit", "light", both or nothing."""
        spec, rows = self.work.spec, change(self._features[day])
        scores, holdout = self._scored(day, rows), self._trained(day)[1]
        if score_limits.judged(spec.audit, len(scores)):
            psi = [holdout.beyond_chance(holdout.counts(self._scores[each])) for each in self._of_same_model(day)]
            judged = score_limits.judge(spec.audit, holdout, scores, before=psi)
            yield from ["audit"] * bool(judged.problems)
        lost = drift.lost_rows(len(scores), [self._published[each].rows for each in self._before(day)])
        if drift.light(self._moved(day, rows, scores), spec.monitor, lost) == "alarm":
            yield "light"

    def _before(self, day: dt.date) -> list[dt.date]:
        return [each for each in self.days if 0 < (day - each).days <= DAYS_BEFORE]

    def _of_same_model(self, day: dt.date) -> list[dt.date]:
        """The days before whose scores the day's may be compared with."""
        return [each for each in self._before(day) if not self._model_of(each).differs(self._model_of(day))]

    def _moved(self, day: dt.date, rows: pa.Table, scores: np.ndarray) -> dict[str, Moved]:
        """How far the day's features and scores moved, as the monitor tells it."""
        spec, run, held = self.work.spec, self._run_of(day), self._trained(day)[0]
        looks = {each: self._look(run, held, each) for each in self._before(day)}
        moved = {
            name: drift.judge(
                name,
                held.features[name],
                references.comparable(spec, rows, name),
                day=day,
                before={each: of_day[name] for each, of_day in looks.items()},
                monitor=spec.monitor,
            )
            for name in spec.features.columns
        }
        moved[SCORES] = drift.judge(
            "scores",
            held.score,
            _column(scores),
            day=day,
            before={each: looks[each][SCORES] for each in self._of_same_model(day)},
            monitor=spec.monitor,
            ranges=False,
        )
        return moved

    def _look(self, training_run: str, held: References, day: dt.date) -> dict[str, Look]:
        """What a published day was like, by the training of another."""
        if (training_run, day) not in self._looks:
            spec, rows = self.work.spec, self._features[day]
            looks = {
                name: drift.look(held.features[name], references.comparable(spec, rows, name))
                for name in spec.features.columns
            }
            looks[SCORES] = drift.look(held.score, _column(self._scores[day]))
            self._looks[training_run, day] = looks
        return self._looks[training_run, day]

    def _model_of(self, day: dt.date) -> Identity:
        return identity.of_commit(self._published[day].metadata)

    def _run_of(self, day: dt.date) -> str:
        if day not in self._runs_of:
            services, spec = self.work.services, self.work.spec
            self._runs_of[day] = model_versions.trained_by(services, spec, self._published[day]).training_run
        return self._runs_of[day]

    def _trained(self, day: dt.date) -> tuple[References, Distribution]:
        services, run = self.work.services, self._run_of(day)
        if run not in self._runs:
            held = references.of_run(services.tracker, run)
            assert held is not None
            record = services.tracker.run(run)
            self._runs[run] = held, Distribution.from_json(record.tags[run_tags.HOLDOUT_SCORES])
        return self._runs[run]

    def _scored(self, day: dt.date, rows: pa.Table) -> np.ndarray:
        """What the model that published the day predicts for these rows."""
        spec, version = self.work.spec, self._published[day].metadata["model_version"]
        if version not in self._models:
            self._models[version] = model_versions.load(self.work.services, spec, version)
        model = self._models[version]
        batches = rows.select(list(model.features)).combine_chunks().to_batches()
        predicted = [np.asarray(model.predict(batch).column(0)) for batch in batches]
        return spec.problem.drift_of(np.concatenate(predicted))


def _column(numbers: np.ndarray) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(numbers, pa.float64())])
