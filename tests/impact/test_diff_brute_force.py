"""Mutated SQL through `tailrace diff`, against building and scoring both sides by hand: not one false silence.

By hand means: plain SQL in DuckDB, without dbt, copies, impact or selection; then the champion's model on those rows.
"""

# ruff: noqa: S608 - the SQL is the project's own

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tailrace import days
from tailrace.errors import TailraceError
from tailrace.impact import diffing
from tailrace.impact.predicting import Scorer
from tailrace.spec import registry
from tests.impact import small_project
from tests.impact.small_project import FILES, LAST, Shop

pytestmark = pytest.mark.services

STAGED, SHOPS, MART, LABELS = ("stg_visits", "int_shops", "churn_features", "churn_outcomes")
SQL = {
    STAGED: "select ds, customer, event_time, left_at, plan, age, visits, gone, cast(right(customer, 3) as integer) % 6"
    " as shop from {{ source('crm', 'visits') }} where visits < 40",
    "stg_prices": "select plan, price from {{ source('crm', 'prices') }}",
    SHOPS: """{{ config(materialized='table') }}
with shops as (select distinct shop, ds from {{ ref('stg_visits') }})
select shops.shop, shops.ds, sum(before.visits) as recent, count(*) as guests
from shops
inner join {{ ref('stg_visits') }} as before
    on before.shop = shops.shop and before.ds between shops.ds - 3 and shops.ds - 1
group by shops.shop, shops.ds""",
    MART: """{{ config(materialized='table') }}
with visits as (select * from {{ ref('stg_visits') }}),
prices as (select * from {{ ref('stg_prices') }})
select
    visits.ds, visits.customer, visits.event_time, visits.event_time as known_at,
    visits.plan,
    coalesce(visits.age, 40) as age,
    cast(visits.visits as double) as visits,
    coalesce(prices.price, 0) as price,
    coalesce(shops.recent, 0) as recent,
    visits.shop as remark
from visits
left join prices on visits.plan = prices.plan
left join {{ ref('int_shops') }} as shops on visits.shop = shops.shop and visits.ds = shops.ds
where visits.visits > 0""",
    LABELS: "select cast(ds + 1 as date) as ds, customer, left_at as known_at, gone as left "
    "from {{ ref('stg_visits') }} where visits > 0",
}
PRICES = pa.table({"plan": ["free", "plus", "basic"], "price": [0.0, 9.5, 3.0]})
SOURCES = "sources: [{name: crm, schema: raw, tables: [{name: visits}, {name: prices}]}]"
OWN_FILES = {
    **{name: text for name, text in FILES.items() if not name.endswith(".sql")},
    **{f"dbt/models/{name}.sql": text for name, text in SQL.items()},
    "dbt/models/sources.yml": SOURCES,
    "pipelines/churn.py": FILES["pipelines/churn.py"].replace(
        '"visits": "numeric"}', '"visits": "numeric", "price": "numeric", "recent": "numeric"}'
    ),
}


@dataclass(frozen=True)
class Mutation:
    """An edit: what is replaced in which model; `same` if it changes nothing that the pipeline uses."""

    kind: str
    model: str
    old: str
    new: str
    same: bool = False

    def __str__(self) -> str:
        return f"{self.kind}: {self.new.strip()[:40]}"


def mutations() -> Iterator[Mutation]:
    """Edits whose effect is known, made from the parts of the SQL."""
    parts = {"age": "coalesce(visits.age, 40)", "visits": "cast(visits.visits as double)",
             "price": "coalesce(prices.price, 0)", "recent": "coalesce(shops.recent, 0)"}  # fmt: skip
    for name, expression in parts.items():
        yield Mutation("unit", MART, f"{expression} as {name}", f"{expression} * 1.609 as {name}")
    for name, value in (("age", 40), ("visits", 5)):
        yield Mutation("in a null", MART, f"{parts[name]} as", f"nullif({parts[name]}, {value}) as")
        yield Mutation("twice negated", MART, f"{parts[name]} as", f"-(-{parts[name]}) as", same=True)
    renamed = re.sub(r"\bprices\b(?! \}|')", "of_prices", SQL[MART])
    yield Mutation("renamed CTE", MART, SQL[MART], renamed, same=True)
    yield Mutation("coalesce left out", MART, "coalesce(visits.age, 40)", "visits.age")
    yield Mutation("coalesce to another", MART, "coalesce(prices.price, 0)", "coalesce(prices.price, 5)")
    yield Mutation("cast", MART, "cast(visits.visits as double)", "cast(visits.visits as varchar)")
    yield Mutation("narrower cast", MART, "coalesce(visits.age, 40)", "cast(coalesce(visits.age, 40) as integer)")
    yield Mutation("filter in the mart", MART, "visits.visits > 0", "visits.visits > 1")
    yield Mutation("filter upstream", STAGED, "visits < 40", "visits < 9")
    yield Mutation("filter that always holds", MART, "visits.visits > 0", "visits.visits > 0 and 1 = 1", same=True)
    yield Mutation("filter that no row meets", STAGED, "visits < 40", "visits < 41", same=True)
    yield Mutation("join type", MART, "left join prices", "inner join prices")
    yield Mutation(
        "join key", MART, "visits.plan = prices.plan", "visits.plan = lower(prices.plan) and visits.shop > 2"
    )
    yield Mutation("a day off by one", SHOPS, "shops.ds - 1", "shops.ds - 2")
    yield Mutation("a day that looks ahead", SHOPS, "shops.ds - 1", "shops.ds")
    yield Mutation("window longer", SHOPS, "shops.ds - 3", "shops.ds - 4")
    yield Mutation("aggregate", SHOPS, "sum(before.visits)", "max(before.visits)")
    yield Mutation("equivalent between", SHOPS, "before.ds between shops.ds - 3 and shops.ds - 1",
                   "before.ds >= shops.ds - 3 and before.ds <= shops.ds - 1", same=True)  # fmt: skip
    yield Mutation("group by number", SHOPS, "group by shops.shop, shops.ds", "group by 1, 2", same=True)
    yield Mutation("distinct as a group", SHOPS, "select distinct shop, ds from {{ ref('stg_visits') }}",
                   "select shop, ds from {{ ref('stg_visits') }} group by shop, ds", same=True)  # fmt: skip
    yield Mutation(
        "columns reordered", MART, "    visits.shop as remark\n", "    visits.shop as remark, 1 as one\n", True
    )
    yield Mutation("order of columns", STAGED, "plan, age, visits", "visits, age, plan", same=True)
    yield Mutation("rows reordered", MART, "visits.visits > 0", "visits.visits > 0 order by visits.age", same=True)
    yield Mutation("comment", MART, "select\n", "select -- what a night reads\n", same=True)
    yield Mutation("formatting", MART, "\n", "\n\n  ", same=True)
    yield Mutation("keywords in capitals", MART, "left join", "LEFT JOIN", same=True)
    yield Mutation("CTE extracted", MART, "left join {{ ref('int_shops') }} as shops",
                   "left join (select * from {{ ref('int_shops') }}) as shops", same=True)  # fmt: skip
    yield Mutation("unused column renamed", MART, "as remark", "as note", same=True)
    yield Mutation("unused column changed", MART, "visits.shop as remark", "visits.shop + 1 as remark", same=True)
    yield Mutation("columns swapped", MART, "as price,", "as recent_,\n    0.0 as price,")
    yield Mutation("label", LABELS, "gone as left", "gone or visits > 8 as left")
    yield Mutation("label's rows", LABELS, "where visits > 0", "where visits > 2")
    yield Mutation("label equivalent", LABELS, "gone as left", "not (not gone) as left", same=True)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with pytest.MonkeyPatch.context() as patch:
        raw = {"visits": small_project.landed(), "prices": PRICES}
        yield small_project.made(tmp_path_factory.mktemp("shop"), patch, OWN_FILES, raw)


class ByHand:
    """Builds the models with plain SQL and scores them with the champion."""

    def __init__(self, shop: Shop) -> None:
        self.spec, self.scorer = registry.get("churn"), Scorer(shop.services, "churn")
        self.raw = {"visits": small_project.landed(), "prices": PRICES}

    def rows(self, models: Mapping[str, str]) -> dict[str, dict[Any, dict[str, Any]]]:
        """The mart's rows of the last three days, and their predictions, by key."""
        spec = self.spec
        with duckdb.connect(config={"threads": 1}) as connection:
            connection.execute("set TimeZone = 'UTC'")
            for name, rows in self.raw.items():
                connection.register(f"crm_{name}", rows)
            for name, text in models.items():
                connection.execute(f"create table {name} as {_plain(text)}")
            features, labels = [
                connection.sql(
                    f"select * from {table} where ds between ? and ? order by customer",
                    params=[LAST - dt.timedelta(days=2), LAST],
                ).to_arrow_table()
                for table in (MART, LABELS)
            ]
        predictions = [
            self.scorer.scored(spec, "1", features.filter(pc.equal(features["ds"], pa.scalar(day))))
            for day in days.span(LAST - dt.timedelta(days=2), LAST)
        ]
        return {
            "features": _by_key(features.select(["customer", *spec.features.columns])),
            "outcomes": _by_key(labels.select(["customer", "left"])),
            "predictions": _by_key(pa.concat_tables(predictions).select(["customer", "score", "decision"])),
        }


def _plain(text: str) -> str:
    text = re.sub(r"\{\{ config\(.*?\) \}\}", "", text)
    text = re.sub(r"\{\{ source\('(\w+)', '(\w+)'\) \}\}", r"\1_\2", text)
    return re.sub(r"\{\{ ref\('(\w+)'\) \}\}", r"\1", text)


def _by_key(rows: pa.Table) -> dict[Any, dict[str, Any]]:
    found = {row["customer"]: row for row in rows.to_pylist()}
    assert len(found) == rows.num_rows
    return found


def _numbers(before: Mapping[Any, Any], after: Mapping[Any, Any]) -> dict[str, Any]:
    """Rows on both sides, gone, new; and how many of those on both sides differ, by column."""
    both = before.keys() & after.keys()
    columns = next(iter(before.values())).keys() - {"customer"}
    changed = {name: sum(_other(before[key][name], after[key][name]) for key in both) for name in columns}
    return {
        "rows": (len(before), len(after)),
        "gone": len(before.keys() - both),
        "new": len(after.keys() - both),
        "changed": {name: count for name, count in changed.items() if count},
    }


def _other(one: Any, other: Any) -> bool:
    if isinstance(one, str) != isinstance(other, str) and None not in (one, other):
        return str(one) != str(other)
    return bool(one != other)


def _said(compared: Any) -> dict[str, Any]:
    if compared is None:
        return {}
    return {
        "rows": compared.rows,
        "gone": compared.gone,
        "new": compared.new,
        "changed": {each.column: each.changed for each in compared.moved if each.changed},
    }


def test_the_numbers_are_those_of_building_and_scoring_twice_by_hand(shop: Shop, capsys) -> None:
    hand, wrong = ByHand(shop), []
    before = hand.rows(SQL)
    tried, silent, needless, alarms = 0, 0, [], []
    for mutation in mutations():
        file = f"dbt/models/{mutation.model}.sql"
        shop.edit(file, mutation.old, mutation.new)
        try:
            text = (shop.root / file).read_text()
            problem, found, differs = _tried(shop, mutation, hand, before=before, edited={**SQL, mutation.model: text})
        finally:
            shop.restore()
        tried += 1
        wrong += [f"{mutation}: {problem}"] if problem else []
        silent += not found.pipelines
        if found.pipelines and not differs:
            needless.append(mutation.kind)
            alarms += [mutation.kind] if found.failed or not found.pipelines[0].equal else []
    assert wrong == []
    shares = [f"{len(each) / tried:.0%}" for each in (needless, alarms)]
    with capsys.disabled():
        print(f"\n{tried} edits, 0 false silences, {shares[1]} needless alarms; {tried - silent} were built,")
        print(f"{len(needless)} of them needlessly ({shares[0]}): {', '.join(needless)}")
    assert tried >= 30
    assert alarms == []


def _tried(
    shop: Shop, mutation: Mutation, hand: ByHand, *, before: Mapping[str, Any], edited: Mapping[str, str]
) -> tuple[str, diffing.Diff, bool]:
    """What is wrong about a mutation's diff, the diff, and whether anything differs by hand."""
    found = shop.diff()
    numbers = {}
    try:
        after = hand.rows(edited)
    except (duckdb.Error, TailraceError) as error:
        each = found.pipelines[0] if found.pipelines else None
        return ("" if each and each.error else f"by hand: {error}; diff has no error"), found, True
    numbers = {part: _numbers(before[part], after[part]) for part in before}
    differs = any(each["gone"] or each["new"] or each["changed"] for each in numbers.values())
    if mutation.same == differs:
        return f"its effect is not the known one: {numbers}", found, differs
    if not found.pipelines:
        return ("a false silence" if differs else ""), found, differs
    (each,) = found.pipelines
    if each.error or each.skipped:
        return f"not compared: {each.error or each.skipped}", found, differs
    if each.equal == differs:
        return ("a false silence" if differs else ""), found, differs
    flips = numbers["predictions"]["changed"].get("decision", 0)
    if (each.flips or 0) != flips:
        return f"{each.flips} flips, by hand {flips}", found, differs
    for part, compared in (("features", each.features), ("outcomes", each.outcomes), ("predictions", each.predictions)):
        if _said(compared) != numbers[part]:
            return f"{part}: {_said(compared)}, by hand {numbers[part]}", found, differs
    return "", found, differs
