"""Which tables and columns an edit of a dbt project touches, across models."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tailrace.impact import usage
from tailrace.impact.column_changes import TableChange, changed_tests, compare
from tailrace.impact.dbt_sides import DbtNode, PlainSide

SQL = {
    "stg_orders": "select id, customer, amount, placed_at, note from db.landing.orders",
    "stg_customers": "select * from db.landing.customers",
    "int_spent": "select customer, sum(amount) as spent, max(placed_at) as last_at from db.main.stg_orders group by 1",
    "int_noted": "select id, note from db.main.stg_orders where note is not null",
    "churn_features": """
        with spent as (select * from db.main.int_spent)
        select c.id as customer, c.plan, spent.spent, spent.last_at, c.seen_at as known_at, c.day as ds
        from db.main.stg_customers as c left join spent on c.id = spent.customer
    """,
    "churn_outcomes": "select id as customer, left_at is not null as left, day as ds from db.main.stg_customers",
}
NEEDS = {
    "stg_orders": ("source.t.landing.orders",),
    "stg_customers": ("source.t.landing.customers",),
    "int_spent": ("model.t.stg_orders",),
    "int_noted": ("model.t.stg_orders",),
    "churn_features": ("model.t.stg_customers", "model.t.int_spent"),
    "churn_outcomes": ("model.t.stg_customers",),
}


def node(name: str, kind: str = "model", **fields: Any) -> DbtNode:
    given: dict[str, Any] = {
        "id": f"source.t.landing.{name}" if kind == "source" else f"{kind}.t.{name}",
        "kind": kind,
        "name": name,
        "package": "t",
        "language": "sql",
        "relation": f"db.{'landing' if kind == 'source' else 'main'}.{name}",
        "file": f"models/{name}.sql",
        "raw": "",
        "config": {"materialized": "table"},
        "types": {},
        "contract": False,
        "needs": NEEDS.get(name, ()),
        "meta": {},
        "owner": "",
        "source": f"landing.{name}" if kind == "source" else "",
    }
    return DbtNode(**{**given, **fields})


def side(sql: dict[str, Any] | None = None, fields: dict[str, dict[str, Any]] | None = None, **more: Any) -> PlainSide:
    texts = {**SQL, **(sql or {})}
    nodes = [node(name, raw=str(text), **(fields or {}).get(name, {})) for name, text in texts.items() if text]
    nodes += [node(name, "source") for name in ("orders", "customers")]
    rendered = {f"model.t.{name}": text if isinstance(text, list) else [text] for name, text in texts.items() if text}
    return PlainSide(nodes, rendered | more.pop("rendered", {}), **more)


def changes(head: PlainSide, landed: dict[str, str] | None = None) -> dict[str, TableChange]:
    return {change.node.name: change for change in compare(side(), head, landed).values()}


def test_nothing_changed_touches_nothing():
    assert changes(side()) == {}


def test_a_used_column_reaches_exactly_those_that_are_made_of_it():
    found = changes(side({"stg_orders": SQL["stg_orders"].replace("amount", "amount * 100 as amount")}))
    assert {name: dict(each.columns) for name, each in found.items()} == {
        "stg_orders": {"amount": "changed"},
        "int_spent": {"spent": "changed"},
        "churn_features": {"spent": "changed"},
    }
    assert [each.edit for each in found.values()] == ["changed", "", ""]
    assert not any(each.all_columns for each in found.values())


def test_an_unused_column_that_is_renamed_touches_no_mart():
    found = changes(side({"int_noted": "select id, note as remark from db.main.stg_orders where note is not null"}))
    assert {name: dict(each.columns) for name, each in found.items()} == {
        "int_noted": {"remark": "added", "note": "removed"}
    }


def test_a_filter_touches_every_column_downstream(spec):
    head = side({"stg_orders": SQL["stg_orders"] + " where amount > 0"})
    found = changes(head)
    assert {name for name, each in found.items() if each.all_columns} == {
        "stg_orders", "int_spent", "int_noted", "churn_features",
    }  # fmt: skip
    touched = usage.touched(spec, head, side(), compare(side(), head))
    assert {(each.mart, each.column, each.how) for each in touched} == {("churn_features", "*", "rows")}
    assert touched[0].path == ("stg_orders (rows)", "int_spent (rows)", "churn_features (rows)")


def test_comments_and_layout_are_silent():
    found = changes(side({"int_spent": SQL["int_spent"].replace("select", "SELECT -- so far\n ")}))
    assert [(name, each.edit, each.touched) for name, each in found.items()] == [("int_spent", "layout", False)]


def test_an_equivalent_rewrite_is_seen_and_touches_nothing_downstream():
    text = "with o as (select * from db.main.stg_orders) select o.customer, sum(o.amount) as spent, "
    found = changes(side({"int_spent": f"{text} max(o.placed_at) as last_at from o group by o.customer"}))
    assert [(name, each.edit, each.touched) for name, each in found.items()] == [("int_spent", "rewritten", False)]


def test_a_model_of_python_touches_everything_downstream():
    python = {"int_spent": {"language": "python"}}
    before = side({"int_spent": "def model(dbt, session): return dbt.ref('stg_orders')"}, python)
    after = side({"int_spent": "def model(dbt, session): return dbt.ref('stg_orders').head()"}, python)
    commented = side({"int_spent": "def model(dbt, session):  # all\n    return dbt.ref('stg_orders')"}, python)
    found = {each.node.name: each for each in compare(before, after).values()}
    assert {name for name, each in found.items() if each.all_columns} == {"int_spent", "churn_features"}
    assert "Python model" in found["int_spent"].why
    assert not any(each.touched for each in compare(before, commented).values())


def test_what_reads_a_changed_column_and_cannot_be_resolved_counts_as_changed():
    strange = {"int_noted": "with recursive r as (select note from db.main.stg_orders union all select note from r) select note from r"}  # fmt: skip  # noqa: E501
    head = side({**strange, "stg_orders": SQL["stg_orders"].replace("amount", "amount + 1 as amount")})
    found = {each.node.name: each for each in compare(side(strange), head).values()}
    assert found["int_noted"].all_columns and "recursive CTE" in found["int_noted"].why


def test_a_template_that_asks_the_database_is_compared_as_it_is_written():
    asks = {"rendered": {"model.t.int_spent": "its template asks the database (adapter.execute)"}}
    assert compare(side(**asks), side(**asks)) == {}
    found = compare(side(**asks), side({"int_spent": SQL["int_spent"] + " "}, **asks))
    assert {each.node.name for each in found.values() if each.all_columns} == {"int_spent", "churn_features"}
    assert "asks the database" in next(iter(found.values())).why


def test_an_edit_of_later_builds_only_counts():
    first = SQL["int_spent"]
    before = side({"int_spent": [first, first.replace("group", "where amount > 1 group")]})
    after = side({"int_spent": [first, first.replace("group", "where amount > 2 group")]})
    assert {each.node.name for each in compare(before, after).values() if each.all_columns} == {
        "int_spent", "churn_features",
    }  # fmt: skip


FIRST = "select id, note from db.main.stg_orders"


def test_a_model_that_reads_itself_is_resolved():
    reads = {"int_noted": [FIRST, f"{FIRST} where id > (select max(id) from db.main.int_noted)"]}  # noqa: S608
    amount = {"stg_orders": SQL["stg_orders"].replace("amount", "amount + 1 as amount")}
    found = {each.node.name for each in compare(side(reads), side({**reads, **amount})).values()}
    assert "int_noted" not in found and "stg_orders" in found
    note = {"stg_orders": SQL["stg_orders"].replace("note", "upper(note) as note")}
    change = compare(side(reads), side({**reads, **note}))["model.t.int_noted"]
    assert dict(change.columns) == {"note": "changed"} and not change.all_columns


def test_what_a_model_reads_of_its_own_changed_column_changes_too():
    own = "select o.id, o.note, t.note as former from db.main.stg_orders o left join db.main.int_noted t on o.id = t.id"
    reads = {"int_noted": ["select id, note, null as former from db.main.stg_orders", own]}
    note = {"stg_orders": SQL["stg_orders"].replace("note", "upper(note) as note")}
    change = compare(side(reads), side({**reads, **note}))["model.t.int_noted"]
    assert dict(change.columns) == {"note": "changed", "former": "changed"}


def test_how_dbt_builds_a_model_counts():
    for config in ({"materialized": "view"}, {"pre-hook": [{"sql": "set x = 1"}]}):
        found = changes(side(fields={"int_noted": {"config": {"materialized": "table", **config}}}))
        assert [name for name, each in found.items() if each.all_columns] == ["int_noted"]


def test_a_contracts_type_casts_a_column():
    typed = {
        "int_spent": {"contract": True, "types": {"customer": "text", "spent": "float8", "last_at": "timestamptz"}}
    }
    other = {"int_spent": {**typed["int_spent"], "types": {**typed["int_spent"]["types"], "spent": "integer"}}}
    found = {each.node.name: dict(each.columns) for each in compare(side(fields=typed), side(fields=other)).values()}
    assert found == {"int_spent": {"spent": "changed"}, "churn_features": {"spent": "changed"}}


def test_a_macro_that_replaces_dbts_own_counts_and_another_does_not():
    before, after = ({"t.ours": f"select {number}"} for number in (1, 2))
    assert compare(side(macros=before), side(macros=after)) == {}
    strategy = {"int_noted": {"config": {"materialized": "incremental", "incremental_strategy": "days"}}}
    before, after = ({"t.get_incremental_days_sql": f"delete {number}"} for number in (1, 2))
    found = compare(side(fields=strategy, macros=before), side(fields=strategy, macros=after))
    assert [each.node.name for each in found.values() if each.all_columns] == ["int_noted"]


def test_a_deleted_and_a_new_model():
    found = changes(side({"int_noted": None, "int_new": "select 1 as one"}))
    assert {name: each.edit for name, each in found.items()} == {"int_noted": "deleted", "int_new": "added"}


def test_code_that_lands_a_table_touches_what_reads_it():
    same = side()
    found = {each.node.name: each for each in compare(same, same, {"orders": "shop.py changed"}).values()}
    assert {name for name, each in found.items() if each.all_columns} == {
        "orders", "stg_orders", "int_spent", "int_noted", "churn_features",
    }  # fmt: skip


def test_a_landed_table_may_be_read_as_files():
    files = side({"stg_orders": SQL["stg_orders"].replace("db.landing.orders", "read_parquet('landing/orders/*')")})
    found = [each.node.name for each in compare(files, files, {"orders": "shop.py changed"}).values()]
    assert sorted(found) == ["churn_features", "int_noted", "int_spent", "orders", "stg_orders"]
    assert compare(files, files) == {}


def test_a_source_that_is_another_table_touches_what_reads_it():
    nodes = [*side().nodes.values()]
    other = [replace(each, meta={"external_location": "s3://x"}) if each.name == "orders" else each for each in nodes]
    found = [each.node.name for each in compare(side(), PlainSide(other, side()._known["sql"])).values()]
    assert sorted(found) == ["churn_features", "int_noted", "int_spent", "orders", "stg_orders"]


def test_a_seeds_value_touches_its_column(tmp_path):
    for number in (1, 2):
        (tmp_path / str(number) / "seeds").mkdir(parents=True)
        (tmp_path / str(number) / "seeds" / "plans.csv").write_text(f"plan,price\nfree,{number}\n")
    plans = node("plans", "seed", file="seeds/plans.csv", config={"materialized": "seed", "delimiter": ","})
    sql = {"churn_outcomes": "select plan, price from db.main.plans"}
    reads = {"churn_outcomes": {"needs": ("seed.t.plans",)}}

    def with_seed(number: int) -> PlainSide:
        plain = side(sql, reads)
        nodes = [*plain.nodes.values(), plans]
        return PlainSide(nodes, plain._known["sql"], folder=tmp_path / str(number))

    found = {each.node.name: dict(each.columns) for each in compare(with_seed(1), with_seed(2)).values()}
    assert found == {"plans": {"price": "changed"}, "churn_outcomes": {"price": "changed"}}


def test_only_the_columns_that_a_spec_names_count(spec):
    features = replace(spec.features, columns={"plan": "categorical", "spent": "numeric"}, event_time="last_at")
    spec = replace(spec, features=features)
    amount = side({"stg_orders": SQL["stg_orders"].replace("amount", "amount * 100 as amount")})
    found = usage.touched(spec, amount, side(), compare(side(), amount))
    assert [(each.column, each.role) for each in found] == [("spent", "feature")]
    assert found[0].path == ("stg_orders.amount", "int_spent.spent", "churn_features.spent")
    moment = side({"stg_orders": SQL["stg_orders"].replace("placed_at", "placed_at + interval 1 day as placed_at")})
    found = usage.touched(spec, moment, side(), compare(side(), moment))
    assert [(each.column, each.role) for each in found] == [("last_at", "event_time")]


def test_another_alias_or_schema_is_another_table():
    moved = {"churn_features": {"relation": "db.main.churn_features_2"}}
    (found,) = changes(side(fields=moved)).values()
    assert (found.node.name, found.edit, found.all_columns) == ("churn_features", "changed", True)
    assert "its table's name" in found.why


def test_a_data_test_is_its_arguments_and_the_macros_behind_it():
    within = "{% test within(column_name) %} select * where {{ column_name }} < 0 or {{ beyond() }} {% endtest %}"
    macros = {"t.test_within": within, "t.beyond": "1 > 2", "t.test_other": "{% test other() %} {% endtest %}"}

    def tested(raw: str = "{{ test_within(greatest=23) }}", **changed: str) -> PlainSide:
        nodes = [node("within_hour", "test", raw=raw, judges="model.t.churn_features")]
        return PlainSide(nodes, macros={**macros, **{f"t.{name}": text for name, text in changed.items()}})

    id_ = "test.t.within_hour"
    assert (
        changed_tests(tested(), tested())
        == changed_tests(tested(), tested(test_other="{% test other() %} 1 {% endtest %}"))
        == {}
    )
    assert changed_tests(tested(), tested("{{ test_within(greatest=12) }}")) == {id_: "changed"}
    assert changed_tests(tested(), tested(test_within="select * where false")) == {id_: "changed"}
    assert changed_tests(tested(), tested(beyond="1 > 3")) == {id_: "changed"}
    assert changed_tests(PlainSide(), tested()) == {id_: "is new"}
    assert changed_tests(tested(), PlainSide()) == {id_: "is gone"}
