"""Mutated SQL is run on made-up rows: what is said to be the same must be the same. Not one false silence."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import duckdb
import pytest

from tailrace.impact import query_meaning
from tailrace.impact.meaning import Unresolved
from tests.unit.impact.test_meaning import EDITS, TABLES

TABLE_ROWS = """
    create table a as select range as id, range % 7 as x, (range * 5) % 11 as y, range % 3 as k, range % 13 as d
    from range(60);
    insert into a values (90, null, null, null, null), (91, 3, null, 1, 2);
    create table b as select range % 50 as id, range % 5 as z from range(0, 80, 3);
    create table u as select id, x, y, k from a;
"""
BASES = [
    "select a.id, a.x, coalesce(a.y, 0) as y, a.k from a where a.x > 2",
    "select a.id, a.x + a.y as s, b.z from a join b on a.id = b.id where a.d >= 4",
    "select k, sum(x) as s, count(*) as n, max(y) as m from a group by k having count(*) > 2",
    "select id, x, sum(y) over (partition by k order by id) as run from a",
    "with s as (select id, x, k from a where y > 3), t as (select id, max(z) as z from b group by id) "
    "select s.id, s.x, t.z, s.k from s left join t on s.id = t.id",
    "select id, x from a union all select id, z as x from b",
    "select id, case when x > 3 then y else k end as c, d from a where id in (select id from b where z > 1)",
    "select distinct k, x from a",
    "select id, x, (select max(z) from b where b.id = a.id) as q from a",
    "select id, x, y from a qualify row_number() over (partition by k order by y, id) <= 3",
]
MUTATIONS = [
    ("where a.x > 2", "where a.x >= 2"),
    ("where ", "where 1 = 1 and "),
    ("a.x,", "a.x * 1.609 as x,"),
    ("sum(", "max("),
    ("max(", "min("),
    ("join b", "left join b"),
    ("left join", "join"),
    ("left left join", "left join"),
    ("coalesce(a.y, 0)", "a.y"),
    (" a.k", " a.k as kk"),
    ("x,", "x::varchar as x,"),
    (">= 4", ">= 5"),
    ("> 3", "> 4"),
    ("group by k", "group by k, d"),
    ("group by k", "group by 1"),
    ("distinct ", ""),
    ("union all", "union"),
    ("union all", "except"),
    ("order by id", "order by id desc"),
    ("partition by k", "partition by d"),
    ("<= 3", "<= 2"),
    ("select ", "select /* why */ "),
    (", ", " ,\n   "),
    ("from a", "from (select * from a) as a"),
    ("from b", "from (select * from b where z < 4) as b"),
    ("as s", "as total"),
    ("then y else k", "then k else y"),
    ("id, x", "x, id"),
    ("a.x + a.y", "a.y + a.x"),
    ("a.x + a.y", "a.x - a.y"),
    (" as z", " + 1 as z"),
    ("s.x", "-s.x as x"),
    ("count(*)", "count(y)"),
    ("b.z", "d as z"),
    ("in (select", "not in (select"),
    ("y > 3", "y > 3 or y is null"),
]


def mutants() -> Iterator[tuple[str, str]]:
    for base, (old, new) in itertools.product(BASES, MUTATIONS):
        if old in base:
            yield base, base.replace(old, new)
            yield base, base.replace(old, new, 1)
    yield from (edit[1:3] for edit in EDITS if "recursive" not in edit[1])


@pytest.fixture(scope="module")
def database() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("set threads = 1")
        connection.execute(TABLE_ROWS)
        yield connection


def silent_columns(before: str, after: str) -> list[str] | None:
    """The columns that are said to mean the same; None if none is, or if it cannot be told."""
    try:
        one, other = (query_meaning.of_query("m", sql, "duckdb", TABLES.get) for sql in (before, after))
    except Unresolved:
        return None
    if (one.rows.digest, one.rest.digest) != (other.rows.digest, other.rest.digest):
        return None
    return [name for name in one.names if name in other.names and one.column(name).digest == other.column(name).digest]


def differ(database: duckdb.DuckDBPyConnection, before: str, after: str, columns: list[str]) -> bool:
    names = ", ".join(f'"{name}"' for name in columns) or "1"
    sides = [f"select {names} from ({sql})" for sql in (before, after)]  # noqa: S608 - our own
    rows = [sorted(database.sql(side).fetchall(), key=repr) for side in sides]
    return rows[0] != rows[1]


def test_no_column_that_is_said_to_be_the_same_differs(database, capsys):
    tried = proven = needless = 0
    for before, after in dict.fromkeys(mutants()):
        try:
            all_columns = [database.sql(sql).columns for sql in (before, after)]
        except duckdb.Error:
            continue
        tried += 1
        silent = silent_columns(before, after)
        same_names = sorted(all_columns[0]) == sorted(all_columns[1])
        if silent is not None:
            assert not differ(database, before, after, silent), (before, after, silent)
        whole = silent is not None and same_names and len(silent) == len(all_columns[0])
        proven += whole
        needless += not whole and same_names and not differ(database, before, after, all_columns[0])
    with capsys.disabled():
        print(f"\n{tried} edits: {proven} proven equal, {needless} needless alarms ({needless / tried:.0%})")
    assert tried > 100 and proven > 20
