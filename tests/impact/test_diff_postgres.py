"""`tailrace diff` on Postgres: both sides in throw-away schemas, for both kinds of warehouse."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tailrace import days
from tailrace.engines.local import LocalEngine
from tailrace.errors import BadInput
from tailrace.impact import diff_words, schema_copies
from tailrace.impact.predicting import Scorer
from tailrace.settings import Settings
from tailrace.sources.landing import Landing
from tailrace.spec import registry
from tailrace.warehouse.adapter import DbtAdapter
from tailrace.warehouse.dbt_project import DbtProjectWarehouse
from tailrace.warehouse.postgres import PostgresWarehouse
from tests.impact import small_project
from tests.impact.small_project import FILES, LAST, ROWS_A_DAY, Shop
from tests.postgres import Database, Server, postgres  # noqa: F401 - a fixture

pytestmark = pytest.mark.services
"""dbt builds on a Postgres server."""

COLUMNS = {
    "plan": "text",
    "age": "double precision",
    "visits": "bigint",
    "left_at": "timestamptz",
    "event_time": "timestamptz",
    "ds": "date",
    "customer": "text",
    "gone": "boolean",
}
MART = """{{ config(materialized='incremental', incremental_strategy='delete+insert', unique_key=['ds', 'customer'],
    post_hook="create index if not exists {{ this.identifier }}_day on {{ this }} (ds)") }}
select ds, customer, event_time, event_time as known_at, plan, age, visits from {{ ref('stg_visits') }}
{% if is_incremental() %} where ds > (select max(ds) from {{ this }}) {% endif %}"""


def by_landing(database: Database, configured: Settings) -> PostgresWarehouse:
    return PostgresWarehouse(
        database.url,
        password=database.password,
        project=configured.dbt_project,
        landing=Landing(configured.landing, {}),
        work=configured.work / "dbt",
    )


def by_dbt(database: Database, configured: Settings) -> DbtProjectWarehouse:
    work = configured.work / "dbt"
    return DbtProjectWarehouse(
        DbtAdapter(configured.dbt_project, work=work),
        marts=lambda: registry.get("churn").marts,
        landing=Landing(configured.landing, {}),
        work=work,
    )


@dataclass
class Site:
    shop: Shop
    server: Server
    database: Database

    def run(self, statement: str) -> list[Any]:
        return self.server.execute(statement, self.database.name)

    def schemas(self) -> set[str]:
        return {row[0] for row in self.run("select nspname from pg_namespace where nspname not like 'pg_%'")}

    def digest(self) -> list[Any]:
        return self.run("select count(*), sum(hashtext(t::text)) from tailrace.churn_features t")


@pytest.fixture(scope="module", params=[by_landing, by_dbt])
def made(request, postgres: Server, tmp_path_factory) -> Iterator[Site]:  # noqa: F811
    with pytest.MonkeyPatch.context() as patch:
        root = tmp_path_factory.mktemp("shop")
        database = postgres.database(request.param.__name__)
        output = {"type": "postgres", "threads": 1, "schema": "tailrace", "host": "127.0.0.1", "port": database.port}
        output |= {"user": database.user, "dbname": database.name, "password": database.password}
        env = {}
        if request.param is by_landing:
            output["password"] = "{{ env_var('TAILRACE_WAREHOUSE_PASSWORD') }}"  # noqa: S105
            env = {"TAILRACE_WAREHOUSE": database.url, "TAILRACE_WAREHOUSE_PASSWORD": database.password}
        files = FILES | {
            "dbt/profiles.yml": str({"tiny": {"target": "postgres", "outputs": {"postgres": output}}}),
            "dbt/models/churn_features.sql": MART,
        }
        configured = small_project.configure(root, patch, files, **env)
        for statement in statements(small_project.landed()):
            postgres.execute(f"set role {database.user}; {statement}", database.name)
        shop = small_project.published(root, configured, request.param(database, configured), LocalEngine())
        yield Site(shop, postgres, database)


def statements(rows: pa.Table) -> Iterator[str]:
    """What fills the table of the source."""
    yield "create schema raw"
    yield f"create table raw.visits ({', '.join(f'{name} {kind}' for name, kind in COLUMNS.items())})"
    values = [
        ", ".join("null" if row[name] is None else f"'{row[name]}'" for name in COLUMNS) for row in rows.to_pylist()
    ]
    yield f"insert into raw.visits values {', '.join(f'({each})' for each in values)}"  # noqa: S608 - numbers of our own


@pytest.fixture
def site(made: Site) -> Iterator[Site]:
    before = made.schemas(), made.digest()
    yield made
    made.shop.restore()
    assert (made.schemas(), made.digest()) == before


def test_a_unit_is_loud_and_nothing_is_left_behind(site: Site) -> None:
    shop = site.shop
    shop.edit("dbt/models/churn_features.sql", "visits from", "visits * 10 as visits from")
    found = shop.diff()
    (each,) = found.pipelines
    assert not each.error
    spec, scorer = registry.get("churn"), Scorer(shop.services, "churn")
    flips = changed = 0
    for day in days.span(LAST - dt.timedelta(days=2), LAST):
        rows = shop.services.lake.read(spec.features_table, first=day, last=day).read_all().sort_by("customer")
        edited = rows.set_column(rows.column_names.index("visits"), "visits", pc.multiply(rows["visits"], 10))
        one, other = (scorer.scored(spec, "1", side) for side in (rows, edited))
        flips += pc.sum(pc.not_equal(one["decision"], other["decision"])).as_py()
        changed += pc.sum(pc.not_equal(one["score"], other["score"])).as_py()
    assert (each.flips, each.moved, each.rows) == (flips, changed, 3 * ROWS_A_DAY)
    assert flips > 10 and found.failed
    assert [moved.column for moved in each.features.moved] == ["visits"]


def test_what_a_killed_diff_left_is_removed_and_the_rest_stays(site: Site) -> None:
    left, used = (f"{schema_copies.PREFIX}17_{name}_before" for name in ("killed", "busy"))
    for schema in (left, used):
        site.run(f"create schema {schema} authorization {site.database.user}")
    with _locked(site, used.rpartition("_")[0]):
        site.shop.edit(
            "dbt/models/churn_features.sql",
            "{{ ref('stg_visits') }}",
            "(select * from {{ ref('stg_visits') }} order by age) v",
        )
        found = site.shop.diff()
        assert "(proven by digest)" in diff_words.headline(found.pipelines[0])
        assert left not in site.schemas() and used in site.schemas()
    site.run(f"drop schema {used}")


def test_data_tests_judge_the_throw_away_schemas_and_store_nothing(site: Site) -> None:
    test = "{not_null: {config: {store_failures: true}}}"
    (site.shop.root / "dbt/models/churn_features.yml").write_text(
        f"models: [{{name: churn_features, columns: [{{name: plan, data_tests: [{test}]}}]}}]"
    )
    site.shop.edit("dbt/models/churn_features.sql", "visits from", "visits * 1 as visits from")
    (each,) = site.shop.diff().pipelines
    assert not [said for said in each.refusals if "not_null" in said]
    site.shop.edit("dbt/models/churn_features.sql", "plan,", "nullif(plan, plan) as plan,")
    (each,) = site.shop.diff().pipelines
    (said,) = [said for said in each.refusals if "not_null" in said]
    assert said.startswith("dbt test not_null_churn_features_plan: ") and "rows fail" in said


def _locked(site: Site, begun: str) -> Any:
    """The lock of a command that is still running."""
    import contextlib

    import psycopg2

    connection = psycopg2.connect(site.database.full_url)
    connection.cursor().execute(f"select pg_advisory_lock(hashtext('{begun}'))")
    return contextlib.closing(connection)


def test_a_role_that_may_not_create_schemas_is_one_sentence(site: Site) -> None:
    who = f"database {site.database.name}"
    site.run(f"revoke create on {who} from {site.database.user}")
    site.shop.edit("dbt/models/churn_features.sql", "visits from", "visits + 1 as visits from")
    try:
        with pytest.raises(BadInput, match=f"The role {site.database.user} may not create schemas in the {who}.*grant"):
            site.shop.diff()
    finally:
        site.run(f"grant create on {who} to {site.database.user}")


def test_a_hook_that_may_write_elsewhere_is_refused(site: Site) -> None:
    site.shop.edit("dbt/models/churn_features.sql", "visits from", "visits + 1 as visits from")
    site.shop.edit(
        "dbt/models/churn_features.sql",
        "create index if not exists {{ this.identifier }}_day on {{ this }} (ds)",
        "create table public.log (x int)",
    )
    with pytest.raises(BadInput, match="hooks that do not name `this`"):
        site.shop.diff()
