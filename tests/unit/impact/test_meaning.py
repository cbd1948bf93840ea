"""What sqlglot's trees are taken to mean: a table of edits, each with what it changes."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tailrace.impact import meaning, query_meaning
from tailrace.impact.meaning import Unresolved
from tailrace.impact.sql_equality import proof

TABLES = {
    "a": meaning.leaf("a", ["id", "x", "y", "k", "d"]),
    "b": meaning.leaf("b", ["id", "z"]),
    "u": meaning.leaf("u"),
}
ROWS, UNKNOWN, SAME = "rows", "unknown", ""


def changed(before: str, after: str, tables: Mapping[str, meaning.TableMeaning] = TABLES) -> str:
    """The columns that mean something else; `rows` if rows may come and go; `unknown` if it cannot be told."""
    try:
        one, other = (query_meaning.of_query("m", sql, "duckdb", tables.get) for sql in (before, after))
    except Unresolved:
        return UNKNOWN
    if (one.rows.digest, one.rest.digest) != (other.rows.digest, other.rest.digest):
        return ROWS
    names = sorted({*one.names, *other.names})
    both = {name for name in names if name in one.names and name in other.names}
    return " ".join(name for name in names if name not in both or one.column(name).digest != other.column(name).digest)


EDITS = [
    ("a unit", "select id, x from a", "select id, x * 1.609 as x from a", "x"),
    ("a filter", "select id, x from a", "select id, x from a where x > 0", ROWS),
    ("a filter's bound", "select id from a where x > 0", "select id from a where x >= 0", ROWS),
    (
        "a join's kind",
        "select a.id, z from a join b on a.id = b.id",
        "select a.id, z from a left join b on a.id = b.id",
        ROWS,
    ),
    ("a join's key", "select a.id, z from a join b on a.id = b.id", "select a.id, z from a join b on a.k = b.id", ROWS),
    ("a day off by one", "select id, d - 1 as d from a", "select id, d - 2 as d from a", "d"),
    ("a window's bound", "select id, x from a where d >= 7", "select id, x from a where d > 7", ROWS),
    ("coalesce left out", "select id, coalesce(x, y) as v, k from a", "select id, x as v, k from a", "v"),
    ("coalesce turned round", "select coalesce(x, y) as v, k from a", "select coalesce(y, x) as v, k from a", "v"),
    ("a cast", "select id, x from a", "select id, x::integer as x from a", "x"),
    ("a cast's width", "select x::decimal(9, 2) as x from a", "select x::decimal(9, 3) as x from a", "x"),
    ("a renamed column", "select id, x, y from a", "select id, x as x2, y from a", "x x2"),
    ("a new column", "select id from a", "select id, x from a", "x"),
    ("a column left out", "select id, x from a", "select id from a", "x"),
    ("columns swapped", "select id, x, y from a", "select id, y as x, x as y from a", "x y"),
    (
        "a case's bound",
        "select case when x > 1 then 1 end as c, k from a",
        "select case when x >= 1 then 1 end as c, k from a",
        "c",
    ),
    (
        "an aggregate",
        "select k, max(x) as m, min(y) as n from a group by k",
        "select k, max(x) as m, avg(y) as n from a group by k",
        "n",
    ),
    ("a group", "select k, max(x) as m from a group by k", "select k, max(x) as m from a group by k, d", ROWS),
    ("an aggregate alone", "select x from a", "select max(x) as x from a", ROWS),
    (
        "having",
        "select k, max(x) as m from a group by k",
        "select k, max(x) as m from a group by k having max(x) > 1",
        ROWS,
    ),
    (
        "a filtered aggregate",
        "select sum(x) filter (where y > 1) as s, count(*) as n from a",
        "select sum(x) filter (where y > 2) as s, count(*) as n from a",
        "s",
    ),
    (
        "a window's order",
        "select id, sum(x) over (partition by k order by y) as s from a",
        "select id, sum(x) over (partition by k order by y desc) as s from a",
        "s",
    ),
    (
        "a window's frame",
        "select id, sum(x) over (order by d rows 6 preceding) as s from a",
        "select id, sum(x) over (order by d rows 7 preceding) as s from a",
        "s",
    ),
    (
        "qualify",
        "select id from a qualify row_number() over (partition by k order by y) = 1",
        "select id from a qualify row_number() over (partition by k order by y desc) = 1",
        ROWS,
    ),
    ("distinct", "select k from a", "select distinct k from a", ROWS),
    ("what is distinct", "select distinct k, x from a", "select distinct k, y as x from a", ROWS),
    (
        "distinct on",
        "select distinct on (k) k, x from a order by k, y",
        "select distinct on (k) k, x from a order by k, y desc",
        ROWS,
    ),
    ("a limit", "select id from a limit 5", "select id from a limit 6", ROWS),
    (
        "union for union all",
        "select id, x from a union all select id, z from b",
        "select id, x from a union select id, z from b",
        ROWS,
    ),
    (
        "a branch of a union",
        "select id, x from a union all select id, z from b",
        "select id, x from a union all select id, z + 1 from b",
        "x",
    ),
    (
        "except turned round",
        "select id from a except select id from b",
        "select id from b except select id from a",
        ROWS,
    ),
    (
        "a subquery's filter",
        "select id from a where id in (select id from b)",
        "select id from a where id in (select id from b where z > 1)",
        ROWS,
    ),
    (
        "a correlated subquery",
        "select y, (select max(z) from b where b.id = a.id) as q from a",
        "select y, (select max(z) from b where b.id <> a.id) as q from a",
        "q",
    ),
    (
        "a lateral",
        "select a.id, s.v from a, lateral (select z as v from b where b.id = a.id) s",
        "select a.id, s.v from a, lateral (select z + 1 as v from b where b.id = a.id) s",
        ROWS,
    ),
    ("unnest", "select id, unnest(x) as e from a", "select id, unnest(y) as e from a", ROWS),
    (
        "a series",
        "select g.d from a join generate_series(1, 3) g(d) on a.id = g.d",
        "select g.d from a join generate_series(1, 4) g(d) on a.id = g.d",
        ROWS,
    ),
    ("values", "select t.v from (values (1), (2)) t(v)", "select t.v from (values (1), (3)) t(v)", ROWS),
    (
        "semi for anti",
        "select id from a semi join b on a.id = b.id",
        "select id from a anti join b on a.id = b.id",
        ROWS,
    ),
    (
        "below a star",
        "with s as (select id, x from a) select * from s",
        "with s as (select id, x + 1 as x from a) select * from s",
        "x",
    ),
    ("beside a star", "select *, x + 1 as n from u", "select *, x + 2 as n from u", "n"),
    ("a star's exclusion", "select * exclude (x) from u", "select * exclude (y) from u", ROWS),
    ("a file that is read", "select x from read_parquet('a/*')", "select x from read_parquet('b/*')", ROWS),
    ("an unknown function", "select id, ours(x) as h, y from a", "select id, ours(y) as h, y from a", ROWS),
    # proven to be the same
    ("reordered", "select id, x, y from a", "select y, x, id from a", SAME),
    ("a comment", "select id, x from a", "select id, -- the key\n x from a", SAME),
    ("layout", "select id, x from a", "SELECT\n  id,\n  x\nFROM a", SAME),
    ("a CTE extracted", "select id, x from a", "with s as (select * from a) select id, x from s", SAME),
    (
        "two CTEs",
        "select id, x from a",
        "with s as (select id, x as r from a), t as (select id, r as x from s) select * from t",
        SAME,
    ),
    (
        "a CTE with the filter",
        "select id, x from a where x > 0",
        "with s as (select * from a where x > 0) select id, x from s",
        SAME,
    ),
    (
        "aliases",
        "select a.id, z from a join b on a.id = b.id",
        "select p.id, q.z from a as p inner join b q on p.id = q.id",
        SAME,
    ),
    ("a place for a name", "select k, max(x) as m from a group by k", "select k, max(x) as m from a group by 1", SAME),
    ("parentheses", "select id, x + y as v from a", "select id, (x + y) as v from a", SAME),
    ("a cast's form", "select x::integer as v from a", "select cast(x as integer) as v from a", SAME),
    # what cannot be resolved is never silent
    (
        "a recursive CTE",
        "with recursive r as (select 1 as n union all select n + 1 from r) select n from r",
        "with recursive r as (select 1 as n union all select n + 2 from r) select n from r",
        UNKNOWN,
    ),
    ("columns by pattern", "select columns('x.*') from a", "select columns('y.*') from a", UNKNOWN),
    (
        "whose column",
        "select v from u join b on u.id = b.id",
        "select v from u join b on u.id = b.id where z = 1",
        UNKNOWN,
    ),
    (
        "a function of one row",
        "select id, md5_number(x) as h, y from a",
        "select id, md5_number(y) as h, y from a",
        "h",
    ),
    ("rows of a column", "select id, unnest(lower) as e, y from u", "select id, unnest(upper) as e, y from u", ROWS),
    ("no SQL", "select from where", "select from where 1", UNKNOWN),
]


@pytest.mark.parametrize(("before", "after", "expected"), [pytest.param(*each[1:], id=each[0]) for each in EDITS])
def test_an_edit_changes_exactly_these_columns(before, after, expected):
    assert changed(before, after) == expected
    if expected != SAME:
        assert proof(before, after, "duckdb") == ""


@pytest.mark.parametrize("sql", [each for edit in EDITS for each in edit[1:3]])
def test_a_query_means_the_same_as_itself(sql):
    assert changed(sql, sql) in (SAME, UNKNOWN)
    assert proof(sql, f"/* so it is */ {sql} -- indeed", "duckdb") in ("tokens", "")


def test_a_column_needs_the_columns_that_it_is_made_of():
    found = query_meaning.of_query(
        "m", "with s as (select id, x + y as v from a) select s.v * 2 as w, b.z from s join b using (id)", "duckdb",
        TABLES.get,
    )  # fmt: skip
    assert found.column("w").needs == {("a", "x"), ("a", "y")}
    assert found.column("z").needs == {("b", "z")}
    assert {("a", "id"), ("b", "id"), ("a", "*"), ("b", "*")} <= found.rows.needs


PROOFS = [
    ("select a from t", "select a from t", "text"),
    ("select a from t", "SELECT a -- b\nFROM t", "tokens"),
    ("select a from t", "select (a) from t", "tree"),
    ("select a as b from t join u on t.i = u.i", "select a b from t inner join u on t.i = u.i", "tree"),
    ("select a::int from t", "select cast(a as int) from t", "tree"),
    ("select a from t where x = 'A'", "select a from t where x = 'a'", ""),
    ("select A from t", "select a from t", ""),
    ("select a + b * c from t", "select (a + b) * c from t", ""),
    ("select len(a) from t", "select length(a) from t", ""),
    ("select a from t order by a", "select a from t order by a nulls last", ""),
    ("select cast(a as int) from t", "select try_cast(a as int) from t", ""),
    ("select a from t", "select a from t; select b from t", ""),
    ("select /*+ broadcast(t) */ a from t", "select a from t", ""),
    ("select (", "select ((", ""),
]


@pytest.mark.parametrize(("before", "after", "expected"), PROOFS)
def test_only_a_proof_is_silent(before, after, expected):
    assert proof(before, after, "duckdb") == expected
    assert proof(after, before, "duckdb") == expected
