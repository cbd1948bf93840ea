"""What every engine's join makes of outcomes that were corrected: the last one known by the cutoff counts."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tailrace import days
from tailrace.engines.local import LocalEngine
from tailrace.engines.memory import MemoryEngine
from tailrace.engines.spark.engine import SparkEngine
from tailrace.errors import ContractBroken, KeysRepeated, LookAhead, TrainingFailed
from tailrace.lake.memory import MemoryLake
from tailrace.settings import SparkSettings
from tailrace.spec import LABEL, Candidate, Window, zone
from tailrace.training import training_set
from tests.support import churn_rows, keyed

FIRST, LAST = dt.date(2013, 3, 1), dt.date(2013, 3, 8)
ROWS = 20
SPARK = SparkSettings(master="local[2]", driver_memory="1g", conf={"spark.sql.shuffle.partitions": "2"})
ENGINES = {"local": LocalEngine, "memory": MemoryEngine, "spark": lambda: SparkEngine(SPARK)}
INSTANT = pa.timestamp("us", tz="UTC")


class InOrder:
    """A scan of rows in the order in which they are given."""

    def __init__(self, rows: pa.Table) -> None:
        self.schema, self.rows, self._rows = rows.schema, rows.num_rows, rows

    def parts(self, rows: int):
        return [self]

    def batches(self):
        return iter(self._rows.to_batches())


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=pytest.mark.spark if name == "spark" else ()) for name in ENGINES]
)
def engine(request):
    engine = ENGINES[request.param]()
    yield engine
    if request.param == "spark":
        engine.session.stop()


@pytest.fixture
def spec(spec):
    """Joined in Spark where the engine is Spark: one of its candidates learns there."""
    forest = Candidate("forest", "pyspark.ml.classification.RandomForestClassifier")
    return replace(spec, window=Window(days=6, holdout_days=2), candidates=(forest,))


def outcome(spec, key: str, day: dt.date, label: bool | None, minutes: int = 0) -> dict:
    """An outcome that became known so many minutes before the cutoff of the day under which it lies."""
    known_at = days.cutoff(day, zone(spec)) - dt.timedelta(minutes=minutes)
    return {"customer": key, "ds": day, "known_at": known_at, "left": label}


def filled(spec, *corrections: dict) -> MemoryLake:
    lake = MemoryLake()
    schema = pa.schema({"customer": pa.string(), "ds": pa.date32(), "known_at": INSTANT, "left": pa.bool_()})
    for day in days.span(FIRST, LAST):
        features = keyed(churn_rows(ROWS, seed=day.day)[0], day)
        known = pa.array([days.cutoff(day, zone(spec))] * ROWS, INSTANT)
        of_yesterday = [
            outcome(spec, f"{day - dt.timedelta(days=1)}-{number:05d}", day, number % 2 == 0, 30)
            for number in range(ROWS)
        ]
        rows = of_yesterday + [one for one in corrections if one["ds"] == day]
        for table, held in (
            (spec.features_table, features.append_column("known_at", known)),
            (spec.outcomes_table, pa.Table.from_pylist(rows, schema)),
        ):
            lake.publish(lake.stage(table, day, "r", held.to_reader()), {})
    return lake


def labels(spec, engine, lake, day: dt.date) -> dict[str, bool]:
    """The labels of the holdout, by key, training as of a day."""
    pins = training_set.pin_inputs(lake, spec, day)
    holdout = training_set.load(lake, engine, spec, day, pins=pins).holdout
    return dict(zip(holdout["customer"].to_pylist(), holdout[LABEL].to_pylist(), strict=True))


CORRECTED, UNKNOWN, TWICE = (f"2013-03-05-0000{number}" for number in (2, 4, 6))


def test_the_last_outcome_known_by_the_cutoff_counts(spec, engine):
    seventh, eighth = dt.date(2013, 3, 7), dt.date(2013, 3, 8)
    lake = filled(
        spec,
        outcome(spec, CORRECTED, seventh, False),
        outcome(spec, UNKNOWN, seventh, None),
        outcome(spec, TWICE, seventh, False, 20),
        outcome(spec, TWICE, seventh, True, 10),
        outcome(spec, CORRECTED, eighth, True),
    )
    before = labels(spec, engine, lake, dt.date(2013, 3, 6))
    assert (before[CORRECTED], before[UNKNOWN], before[TWICE]) == (True, True, True)
    after = labels(spec, engine, lake, seventh)
    assert (after[CORRECTED], after[TWICE]) == (False, True)
    assert UNKNOWN not in after, "its last outcome says that it is not known"
    assert len(after) == 2 * ROWS - 1
    others = {key: label for key, label in before.items() if key not in (CORRECTED, UNKNOWN, TWICE)}
    assert others.items() - after.items() == {
        (key, label) for key, label in others.items() if key.startswith("2013-03-04")
    }
    assert labels(spec, engine, filled(spec), eighth) == labels(spec, engine, lake, eighth)


def test_without_known_at_the_last_day_counts_whenever_it_was_taken(spec, engine):
    """Then known_at is the moment of a snapshot, here of one that was made long after the day of training."""
    spec = replace(spec, outcome=replace(spec.outcome, known_at=None), features=replace(spec.features, known_at=None))
    sixth, seventh, minutes = dt.date(2013, 3, 6), dt.date(2013, 3, 7), 60 * 24 * 365
    lake = filled(
        spec,
        outcome(spec, CORRECTED, seventh, False, -minutes),
        outcome(spec, TWICE, seventh, False, minutes),
    )
    before, after = labels(spec, engine, lake, sixth), labels(spec, engine, lake, seventh)
    assert (before[CORRECTED], before[TWICE]) == (True, True)
    assert (after[CORRECTED], after[TWICE]) == (False, False)


def test_two_outcomes_known_at_the_same_moment_are_refused(spec, engine):
    day = dt.date(2013, 3, 7)
    lake = filled(spec, outcome(spec, CORRECTED, day, False), outcome(spec, CORRECTED, day, True))
    with pytest.raises(KeysRepeated) as raised:
        labels(spec, engine, lake, day)
    assert str(raised.value) == (
        f"outcomes/churn: 1 key (customer) appears more than once with the same known_at, for example {CORRECTED}. "
        "A corrected outcome needs a later known_at than the outcome that it corrects: the last one counts. "
        "Correct the dbt model, or add to features.key the column that distinguishes these rows."
    )


@pytest.mark.parametrize("left_over", [0, 1, 2])
def test_one_row_is_not_enough_to_evaluate_on(spec, left_over):
    spec, seventh = replace(spec, window=Window(days=6, holdout_days=1)), LAST - dt.timedelta(days=1)
    unknown = [outcome(spec, f"{seventh}-{number:05d}", LAST, None, 10) for number in range(left_over, ROWS)]
    lake = filled(spec, *unknown)
    if left_over == 2:
        assert len(labels(spec, MemoryEngine(), lake, LAST)) == 2
        return
    with pytest.raises(TrainingFailed) as raised:
        labels(spec, MemoryEngine(), lake, LAST)
    found = {
        0: "no rows with a known outcome from 2013-03-07 to 2013-03-07 to evaluate on",
        1: "only one row with a known outcome from 2013-03-07 to 2013-03-07 to evaluate on, which says nothing about "
        "chance: at least two are needed",
    }[left_over]
    assert str(raised.value) == (
        f"churn: {found}, when trained as of 2013-03-08. Run the warehouse for these days, train as of another day, "
        "or give window.holdout_days more days."
    )


def test_the_digest_of_outcomes_does_not_depend_on_the_order_they_lie_in(spec):
    lake = filled(spec, outcome(spec, CORRECTED, dt.date(2013, 3, 7), False))
    pins = training_set.pin_inputs(lake, spec, dt.date(2013, 3, 8))
    columns = [*spec.features.key, "known_at", "left"]
    outcomes = lake.scan(pins["outcomes"], columns).reader().read_all()
    features = lake.scan(pins["features"])

    turned = InOrder(outcomes.take(pc.sort_indices(outcomes, [("known_at", "descending")])))
    known_by, holdout_from = days.cutoff(LAST, zone(spec)), dt.date(2013, 3, 6)
    one, other = (
        training_set.join(spec, features, scan, known_by=known_by, holdout_from=holdout_from)
        for scan in (lake.scan(pins["outcomes"], columns), turned)
    )
    assert one.digests == other.digests
    assert one.holdout.equals(other.holdout)


@pytest.mark.parametrize(
    ("column", "wrong", "error"),
    [
        ("age", pa.scalar(float("inf")), ContractBroken),
        ("known_at", pa.scalar(dt.datetime(2013, 4, 1, tzinfo=dt.UTC), INSTANT), LookAhead),
    ],
)
def test_a_refusal_names_the_same_rows_in_whatever_order_they_lie(spec, column, wrong, error):
    lake = filled(spec)
    features, outcomes = (lake.scan(pin) for pin in training_set.pin_inputs(lake, spec, dt.date(2013, 3, 8)).values())
    rows = features.reader().read_all()
    rows = rows.set_column(rows.schema.get_field_index(column), column, pa.repeat(wrong, rows.num_rows))

    said = []
    for order in ("ascending", "descending"):
        lying = InOrder(rows.sort_by([("customer", order)]))
        with pytest.raises(error, match=f"{rows.num_rows} rows.*, for example") as raised:
            training_set.join(
                spec, lying, outcomes, known_by=days.cutoff(LAST, zone(spec)), holdout_from=dt.date(2013, 3, 6)
            )
        said.append(str(raised.value))
    assert said[0] == said[1]
