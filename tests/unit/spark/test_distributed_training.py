"""Training on rows that stay in Spark, from the lake's files to a registered model that scores without it."""

from __future__ import annotations

import datetime as dt
import decimal
import math
import time
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from tailrace import days
from tailrace.contracts import Engine, Lake, Tracker
from tailrace.engines.local import LocalEngine
from tailrace.engines.spark import training
from tailrace.engines.spark.engine import SparkEngine
from tailrace.errors import BadInput, ContractBroken, KeysRepeated, LookAhead, TrainingFailed
from tailrace.lake.delta import DeltaLake
from tailrace.lake.memory import MemoryLake
from tailrace.operations import reproduce
from tailrace.problems.multiclass import Multiclass
from tailrace.problems.regression import Regression
from tailrace.settings import SparkSettings
from tailrace.spec import LABEL, Candidate, Gate, IntRange, PipelineSpec, zone
from tailrace.stages import evaluate, promote, score, train
from tailrace.tracking.memory import MemoryTracker
from tailrace.training import training_set
from tests.support import churn_rows, keyed, work

FIRST, DAY = dt.date(2013, 3, 8), dt.date(2013, 3, 14)
"""The clocks of New York change in between, on the 10th."""

ROWS_A_DAY = 300
FOREST = Candidate("forest", "pyspark.ml.classification.RandomForestClassifier", {"numTrees": 5}, {})
XGBOOST = Candidate(
    "cluster_trees", "xgboost.spark.SparkXGBClassifier", {"n_estimators": 15}, {"max_depth": IntRange(2, 4)}
)
BASELINE = Candidate("baseline", "sklearn.dummy.DummyClassifier", {"strategy": "prior"})


@dataclass
class Installation:
    lake: Lake
    tracker: Tracker
    engine: Engine


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    log = tmp_path_factory.mktemp("spark") / "spark.log"
    conf = {"spark.sql.shuffle.partitions": "2"}
    engine = SparkEngine(SparkSettings(master="local[2]", driver_memory="1g", log=str(log), conf=conf))
    yield engine
    engine.session.stop()


@pytest.fixture
def spec(spec) -> PipelineSpec:
    return replace(spec, candidates=(FOREST, XGBOOST, BASELINE), gate=Gate(floor=0.55))


def features_of(spec: PipelineSpec, day: dt.date) -> pa.Table:
    rows, _ = churn_rows(ROWS_A_DAY, seed=day.day)
    cutoff = days.cutoff(day, zone(spec))
    # Event times differ by row, and several rows share each.
    times = [cutoff + dt.timedelta(minutes=5 * (number // 3)) for number in range(ROWS_A_DAY)]
    table = keyed(rows, day).drop_columns("event_time")
    instant = pa.timestamp("us", tz="UTC")
    return table.append_column("event_time", pa.array(times, instant)).append_column(
        "known_at", pa.array([cutoff] * ROWS_A_DAY, instant)
    )


def outcomes_of(spec: PipelineSpec, day: dt.date) -> pa.Table:
    """Of the day before; a few are known too late, a few never."""
    before = day - dt.timedelta(days=1)
    _, labels = churn_rows(ROWS_A_DAY, seed=before.day)
    cutoff = days.cutoff(day, zone(spec))
    known = [cutoff + dt.timedelta(days=30 if number % 50 == 0 else 0) for number in range(ROWS_A_DAY)]
    never = [None if number % 40 == 0 else label for number, label in enumerate(labels.to_pylist())]
    return pa.table(
        {
            "customer": features_of(spec, before)["customer"],
            "ds": pa.array([day] * ROWS_A_DAY, pa.date32()),
            "known_at": pa.array(known, pa.timestamp("us", tz="UTC")),
            "left": pa.array(never, pa.bool_()),
        }
    )


def put(lake: Lake, table: str, day: dt.date, rows: pa.Table) -> None:
    lake.publish(lake.stage(table, day, f"{table}-{day}-{rows.num_rows}", rows.to_reader()), {})


def filled(lake: Lake, spec: PipelineSpec, label: pa.DataType | None = None) -> Lake:
    for day in days.span(FIRST, DAY):
        put(lake, spec.features_table, day, features_of(spec, day))
        known = outcomes_of(spec, day)
        put(lake, spec.outcomes_table, day, changed(known, left=known["left"].cast(label or pa.bool_())))
    return lake


@pytest.fixture
def lake(tmp_path, spec):
    return filled(DeltaLake(str(tmp_path / "lake")), spec)


@pytest.fixture
def elsewhere(monkeypatch):
    """A process in another time zone than Spark's."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def load(lake, engine, spec):
    return training_set.load(lake, engine, spec, DAY, pins=training_set.pin_inputs(lake, spec, DAY))


def changed(table: pa.Table, **columns: pa.Array) -> pa.Table:
    for name, values in columns.items():
        table = table.set_column(table.column_names.index(name), name, values)
    return table


def test_zero_and_one_are_labels_in_spark_too(engine, spec, tmp_path):
    booleans, numbers = filled(MemoryLake(), spec), filled(MemoryLake(), spec, label=pa.int32())
    expected = load(booleans, engine, spec).learning
    for of in (LocalEngine(), engine):
        assert load(numbers, of, spec).learning.labels().equals(expected.labels())


EVERY_KIND = {
    "texts": (Multiclass(("true", "false")), pa.string(), "neither"),
    "codes": (Multiclass((1, 0)), pa.int64(), 7),
    "amounts": (Regression(link="log"), pa.float32(), -0.5),
}


@pytest.mark.parametrize(("problem", "label", "wrong"), EVERY_KIND.values(), ids=EVERY_KIND)
def test_labels_of_every_kind_are_the_same_in_spark(engine, spec, problem, label, wrong):
    spec = replace(spec, outcome=replace(spec.outcome, problem=problem))
    spec = replace(spec, candidates=(replace(FOREST, estimator=problem.spark_estimators[-1]),))
    lake = filled(MemoryLake(), spec, label=label)
    here, there = load(lake, LocalEngine(), spec), load(lake, engine, spec)
    assert there.learning.labels().type == here.learning.labels().type
    assert there.learning.labels().equals(here.learning.labels())
    assert there.holdout[LABEL].equals(here.holdout[LABEL])
    day = dt.date(2013, 3, 10)
    known = outcomes_of(spec, day)["left"].cast(label).to_pylist()
    known[2:5] = [wrong, None, wrong]
    put(lake, spec.outcomes_table, day, changed(outcomes_of(spec, day), left=pa.array(known, label)))
    refused = [str(refusal(lake, of, spec)) for of in (LocalEngine(), engine)]
    assert refused[0] == refused[1]
    assert f"label 'left' is {wrong} in 2 rows; a label is" in refused[0]


@pytest.mark.parametrize("label", [pa.float64(), pa.int64()])
def test_rows_of_an_earlier_release_that_break_a_contract_are_refused_in_the_same_words(engine, spec, label):
    lake = filled(MemoryLake(), spec, label=label)
    day = dt.date(2013, 3, 10)
    rows, known = features_of(spec, day), outcomes_of(spec, day).slice(0, 5)
    odd = pa.array([float("inf"), 1.0, -1e300, None, float("nan")])
    nameless = pa.array([None, *rows["customer"].slice(1, 4).to_pylist()])
    put(lake, spec.features_table, day, changed(rows.slice(0, 5), customer=nameless, age=odd))
    unknown = pa.array([known["known_at"][0].as_py(), None, None, None, None], pa.timestamp("us", tz="UTC"))
    labels = pa.array([1, 0, None, -1, 1], label)
    put(lake, spec.outcomes_table, day, changed(known, known_at=unknown, left=labels))
    refused = [str(refusal(lake, of, spec)) for of in (LocalEngine(), engine)]
    assert refused[0] == refused[1]
    for said in ("1 row without 'customer'", "'age' is", "in 2 rows", "outcomes/churn: 3 rows without 'known_at'"):
        assert said in refused[0]
    put(lake, spec.features_table, day, rows)
    put(lake, spec.outcomes_table, day, changed(known, left=labels))
    refused = [str(refusal(lake, of, spec)) for of in (LocalEngine(), engine)]
    assert refused[0] == refused[1]
    assert "outcomes/churn: label 'left' is " in refused[0]


def test_weights_are_read_and_refused_in_spark_as_in_memory(engine, spec):
    columns = {name: kind for name, kind in spec.features.columns.items() if name != "visits"}
    spec = replace(spec, features=replace(spec.features, columns=columns, weight="visits"))
    lake = filled(MemoryLake(), spec)
    here, there = (load(lake, of, spec).learning for of in (LocalEngine(), engine))
    assert there.table().column_names == ["plan", "age", "visits"]
    assert there.table().equals(here.table())
    rows = features_of(spec, dt.date(2013, 3, 10)).slice(0, 3)
    put(lake, spec.features_table, dt.date(2013, 3, 10), changed(rows, visits=pa.array([-1, None, 2], pa.int64())))
    refused = [str(refusal(lake, of, spec)) for of in (LocalEngine(), engine)]
    assert refused[0] == refused[1]
    assert "weight 'visits' is -1, null in 2 rows" in refused[0]


def refusal(lake, engine, spec) -> ContractBroken:
    with pytest.raises(ContractBroken) as raised:
        load(lake, engine, spec)
    return raised.value


@pytest.mark.parametrize("kind", ["delta", "memory"])
def test_the_join_in_spark_is_the_join_in_memory(engine, spec, lake, kind, elsewhere):
    if kind == "memory":
        lake = filled(MemoryLake(), spec)
    here, there = load(lake, LocalEngine(), spec), load(lake, engine, spec)
    assert there.holdout.select(here.holdout.column_names).cast(here.holdout.schema).equals(here.holdout)
    assert (there.learning.rows, there.learning.days) == (here.learning.rows, here.learning.days)
    assert there.learning.table().equals(here.learning.table())
    assert there.learning.labels().equals(here.learning.labels())
    assert there.learning.head(7).equals(here.learning.head(7))
    assert load(lake, engine, spec).digests == there.digests


def test_rows_are_split_as_the_sorted_table_is(engine, spec, lake, elsewhere):
    rows = load(lake, engine, spec).learning
    earlier, later = rows.split(0.2)
    boundary = int(rows.rows * 0.8)
    assert (earlier.rows, later.rows) == (boundary, rows.rows - boundary)
    assert earlier.table().equals(rows.table().slice(0, boundary).combine_chunks())
    assert later.table().equals(rows.table().slice(boundary).combine_chunks())


INSTANT, ON_THE_CLOCK = pa.timestamp("us", tz="UTC"), pa.timestamp("us")
FOLDS = [dt.datetime(2013, 11, 3, 5, 30) + dt.timedelta(minutes=30 * step) for step in range(5)]
"""Around the hour that New York's clocks show twice; Moscow and Kolkata read other hours then."""

KEYS = {
    "bool": (pa.bool_(), some.booleans()),
    "tinyint": (pa.int8(), some.integers(-128, 127)),
    "smallint": (pa.int16(), some.integers(-(2**15), 2**15 - 1)),
    "int": (pa.int32(), some.integers(-(2**31), 2**31 - 1)),
    "bigint": (pa.int64(), some.integers(-(2**63), 2**63 - 1) | some.integers(-3, 3)),
    "float": (pa.float32(), some.floats(width=32, allow_nan=False).map(lambda number: number + 0.0)),
    "double": (pa.float64(), some.floats(allow_nan=False).map(lambda number: number + 0.0)),
    "decimal": (pa.decimal128(20, 4), some.decimals(-(10**15), 10**15, places=4)),
    "varchar": (pa.string(), some.text(some.characters(exclude_categories=["Cs"]), max_size=4)),
    "blob": (pa.binary(), some.binary(max_size=4)),
    "date": (pa.date32(), some.dates()),
    "timestamptz": (INSTANT, some.sampled_from(FOLDS).map(lambda time: time.replace(tzinfo=dt.UTC))),
    "timestamp": (ON_THE_CLOCK, some.sampled_from(FOLDS) | some.datetimes(dt.datetime(1, 1, 2))),
}
"""Every type the lake takes for a key, and values of it."""


@some.composite
def unsorted_rows(draw, kind: str) -> pa.Table:
    """Rows that a time, a key of the given type and a number together name, none, some or all of them without time
    and key; the columns' names have dots and backticks."""
    key_type, values = KEYS[kind]
    count = draw(some.integers(5, 25))
    absent = draw(some.sampled_from([0, 30, 100]))

    def with_nulls(values):
        wanted = some.integers(0, 99).flatmap(lambda dice: some.none() if dice < absent else values)
        return draw(some.lists(wanted, min_size=count, max_size=count))

    times = some.sampled_from(FOLDS).map(lambda time: time.replace(tzinfo=dt.UTC))
    return pa.table(
        {
            "at.time": pa.array(with_nulls(times), INSTANT),
            f"the `{kind}`.key": pa.array(with_nulls(values), key_type),
            "n": pa.array(draw(some.permutations(range(count))), pa.int64()),
            LABEL: pa.array([True] * count, pa.bool_()),
        }
    )


@pytest.mark.parametrize("kind", KEYS)
def test_a_split_is_the_slice_of_the_sorted_table(engine, kind, monkeypatch):
    from pyspark.sql.pandas.types import from_arrow_schema

    from tailrace.engines.spark.rows import FrameRows

    @settings(max_examples=2, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(unsorted_rows(kind), some.sampled_from([0.2, 0.5]), some.sampled_from(["America/New_York", "Asia/Kolkata"]))
    def split(table, share, zone_name):
        monkeypatch.setenv("TZ", zone_name)
        time.tzset()
        order = tuple(table.column_names[:3])
        schema = from_arrow_schema(table.schema, prefer_timestamp_ntz=True)
        frame = engine.session.createDataFrame(table, schema)
        rows = FrameRows(frame=frame, columns=order, order=order, rows=table.num_rows, days=(DAY, DAY))
        in_order = table.sort_by([(name, "ascending") for name in order]).select(order)
        earlier, later = rows.split(share)
        boundary = int(table.num_rows * (1 - share))
        assert rows.table().equals(in_order)
        assert earlier.table().equals(in_order.slice(0, boundary))
        assert later.table().equals(in_order.slice(boundary))

    split()
    monkeypatch.undo()
    time.tzset()


def test_a_distributed_candidate_trains_whatever_types_the_key_has(engine, spec, tmp_path):
    """The key has a column of each type, and every name a dot."""

    def keyed_by_all(table: pa.Table) -> pa.Table:
        number = pc.cast(pc.utf8_slice_codeunits(table["customer"], 0, 20), pa.string())
        numbers = pa.array(range(table.num_rows), pa.int64())
        columns = {
            "k.bool": pc.greater(numbers, 100),
            "k.small": numbers.cast(pa.int16()),
            "k.big": pc.add(numbers, 2**40),
            "k.float": numbers.cast(pa.float32()),
            "k.decimal": pa.array([decimal.Decimal(n) / 4 for n in range(len(numbers))], pa.decimal128(20, 4)),
            "k.time": pa.array(FOLDS * (len(numbers) // len(FOLDS)), INSTANT),
            "k.text": number,
        }
        renamed = {"age": "age.years", "plan": "plan.name"}
        table = table.drop_columns("customer").rename_columns(
            [renamed.get(name, name) for name in table.column_names if name != "customer"]
        )
        for name, values in columns.items():
            table = table.append_column(name, values)
        return table

    features = replace(
        spec.features,
        key=("k.bool", "k.small", "k.big", "k.float", "k.decimal", "k.time", "k.text"),
        columns={"age.years": "numeric", "visits": "numeric", "plan.name": "categorical"},
    )
    dotted = replace(spec, features=features, candidates=(FOREST, XGBOOST))
    lake = DeltaLake(str(tmp_path / "lake"))
    for day in days.span(FIRST, DAY):
        put(lake, spec.features_table, day, keyed_by_all(features_of(spec, day)))
        put(lake, spec.outcomes_table, day, keyed_by_all(outcomes_of(spec, day)))
    here, there = load(lake, LocalEngine(), dotted), load(lake, engine, dotted)
    assert there.learning.table().equals(here.learning.table())
    trained = engine.train(
        dotted, there.learning, seed=1, trials=2, on_trial=lambda trial: print(trial.parameters.get("error"))
    )
    assert [trial.state for trial in trained.trials] == ["complete", "complete"]
    assert list(trained.model.features) == list(dotted.features.columns)


def test_other_contents_have_another_digest_in_whatever_order(engine, spec, lake):
    from tailrace.engines.spark.joining import rows_digest

    rows = load(lake, engine, spec).learning.frame
    digest = rows_digest(rows)
    assert rows_digest(rows.orderBy("visits")) == digest
    assert rows_digest(rows.withColumn("age", rows["age"] + 1e-9)) != digest
    assert rows_digest(rows.withColumn("plan", rows["visits"].cast("string"))) != digest


def test_what_was_not_known_and_what_repeats_is_refused_in_the_same_words(engine, spec, lake):
    def refusals(error):
        texts = []
        for of in (LocalEngine(), engine):
            with pytest.raises(error) as raised:
                load(lake, of, spec)
            texts.append(str(raised.value))
        return texts

    repeated = features_of(spec, dt.date(2013, 3, 10))
    put(lake, spec.features_table, dt.date(2013, 3, 10), pa.concat_tables([repeated, repeated.slice(0, 1)]))
    here, there = refusals(KeysRepeated)
    assert here == there
    late = features_of(spec, dt.date(2013, 3, 11))
    known = pc.add(late["known_at"], pa.scalar(dt.timedelta(seconds=1)))
    known = pa.chunked_array([pa.concat_arrays([known.slice(0, 1).combine_chunks(), pa.nulls(1, known.type)])])
    late = late.slice(0, 2).set_column(late.schema.get_field_index("known_at"), "known_at", known)
    put(lake, spec.features_table, dt.date(2013, 3, 11), late)
    here, there = refusals(LookAhead)
    assert here == there
    assert "2 rows contain values" in here


def test_candidates_of_both_kinds_are_searched_reproduced_and_score_without_spark(engine, spec, lake, tmp_path):
    services = Installation(lake, MemoryTracker(tmp_path / "tracker"), engine)
    told = []
    result = train.run(work(services, spec), DAY, seed=3, trials=3, on_trial=told.append)
    assert {trial.candidate for trial in told} == {"forest", "cluster_trees", "baseline"}
    assert result.candidate != "baseline"
    assert {trial.state for trial in told} == {"complete"}
    assert result.metrics["roc_auc"] > 0.7

    assert train.run(work(services, spec), DAY, seed=3, trials=3).unchanged
    evaluate.run(work(services, spec), result.training_run)
    promote.run(work(services, spec), result.training_run, recorded_at=dt.datetime(2013, 4, 1, tzinfo=dt.UTC))
    assert reproduce.run(services, spec, result.training_run).same
    assert engine.session.sparkContext._jsc.getPersistentRDDs().isEmpty(), "nothing is left in the cluster's memory"

    services.engine = LocalEngine()
    score.run(work(services, spec, "p"), DAY)
    scored = lake.read_staged(lake.staged(spec.predictions_table, DAY, "p")).read_all()
    assert (scored.num_rows, scored["score"].null_count) == (ROWS_A_DAY, 0)


def test_a_trial_that_fails_ends_alone(engine, spec, lake):
    broken = Candidate("broken", "pyspark.ml.classification.RandomForestClassifier", {"numTrees": -1})
    rows = load(lake, engine, spec).learning
    trained = engine.train(
        replace(spec, candidates=(broken, BASELINE)), rows, seed=1, trials=2, on_trial=lambda trial: None
    )
    assert [trial.state for trial in trained.trials] == ["failed", "complete"]
    assert "numTrees" in trained.trials[0].parameters["error"]


@pytest.mark.parametrize(("value", "what"), [(math.nan, "not defined"), (math.inf, "infinite")])
def test_a_trial_without_a_finite_metric_fails_as_on_one_machine(engine, spec, lake, monkeypatch, value, what):
    rows = load(lake, engine, spec).learning
    monkeypatch.setattr(training, "measured", lambda rows, model: {spec.search.metric: value})
    few = replace(FOREST, parameters={"numTrees": 1, "maxDepth": 1})
    tried = replace(spec, candidates=(few, BASELINE))
    trained = engine.train(tried, rows, seed=1, trials=2, on_trial=lambda trial: None)
    assert [trial.state for trial in trained.trials] == ["failed", "complete"]
    assert trained.trials[0].parameters["error"] == f"log_loss is {what} on the comparison rows"


def test_one_class_cannot_be_learned(engine, spec, lake):
    rows = load(lake, engine, spec).learning
    one = replace(rows, frame=rows.frame.where(f"{LABEL}"), rows=rows.frame.where(f"{LABEL}").count())
    with pytest.raises(TrainingFailed, match="only one class of 'left'"):
        engine.train(replace(spec, candidates=(FOREST,)), one, seed=1, trials=1, on_trial=lambda trial: None)


def test_the_local_engine_says_where_to_train_them(spec, lake, tmp_path):
    with pytest.raises(BadInput, match=r"'forest' .* TAILRACE_ENGINE=spark"):
        train.run(work(Installation(lake, MemoryTracker(tmp_path / "tracker"), LocalEngine()), spec), DAY, seed=1)
