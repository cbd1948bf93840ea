"""The contract of each role: what is wrong with a day's rows is refused in one error that names all of it."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import replace
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tailrace.errors import ContractBroken, KeysRepeated, LookAhead, Refused
from tailrace.rows import role_values, roles, row_checks
from tailrace.spec import PipelineSpec

DAY = dt.date(2013, 1, 5)
DUE = dt.datetime(2013, 1, 5, 5, tzinfo=dt.UTC)
TIME = pa.timestamp("us", tz="UTC")


def features(**columns: pa.Array) -> pa.Table:
    rows = {
        "customer": pa.array(["a", "b", "c"]),
        "event_time": pa.array([DUE] * 3, TIME),
        "known_at": pa.array([DUE] * 3, TIME),
        "plan": pa.array(["free", None, "pro"]),
        "age": pa.array([40.0, None, float("nan")]),
        "visits": pa.array([1, 2, None], pa.int64()),
        "ds": pa.array([DAY] * 3, pa.date32()),
    }
    return pa.table({**rows, **columns})


def outcomes(**columns: pa.Array) -> pa.Table:
    rows = {
        "customer": pa.array(["a", "b", "c"]),
        "known_at": pa.array([DUE] * 3, TIME),
        "left": pa.array([True, False, None]),
        "ds": pa.array([DAY] * 3, pa.date32()),
    }
    return pa.table({**rows, **columns})


def refusal(spec: PipelineSpec, of_features: pa.Table, of_outcomes: pa.Table) -> Refused:
    """The error, which is the same however the rows are cut into batches."""
    errors = []
    for rows in (3, 2, 1):
        with pytest.raises(Refused) as raised:
            roles.check(spec, DAY, cut(of_features, rows), cut(of_outcomes, rows))
        errors.append(raised.value)
    assert len({(type(error), str(error)) for error in errors}) == 1, errors
    return errors[0]


def cut(rows: pa.Table, size: int) -> pa.Table:
    return pa.Table.from_batches(rows.to_batches(max_chunksize=size), rows.schema)


def decimals(number: int, scale: int) -> pa.Array:
    return pa.array([Decimal(number), Decimal(1), None], pa.decimal128(38, scale))


@pytest.mark.parametrize(
    "label",
    [
        pa.array([True, False, None]),
        pa.array([1, 0, None], pa.int8()),
        pa.array([1, 0, None], pa.int64()),
        pa.array([None, None, None], pa.bool_()),
    ],
)
def test_booleans_and_zero_or_one_are_labels(spec, label):
    roles.check(spec, DAY, features(), outcomes(left=label))
    expected = label.cast(pa.bool_()).to_pylist()
    assert roles.labels(spec, "outcomes/churn", pa.chunked_array([label])).to_pylist() == expected


@pytest.mark.parametrize(
    ("label", "said"),
    [
        (pa.array([1, 0, -1]), "label 'left' is -1 in 1 row"),
        (pa.array([1, 0, 20]), "label 'left' is 20 in 1 row"),
        (pa.array([1.0, 0.0, float("nan")]), "label 'left' is double"),
        (pa.array([1.0, 0.0, None]), "label 'left' is double"),
        (pa.array(["Y", "N", None]), "label 'left' is string"),
        (pa.array([Decimal(1), Decimal(0), None]), "label 'left' is decimal128(1, 0)"),
    ],
)
def test_nothing_else_is_a_label_neither_at_the_snapshot_nor_in_a_lake_that_has_it(spec, label, said):
    error = refusal(spec, features(), outcomes(left=label))
    assert isinstance(error, ContractBroken)
    assert f"churn_outcomes: {said}" in str(error)
    assert "0 or 1 as an integer" in str(error)
    with pytest.raises(ContractBroken) as raised:
        roles.labels(spec, "outcomes/churn", pa.chunked_array([label]))
    assert f"outcomes/churn: {said}" in str(raised.value)


DATES = pa.array([DAY] * 3, pa.date32())
TEXTS = pa.array(["2013-01-05"] * 3)
NAIVE = pa.array([dt.datetime(2013, 1, 5)] * 3, pa.timestamp("us"))


@pytest.mark.parametrize(
    ("of_features", "of_outcomes", "said"),
    [
        (features(known_at=DATES), outcomes(), "churn_features: 'known_at' is date32[day]"),
        (features(known_at=TEXTS), outcomes(), "churn_features: 'known_at' is string"),
        (features(known_at=NAIVE), outcomes(), "churn_features: 'known_at' is timestamp[us]"),
        (features(event_time=TEXTS), outcomes(), "churn_features: 'event_time' is string"),
        (features(), outcomes(known_at=DATES), "churn_outcomes: 'known_at' is date32[day]"),
        (features(), outcomes(known_at=TEXTS), "churn_outcomes: 'known_at' is string"),
        (
            features(),
            outcomes(known_at=pa.array([DUE, None, None], TIME)),
            "churn_outcomes: 2 rows without 'known_at', for example customer b; customer c",
        ),
        (features(customer=pa.array(["a", "b", None])), outcomes(), "churn_features: 1 row without 'customer'"),
        (features(), outcomes(customer=pa.array(["a", None, None])), "churn_outcomes: 2 rows without 'customer'"),
        (
            features(customer=pa.array([1, 2, 3], pa.int32())),
            outcomes(customer=pa.array([1, 2, 3], pa.int64())),
            "key 'customer' is int32 in churn_features and int64 in churn_outcomes",
        ),
        (
            features(customer=pa.array([[1], [2], [3]])),
            outcomes(customer=pa.array([[1], [2], [3]])),
            "churn_outcomes: key 'customer' is list<item: int64>; a key is a text",
        ),
        (
            features(customer=pa.array([1.0, 2.0, float("nan")])),
            outcomes(customer=pa.array([1.0, 2.0, 3.0])),
            "churn_features: 1 row without 'customer'",
        ),
        (
            features(age=pa.array([1.0, float("inf"), None])),
            outcomes(),
            "feature 'age' is inf in 1 row, for example customer b",
        ),
        (features(age=pa.array([float("-inf"), 1.0, None])), outcomes(), "feature 'age' is -inf"),
        (features(age=pa.array([1e300, 1.0, None])), outcomes(), "feature 'age' is 1e+300"),
        (features(age=pa.array([float("inf"), 1, None], pa.float32())), outcomes(), "feature 'age' is inf"),
        (features(visits=pa.array([2**53 + 1, 1, None])), outcomes(), "feature 'visits' is 9007199254740993"),
        (features(visits=pa.array([-(2**53) - 1, 1, None])), outcomes(), "feature 'visits' is -9007199254740993"),
        (features(visits=decimals(2**53 + 1, 0)), outcomes(), "feature 'visits' is 9007199254740993"),
        (features(visits=decimals(-(2**53) - 1, 4)), outcomes(), "feature 'visits' is -9007199254740993.0000"),
        (features(visits=pa.array([2**64 - 1, 1, None], pa.uint64())), outcomes(), "is 18446744073709551615"),
        (features(visits=TEXTS), outcomes(), "feature 'visits' is string, the spec says numeric"),
        (features(plan=pa.array([b"x"] * 3)), outcomes(), "feature 'plan' is binary, the spec says categorical"),
        (features().rename_columns({"age": "agee"}), outcomes(), "Did you mean 'agee'?"),
        (features(), outcomes().drop_columns("left"), "column 'left' is missing; the spec says it is the label"),
    ],
)
def test_a_column_that_does_not_play_its_role_is_refused(spec, of_features, of_outcomes, said):
    error = refusal(spec, of_features, of_outcomes)
    assert isinstance(error, ContractBroken)
    assert "churn: the warehouse's rows of 2013-01-05 are refused; the lake stays as it was." in str(error)
    assert said in str(error)


def test_numbers_at_the_limit_nulls_and_nan_are_accepted(spec):
    largest = float.fromhex("0x1.fffffep+127")
    assert largest == role_values.LARGEST
    of_features = features(
        age=pa.array([largest, -largest, float("nan")]), visits=pa.array([2**53, -(2**53), None], pa.int64())
    )
    roles.check(spec, DAY, of_features, outcomes())
    nothing = pa.array([float("nan")] * 3)
    roles.check(spec, DAY, features(age=nothing), outcomes())
    roles.check(spec, DAY, features().slice(0, 0), outcomes().slice(0, 0))


def test_a_category_may_be_any_whole_number(spec):
    roles.check(spec, DAY, features(plan=pa.array([2**60, 1, None])), outcomes())


def test_texts_in_any_of_arrows_forms_are_one_type_of_key(spec):
    coded = pa.array(["a", "b", "c"]).dictionary_encode()
    roles.check(spec, DAY, features(customer=coded), outcomes(customer=pa.array(["a", "b", "c"], pa.large_string())))


def test_repeated_keys_are_refused(spec):
    error = refusal(spec, features(customer=pa.array(["a", "a", "c"])), outcomes())
    assert isinstance(error, KeysRepeated)
    assert "features/churn: 1 key (customer) appears more than once, for example a" in str(error)


def test_an_outcome_may_come_again_if_it_became_known_at_another_moment(spec):
    twice = pa.array(["a", "a", "a"])
    moments = [DUE, DUE + dt.timedelta(hours=1), DUE + dt.timedelta(hours=2)]
    roles.check(spec, DAY, features(), outcomes(customer=twice, known_at=pa.array(moments, TIME)))
    again = pa.array([moments[0], moments[1], moments[0]], TIME)
    error = refusal(spec, features(), outcomes(customer=twice, known_at=again))
    assert isinstance(error, KeysRepeated)
    assert "outcomes/churn" in str(error)


def test_repeated_keys_are_found_across_batches_and_counted_once(spec):
    keys = ["a", "b", "b", "b", "c", "d", "d", "e", "e"]
    moments = [DUE + dt.timedelta(hours=hour) for hour in (0, 0, 1, 0, 0, 0, 1, 2, 2)]
    rows = {"customer": pa.array(keys), "known_at": pa.array(moments, TIME), "left": pa.array([True] * 9)}
    found = {}
    for size in range(1, 10):
        passing = roles.PassingRows(spec, "outcomes", pa.table(rows).schema)
        for batch in pa.table(rows).to_batches(max_chunksize=size):
            passing.see(batch)
        found[size] = [str(problem) for problem in passing.problems()]
    assert all(said == found[9] for said in found.values()), found
    assert "2 keys (customer) appear more than once with the same known_at, for example b; e." in found[9][0]


def test_look_ahead_is_refused_as_such_and_unknown_moments_with_it(spec):
    late = pa.array([DUE, DUE + dt.timedelta(seconds=1), None], TIME)
    error = refusal(spec, features(known_at=late), outcomes())
    assert isinstance(error, LookAhead)
    assert "2 rows contain values that were not known when predictions were due" in str(error)


def test_each_row_is_judged_by_the_cutoff_of_its_own_day(spec):
    """As in a training set, whose rows are of many days."""
    days = [DAY + dt.timedelta(days=number) for number in (1, 0, 2, 1)]
    known = [DUE + dt.timedelta(days=number) for number in (1, 1, 2, 2)]
    columns = {"customer": list("abcd"), "known_at": known, "ds": days}
    (error,) = roles.look_ahead(spec, pa.table(columns))
    assert "2 rows contain values that were not known" in str(error)
    assert "for example b known at" in str(error)
    assert "; d known at" in str(error)
    (error,) = roles.look_ahead(spec, pa.table(columns).take([3, 2, 1, 0]))
    assert "for example b known at" in str(error), "the first day's come first, as on a cluster"
    assert not list(roles.look_ahead(spec, pa.table(columns).take([0, 2])))
    assert not list(roles.look_ahead(spec, pa.table(columns).take(pa.array([], pa.int64()))))


def test_a_later_cutoff_lets_in_what_is_known_by_then(spec):
    late = pa.array([DUE, DUE + dt.timedelta(hours=6), None], TIME)
    morning = replace(spec, schedule=replace(spec.schedule, cutoff="06:00"))
    error = str(refusal(morning, features(known_at=late), outcomes()))
    assert "1 row contains values that were not known" in error
    assert f"known_at is at most 06:00 {morning.schedule.timezone} of ds" in error


def test_all_that_is_wrong_with_both_tables_is_told_at_once(spec):
    of_features = features(
        customer=pa.array(["a", "a", None]),
        age=pa.array([1.0, float("inf"), 2.0]),
        visits=pa.array(["x", "y", "z"]),
        known_at=pa.array([DUE + dt.timedelta(days=1)] * 3, TIME),
    )
    of_outcomes = outcomes(customer=pa.array([1, 2, 3]), left=pa.array([1, 2, 3]), known_at=DATES)
    error = refusal(spec, of_features, of_outcomes)
    assert isinstance(error, ContractBroken)
    for said in (
        "1 row without 'customer'",
        "1 key (customer) appears more than once",
        "feature 'age' is inf",
        "feature 'visits' is string",
        "3 rows contain values that were not known",
        "key 'customer' is string in churn_features and int64",
        "label 'left' is 2, 3 in 2 rows",
        "churn_outcomes: 'known_at' is date32[day]",
    ):
        assert said in str(error), said


def test_rows_of_an_earlier_release_are_judged_before_they_are_joined(spec):
    roles.check_joinable(spec, features(), outcomes())
    # Without a label, the moment decides nothing.
    roles.check_joinable(spec, features(), outcomes(known_at=pa.array([DUE, DUE, None], TIME)))
    wrong = outcomes(customer=pa.array([1, 2, None]), known_at=pa.array([DUE, None, None], TIME))
    with pytest.raises(ContractBroken) as raised:
        roles.check_joinable(spec, features(age=pa.array([float("inf"), 1.0, 2.0])), wrong)
    for said in (
        "features/churn: feature 'age' is inf in 1 row, for example customer a",
        "outcomes/churn: 1 row without 'customer'",
        "outcomes/churn: 1 row without 'known_at', for example customer 2",
        "key 'customer' is string",
    ):
        assert said in str(raised.value), said


def test_nan_is_missing_in_categories_too(spec):
    from tailrace.engines.encoding import categories_of, matrix
    from tailrace.engines.sklearn_models import frame
    from tailrace.monitoring import references

    numbers = pa.table({"plan": pa.array([1.0, float("nan"), None]), "age": pa.array([float("nan"), None, 2.0])})
    assert categories_of(numbers, ["plan"]) == {"plan": ["1"]}
    encoded = matrix(numbers, ["plan", "age"], {"plan": ["1"]})
    assert [[str(value) for value in row] for row in encoded] == [["0.0", "nan"], ["nan", "nan"], ["nan", "2.0"]]
    assert frame(numbers, {"plan": "categorical"})["plan"].tolist() == ["1", "", ""]
    for name, known in (("plan", ["1", None, None]), ("age", [None, None, 2.0])):
        assert references.comparable(spec, numbers, name).to_pylist() == known


def test_keys_are_compared_in_a_moment():
    """Neighbours are compared: grouping a million texts takes seconds."""
    keys = pa.array(range(1_000_000), pa.int64()).cast(pa.string())
    rows = pa.table({"customer": keys}).sort_by("customer")
    assert row_checks.repeated(["customer"], rows) == (0, [])
    twice = pa.concat_tables([rows, rows.slice(5, 1)]).sort_by("customer")
    assert row_checks.repeated(["customer"], twice) == (1, [{"customer": rows["customer"][5].as_py()}])


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        (
            pa.array([1.0, -0.5, 2.0]),
            "weight 'importance' is -0.5 in 1 row, for example customer b; a weight is a finite",
        ),
        (pa.array([1, None, None]), "weight 'importance' is null in 2 rows"),
        (pa.array([1.0, float("nan"), float("inf")]), "weight 'importance' is nan, inf in 2 rows"),
        (pa.array([-1.0, -1.0, None]), "weight 'importance' is -1.0, null in 3 rows"),
        (pa.array(["1", "2", "3"]), "weight 'importance' is string; a weight is a number"),
        (pa.array([True, True, True]), "weight 'importance' is bool; a weight is a number"),
    ],
)
def test_a_weight_is_a_number_of_0_or_more_in_every_row(spec, weights, said):
    weighing = replace(spec, features=replace(spec.features, weight="importance"))
    rows = features(importance=weights)
    for refuse in (
        lambda: roles.check(weighing, DAY, rows, outcomes()),
        lambda: roles.check_joinable(weighing, rows, outcomes()),
    ):
        with pytest.raises(ContractBroken) as raised:
            refuse()
        assert said in str(raised.value)
    roles.check(spec, DAY, rows, outcomes())
    roles.check(weighing, DAY, features(importance=pa.array([0, 1, 2])), outcomes())
    with pytest.raises(ContractBroken, match="column 'importance' is missing; the spec says it is the weight"):
        roles.check(weighing, DAY, features(), outcomes())


NUMBERS = st.floats(width=32) | st.sampled_from([math.inf, -math.inf, math.nan, 4e38, -4e38])


@given(st.lists(st.lists(NUMBERS | st.none(), max_size=4), max_size=3), st.sampled_from([pa.float64(), pa.float32()]))
@example([[math.nan, math.inf], [1.0]], pa.float64())
def test_numbers_that_no_model_accepts_are_marked_beside_missing_ones(chunks, kind):
    column = pa.chunked_array([pa.array(chunk, kind) for chunk in chunks], kind)
    right = [value is not None and abs(value) > role_values.LARGEST for value in column.to_pylist()]
    found = role_values.beyond(column)
    assert (found.to_pylist() if found is not None else [False] * len(right)) == right
