"""A table as a pipeline: what its rows say, and the files that are written from it."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace
from decimal import Decimal
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from tailrace.errors import BadInput
from tailrace.problems.binary import Binary
from tailrace.problems.multiclass import Multiclass
from tailrace.problems.regression import Regression
from tailrace.scaffold import files, tables
from tailrace.scaffold.files import Destination
from tailrace.scaffold.proposal import of_tables
from tailrace.scaffold.requests import NewPipeline
from tailrace.settings import Project
from tailrace.spec import content_of, problems_of, registry
from tailrace.validation import suites
from tailrace.warehouse.adapter_types import Column
from tests.dirty_table import dirty_table
from tests.sampled_tables import sampled

FIRST = dt.date(2026, 1, 5)
REQUEST = NewPipeline(
    name="returns", table="ml.orders", key=("order_id",), time="ordered_at", label="returned", owner="shop"
)


def orders(rows=600, days=30, *, seed=1, hour=9, label=None):
    random = np.random.default_rng(seed)
    day = np.sort(random.integers(0, days, rows))
    dates = [FIRST + dt.timedelta(days=int(each)) for each in day]
    price = random.lognormal(2, 1, rows)
    return pa.table(
        {
            "order_id": [f"o{number}" for number in range(rows)],
            "order_day": pa.array(dates, pa.date32()),
            "ordered_at": pa.array([dt.datetime.combine(each, dt.time(hour), dt.UTC) for each in dates]),
            "price": price,
            "shop": random.choice(["a", "b"], rows).tolist(),
            "returned": pa.array(price + random.normal(0, 3, rows) > 8) if label is None else label,
        }
    )


def proposed(rows=None, outcomes=None, **options):
    rows = orders() if rows is None else rows
    request = replace(REQUEST, **options)
    features = sampled(rows, options.get("day") or "order_day", request.table)
    others = features if outcomes is None else sampled(outcomes, request.outcome_day, request.outcomes_table)
    return of_tables(request, tables.of_samples(request, features, others))


def with_column(rows, name, values):
    if name in rows.column_names:
        return rows.set_column(rows.column_names.index(name), name, pa.array(values))
    return rows.append_column(name, pa.array(values))


def moments(rows, **later):
    return pa.array(
        [each + dt.timedelta(**later) for each in rows["ordered_at"].to_pylist()], pa.timestamp("us", "UTC")
    )


def test_a_spec_without_problems():
    made = proposed()
    assert problems_of(made.spec) == []
    assert made.spec.features.columns == {"price": "numeric", "shop": "categorical"}
    assert made.spec.mart("features").table == made.spec.mart("outcomes").table == "ml.orders"
    assert (made.spec.features.day, made.spec.features.known_at) == ("order_day", None)
    assert (made.spec.outcome.days_back, made.spec.outcome.lag_days) == (1, 1)
    assert (made.spec.window.days, made.spec.window.holdout_days) == (28, 7)
    assert (made.spec.gate.metric, made.spec.gate.beat) == ("roc_auc", "prior")
    assert [each.name for each in made.spec.candidates] == ["baseline", "logistic", "boosted_trees"]


@pytest.mark.parametrize(
    ("label", "problem", "gate"),
    [
        (pa.array([0, 1] * 300, pa.int8()), Binary(), ("roc_auc", "prior")),
        (["x", "y", "z"] * 200, Multiclass(classes=("x", "y", "z")), ("log_loss", "prior")),
        (np.random.default_rng(2).normal(size=600), Regression(), ("rmse", "mean")),
        (np.random.default_rng(2).poisson(0.3, 600), Regression(link="log"), ("rmse", "mean")),
    ],
)
def test_every_kind_of_question(label, problem, gate):
    spec = proposed(orders(label=label)).spec
    assert spec.problem == problem
    assert (spec.gate.metric, spec.gate.beat) == gate
    assert problems_of(spec) == []


def test_a_key_that_repeats_from_day_to_day_gets_the_day():
    rows = with_column(orders(30, 30), "order_id", ["a", "b", "c"] * 10)
    rows = pa.concat_tables([rows] * 3)
    rows = with_column(rows, "order_day", [FIRST + dt.timedelta(days=number // 3) for number in range(90)])
    made = proposed(rows)
    assert made.spec.features.key == ("order_id", "order_day")
    assert any("repeats from day to day" in note for note in made.notes)


def test_a_key_that_repeats_on_a_day_is_refused():
    with pytest.raises(BadInput, match=r"279 keys \(order_id\) appear more than once on a day"):
        proposed(with_column(orders(), "order_id", [number // 2 for number in range(600)]))


def test_rows_that_are_known_later_are_used_later():
    rows = orders()
    made = proposed(with_column(rows, "known_at", moments(rows, hours=5)))
    assert (made.spec.features.known_at, made.spec.features.days_back) == ("known_at", 1)
    assert (made.spec.outcome.lag_days, made.spec.outcome.days_back) == (1, 2)
    with pytest.raises(BadInput, match="some more than 7 days"):
        proposed(with_column(rows, "known_at", moments(rows, days=30)))


def test_the_last_outcome_of_a_key_counts_whatever_its_type():
    """Arrow has no "last" of decimals."""
    rows = orders(300)
    amounts = pa.array([Decimal(number) / 100 for number in range(300)], pa.decimal128(10, 2))
    outcomes = rows.select(["order_id", "order_day"]).append_column("paid", amounts)
    late = outcomes.slice(0, 1).set_column(2, "paid", pa.array([Decimal("9.99")], pa.decimal128(10, 2)))
    features = rows.drop_columns("returned")
    request = replace(REQUEST, label="paid", outcomes_table="ml.paid", outcome_day="order_day")
    samples = [sampled(each, "order_day", "ml.paid") for each in (features, pa.concat_tables([outcomes, late]))]
    labelled = tables.of_samples(request, *samples).labelled
    assert labelled["paid"].to_pylist() == [Decimal("9.99"), *amounts.to_pylist()[1:]]


def test_a_table_of_outcomes_says_the_lag():
    rows = orders()
    features = rows.drop_columns("returned")
    late = [day + dt.timedelta(days=3) for day in rows["order_day"].to_pylist()]
    outcomes = pa.table({"order_id": rows["order_id"], "known_on": late, "returned": rows["returned"]})
    made = proposed(features, outcomes, outcomes_table="ml.returns", outcome_day="known_on")
    assert (made.spec.outcome.table, made.spec.outcome.day) == ("ml.returns", "known_on")
    assert (made.spec.outcome.lag_days, made.spec.outcome.days_back) == (3, 0)

    of_day = outcomes.set_column(1, "known_on", rows["order_day"]).append_column("came", moments(rows, days=4))
    made = proposed(features, of_day, outcomes_table="ml.returns", outcome_day="known_on", outcome_known_at="came")
    assert (made.spec.outcome.lag_days, made.spec.outcome.days_back) == (5, 5)


def test_labels_that_are_missing_on_the_newest_days_say_the_lag():
    rows = orders()
    newest = max(rows["order_day"].to_pylist()) - dt.timedelta(days=4)
    known = [
        value if day <= newest else None
        for value, day in zip(*(rows[n].to_pylist() for n in ("returned", "order_day")), strict=True)
    ]
    assert proposed(with_column(rows, "returned", known)).spec.outcome.lag_days == 4


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (orders(days=2), "at least 3 are needed"),
        (orders(20), "fewer than 40 teach nothing"),
        (orders().select(["order_id", "order_day", "ordered_at", "returned"]), "has no column that can be a feature"),
        (
            with_column(orders(), "ordered_at", pa.nulls(600, pa.timestamp("us", "UTC"))),
            "ordered_at is missing in every row",
        ),
    ],
    ids=["days", "rows", "features", "times"],
)
def test_what_cannot_become_a_pipeline_is_refused(rows, said):
    with pytest.raises(BadInput, match=said):
        proposed(rows)


def test_a_leak_is_left_out_unless_a_person_wants_it():
    rows = with_column(
        orders(), "tell", orders()["returned"].to_numpy() * 9 + np.random.default_rng(1).normal(size=600)
    )
    made = proposed(rows)
    assert "tell" not in made.spec.features.columns
    assert "it looks like a leak" in made.left_out["tell"]
    kept = proposed(rows, include=("tell",))
    assert "tell" in kept.spec.features.columns
    assert [leak.column for leak in kept.leaks] == ["tell"]


def test_published_columns_avoid_the_tables_own():
    rows = orders().rename_columns(["score", *orders().column_names[1:]])
    spec = proposed(rows, key=("score",)).spec
    assert spec.predictions.score == "score_2"
    assert problems_of(spec) == []


def test_the_written_spec_is_the_proposed_one(tmp_path):
    made = proposed(description='Which orders come back: "soon"?\\')
    text = files.spec_file(made)
    assert all(len(line) <= 120 for line in text.splitlines())
    (tmp_path / "returns.py").write_text(text)
    read = registry.get("returns", tmp_path, estimators=True)
    assert read.description.startswith("Which orders come back: 'soon'?\\")
    assert content_of(replace(read, description="")) == content_of(replace(made.spec, description=""))


def test_suites_hold_for_the_rows_that_they_are_made_of(tmp_path):
    made = proposed()
    for part, text in files.suite_files(made).items():
        (tmp_path / "returns").mkdir(exist_ok=True)
        (tmp_path / "returns" / f"{part}.json").write_text(text)
        assert suites.read(tmp_path, f"returns/{part}", lambda type_, kwargs: ()).expectations
    found = {
        (each["type"], each["kwargs"].get("column")): each
        for each in json.loads(files.suite_files(made)["features"])["expectations"]
    }
    assert found["expect_column_values_to_be_in_set", "shop"]["kwargs"]["value_set"] == ["a", "b"]
    assert found["expect_column_values_to_be_unique", "order_id"]["severity"] == "critical"
    assert found["expect_column_values_to_not_be_null", "price"]["severity"] == "warning"


def test_a_dag_file_is_written_where_each_pipeline_has_one(tmp_path):
    project = Project(tmp_path)
    assert "dags/returns.py" not in files.files(proposed(), Destination(project=project))
    project.dags.mkdir()
    (project.dags / "other.py").write_text("pipeline_dags")
    assert "dags/returns.py" in files.files(proposed(), Destination(project=project))
    (project.dags / "all.py").write_text("import tailrace.airflow")
    assert "dags/returns.py" not in files.files(proposed(), Destination(project=project))


def test_a_column_that_cannot_be_read_stops_a_pipeline_that_takes_the_whole_table():
    rows = with_column(orders(), "tags", pa.array([["new"]] * 600))
    with pytest.raises(BadInput, match=r"ml\.orders: column 'tags' cannot be read: .* make a mart without it"):
        proposed(rows)
    assert proposed(rows, marts=True).left_out["tags"].startswith("it cannot be read: ")


def test_a_column_that_sorts_no_rows_is_refused_as_a_key():
    columns = {"order_id": "", "number": "a key must be exact", "order_day": ""}
    kinds = [Column(name, "numeric", pa.float64(), key_problem=problem) for name, problem in columns.items()]
    reader = SimpleNamespace(columns=lambda table: kinds)
    request = replace(REQUEST, key=("order_id", "number"), time="order_day", label="number")
    with pytest.raises(BadInput) as raised:
        tables.read(request, reader, today=FIRST, rows=100)
    said = "--key: column 'number' of ml.orders has the type numeric: a key must be exact."
    assert said in raised.value.problems
    assert sum("number" in each for each in raised.value.problems) == 1


def test_marts_leave_out_rows_without_a_day():
    request = replace(REQUEST, marts=True)
    features = replace(sampled(orders(), "order_day"), dayless=1)
    made = of_tables(request, tables.of_samples(request, features, features))
    assert made.never_missing(features) == ("order_day",)
    assert "ml.orders: 1 rows are left out: their order_day is missing, or before 1900." in made.warnings


def test_a_dirty_table_becomes_a_pipeline():
    made = proposed(dirty_table(1_500, 30), day="order_day")
    assert problems_of(made.spec) == []
    assert made.spec.features.of_kind("text") == ("note",)
    assert {"price", "select", "Mixed Case", "with nan", "zip_code"} <= set(made.spec.features.columns)
    left_out = {"infinite", "constant", "always_null", "price_copy", "customer_uuid", "big", "was_sent_back", "payload"}
    assert left_out <= set(made.left_out)
    assert {leak.column for leak in made.leaks} == {"refund_amount", "handled_at", "nearly", "shipped_on"}


@pytest.mark.parametrize("column", ["note", "handled_at", "constant", "payload", "big", "emoji", "always_null"])
def test_no_column_of_a_dirty_table_makes_a_traceback(column):
    rows = dirty_table(200, 20)
    for options in ({"label": column}, {"key": (column,)}):
        try:
            made = proposed(rows, **options)
        except BadInput as error:
            assert "ml.orders" in str(error) or f"label {column!r}" in str(error) or "  - " in str(error)
        else:
            assert problems_of(made.spec, estimators=False) == []


def test_a_date_as_the_time_is_said_to_be_its_first_moment():
    made = proposed(time="order_day", day="order_day", zone="Europe/Berlin")
    said = "order_day is a date, so the time of a row is the first moment of that day in Europe/Berlin."
    assert said in made.notes
    assert f"# {said}" in files.spec_file(made)
    assert made.spec.features.event_time == made.spec.features.day == "order_day"

    with pytest.raises(BadInput, match=r"--time 'order_day' is a part of the key, .* as order_day_begins, and name"):
        proposed(time="order_day", key=("order_id", "order_day"))


def test_a_label_that_is_missing_is_not_also_called_a_key_or_the_time():
    nothing = NewPipeline(name="churn", table="", key=(), time="", label="")
    assert [said for said in nothing.problems(()) if "--label" in said] == ["--label is missing."]
    same = replace(nothing, key=("customer",), label="customer")
    assert "--label is 'customer', which is also a key or the time." in list(same.problems(()))
