"""How a build copies what was landed into Postgres, and what becomes of a server's failures."""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg2
import pyarrow as pa
import pytest

from tailrace.contracts import ModelResult
from tailrace.errors import BuildFailed, LandingRefused, SettingsError, Unavailable, UpstreamMissing, WarehouseBusy
from tailrace.sources.landing import Landing
from tailrace.warehouse.postgres import PostgresWarehouse
from tests.postgres import Database, Server, postgres

__all__ = ["postgres"]

PROJECT = Path(__file__).resolve().parents[3] / "dbt"
DAY, NEXT = dt.date(2013, 1, 1), dt.date(2013, 1, 2)
FLIGHTS = pa.schema({"flight": pa.string(), "left_at": pa.timestamp("us", tz="UTC"), "late": pa.int32()})
FILES = {
    "models/sources.yml": "sources: [{name: landing, tables: [{name: flights}]}]",
    "models/flights.sql": (
        "{{ config(materialized='incremental', meta={'rows_from': 'flights'}) }}"
        " select ds, flight, left_at, late from {{ source('landing', 'flights') }}"
        " where ds between date '{{ env_var(\"BUILD_FIRST_DAY\") }}' and date '{{ env_var(\"BUILD_LAST_DAY\") }}'"
        "{% if is_incremental() %} and ds not in (select ds from {{ this }}){% endif %}"
    ),
    "models/counted.sql": (
        "{{ config(materialized='table') }} select ds, count(*) as flights from {{ ref('flights') }} group by ds"
    ),
    "dbt_project.yml": "{name: tiny, profile: tailrace, flags: {send_anonymous_usage_stats: false}}",
}


@dataclass
class Site:
    """A project of two models on a database of its own, with one table landed on two days."""

    folder: Path
    made: Database
    server: Server
    schema: pa.Schema = FLIGHTS

    @property
    def landing(self) -> Landing:
        return Landing(str(self.folder / "landing"), {"flights": self.schema})

    def warehouse(self, **changes: str) -> PostgresWarehouse:
        made = replace(self.made, **changes)
        return PostgresWarehouse(
            made.url,
            password=made.password,
            project=self.folder / "project",
            landing=self.landing,
            work=self.folder / "work",
        )

    def land(self, day: dt.date, *flights: str) -> None:
        rows = [
            {"flight": name, "left_at": dt.datetime.combine(day, dt.time(12), dt.UTC), "late": 1} for name in flights
        ]
        for row in rows:
            row |= {name: None for name in self.schema.names if name not in row}
        self.landing.write("flights", day, pa.Table.from_pylist(rows, schema=self.schema))

    def write(self, name: str, text: str) -> None:
        (self.folder / "project" / name).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / "project" / name).write_text(text)

    def copied(self) -> dict[str, str]:
        """The flights in the landing schema, each with the moment at which it was landed."""
        return dict(self.server.execute("select flight, _landed_at from landing.flights", self.made.name))


@pytest.fixture
def site(tmp_path: Path, postgres: Server, request: pytest.FixtureRequest) -> Site:
    name = f"tiny_{abs(hash(request.node.name)) % 10**8}"
    site = Site(tmp_path, postgres.database(name), postgres)
    for file, text in FILES.items():
        site.write(file, text)
    site.write("profiles.yml", (PROJECT / "profiles.yml").read_text())
    site.land(DAY, "b", "A", "a1", "a/")
    site.land(NEXT, "c")
    return site


def test_days_are_copied_once_and_again_where_they_were_landed_anew(site: Site) -> None:
    results = {result.name: result for result in site.warehouse().build(DAY, DAY)}
    assert results["flights"].rows == 4
    first = site.copied()
    assert set(first) == {"b", "A", "a1", "a/"}

    site.land(NEXT, "d", "e")
    site.warehouse().build(NEXT, NEXT)

    assert site.copied().items() > first.items()
    assert set(site.copied()) - set(first) == {"d", "e"}

    site.schema = FLIGHTS.append(pa.field("gate", pa.string()))
    site.land(DAY, "f")
    site.land(NEXT, "d")
    site.warehouse().build(NEXT, NEXT)
    assert set(site.copied()) == {"f", "d"}


def test_the_days_built_are_recorded_beside_the_marts_and_lost_with_them(site: Site) -> None:
    site.land(NEXT)
    warehouse = site.warehouse()
    assert warehouse.built(DAY) is None
    warehouse.build(DAY, NEXT)
    assert warehouse.built(DAY) == {"flights": ""}
    assert warehouse.built(NEXT) == {"flights": "the landed files of flights have no rows"}
    site.land(NEXT, "c")
    warehouse.build(NEXT, NEXT)
    assert warehouse.built(NEXT) == warehouse.built(DAY)
    assert warehouse.built(NEXT + dt.timedelta(days=1)) == {}
    site.server.execute("drop schema tailrace cascade; select 1", site.made.name)
    assert warehouse.built(DAY) is None


def test_text_is_sorted_by_its_bytes_and_the_password_is_nowhere(site: Site) -> None:
    site.warehouse().build(DAY, DAY)

    rows = site.warehouse().read("flights", DAY, ["flight"]).read_all()

    assert rows["flight"].to_pylist() == ["A", "a/", "a1", "b"]
    assert rows.schema == pa.schema({"ds": pa.date32(), **{field.name: field.type for field in FLIGHTS}})
    files = [file for file in (site.folder / "work").rglob("*") if file.is_file()]
    assert len(files) > 5
    assert not [file for file in files if site.made.password.encode() in file.read_bytes()]


def test_models_answer_in_utc_whatever_the_zone_of_the_server(site: Site) -> None:
    site.server.execute(f"alter database {site.made.name} set timezone to 'Asia/Tokyo'; select 1", site.made.name)
    site.write(
        "models/counted.sql",
        "{{ config(materialized='view') }} "
        "select ds, extract(hour from left_at)::int as hour from {{ ref('flights') }} where flight = 'b'",
    )
    site.warehouse().build(DAY, DAY)
    assert site.warehouse().read("counted", DAY, ()).read_all()["hour"].to_pylist() == [12]


def test_a_damaged_file_that_is_looked_back_on_stops_the_copy(site: Site) -> None:
    file = site.folder / "landing" / "flights" / f"ds={DAY}" / "part-0.parquet"
    file.write_bytes(b"PAR1 and then nothing")

    with pytest.raises(LandingRefused, match=f"flights of {DAY} that cannot be built from:\n.*not a readable Parquet"):
        site.warehouse().build(NEXT, NEXT)

    assert site.server.execute("select to_regclass('landing.flights')", site.made.name) == [(None,)]


def test_what_was_never_built_is_missing(site: Site) -> None:
    with pytest.raises(UpstreamMissing, match=r"no table flights\. Run the build stage first"):
        site.warehouse().read("flights", DAY, [])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"password": "guessed"}, "password authentication failed"),
        ({"user": "nobody"}, "password authentication failed"),
        ({"name": "nowhere"}, 'database "nowhere" does not exist'),
    ],
)
def test_a_wrong_login_is_said_without_the_password(site: Site, wrong: dict[str, str], said: str) -> None:
    tiny = site.warehouse(**wrong)
    for use in (lambda: tiny.build(DAY, DAY), lambda: tiny.read("flights", DAY, [])):
        with pytest.raises(SettingsError, match=said) as refused:
            use()
        assert "TAILRACE_WAREHOUSE_PASSWORD" in str(refused.value)
        assert "guessed" not in str(refused.value)
        assert site.made.password not in str(refused.value)


def test_rights_are_needed_in_the_two_schemas_and_nowhere_else(site: Site) -> None:
    owner = site.made
    guest = site.server.database(f"{owner.name}_guest")
    site.made = replace(owner, user=guest.user, password=guest.password)
    with pytest.raises(SettingsError, match=r"permission denied for database(.|\n)*tailrace and landing"):
        site.warehouse().build(DAY, DAY)

    for schema in ("tailrace", "landing"):
        site.server.execute(f"create schema {schema} authorization {guest.user}", owner.name)
    assert {result.status for result in site.warehouse().build(DAY, DAY)} == {"success"}


def test_a_server_that_does_not_answer_is_worth_a_retry(site: Site) -> None:
    nobody = replace(site.made, port=1)
    site.made = nobody
    for use in (lambda: site.warehouse().build(DAY, DAY), lambda: site.warehouse().read("flights", DAY, [])):
        with pytest.raises(Unavailable, match=r"did not answer.*[Cc]onnection refused"):
            use()


def test_of_two_builds_at_once_one_is_refused(site: Site) -> None:
    with psycopg2.connect(site.made.full_url) as other, other.cursor() as cursor:
        cursor.execute("select pg_advisory_lock(hashtext('tailrace build'))")
        with pytest.raises(WarehouseBusy, match="is being built by another process"):
            site.warehouse().build(DAY, DAY)
    other.close()


WAITS = "select pg_advisory_xact_lock(42)::text as waited"
"""A model that waits for a lock which the test takes."""


@dataclass
class Pause:
    """The lock 42, taken; what runs once a model waits for it, and then lets it go."""

    site: Site

    def then(self, act: Callable[[], None]) -> Callable[[], None]:
        """Call `act` in another thread as soon as the model waits; waits for its end and raises what it raised."""
        holder = psycopg2.connect(self.site.made.full_url)
        holder.cursor().execute("set idle_in_transaction_session_timeout = 0; select pg_advisory_lock(42)")
        waiting = "select count(*) from pg_locks where locktype = 'advisory' and not granted"

        def run() -> None:
            try:
                while self.site.server.execute(waiting) == [(0,)]:
                    time.sleep(0.02)
                act()
            finally:
                holder.close()

        pool = ThreadPoolExecutor(1)
        done = pool.submit(run)
        return lambda: done.result(60)


@pytest.fixture
def alone(site: Site) -> Site:
    """The project with the real macro that replaces days, and a model that waits before the mart is built."""
    for macro in ("days.sql", "replace_days.sql"):
        site.write(f"macros/{macro}", (PROJECT / "macros" / macro).read_text())
    site.write("dbt_project.yml", FILES["dbt_project.yml"].replace("name: tiny", "name: tailrace"))
    site.write("models/waits.sql", f"{{{{ config(materialized='table') }}}} {WAITS}")
    flights = FILES["models/flights.sql"].split("{% if")[0]
    flights = flights.replace("'incremental'", "'incremental', incremental_strategy='replace_days'")
    site.write("models/flights.sql", flights + " and exists (select from {{ ref('waits') }})")
    return site


@pytest.mark.services
def test_a_build_keeps_its_lock_however_long_it_does_nothing_and_replaces_no_day_without_it(alone: Site) -> None:
    role = alone.made.user
    limits = ("idle_session_timeout", "idle_in_transaction_session_timeout")
    alone.server.execute(";".join(f"alter role {role} set {limit} = '600ms'" for limit in limits))

    def idle_for_long() -> None:
        time.sleep(1)
        with pytest.raises(WarehouseBusy, match="is being built by another process"):
            alone.warehouse().build(DAY, DAY)

    idled = Pause(alone).then(idle_for_long)
    assert {node.status for node in alone.warehouse().build(DAY, DAY, "run")} == {"success"}
    idled()

    alone.server.execute(f"alter role {role} reset all")
    alone.land(DAY, "z")
    locker = "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and granted and objid <> 42"
    ended = Pause(alone).then(lambda: alone.server.execute(locker) and None)
    with pytest.raises(WarehouseBusy, match=r"lost its lock on the warehouse(.|\n)*Build the days again"):
        alone.warehouse().build(DAY, DAY, "run")
    ended()
    flights = alone.warehouse().read("flights", DAY, ["flight"]).read_all()["flight"].to_pylist()
    assert flights == ["A", "a/", "a1", "b"], "the day is as the build left it that was alone"
    assert not [*(alone.folder / "work" / "tries").glob("*")], "the next try builds everything"


@pytest.mark.services
def test_a_server_restarted_in_mid_run_leaves_nothing_half_built(site: Site) -> None:
    site.warehouse().build(DAY, DAY)
    site.write(
        "models/counted.sql",
        # waits for a lock that the test holds
        "{{ config(materialized='table') }} select ds, count(*) * 2 as flights, pg_advisory_xact_lock(42)::text as l"
        " from {{ ref('flights') }} group by ds",
    )
    holder = psycopg2.connect(site.made.full_url)
    holder.cursor().execute("select pg_advisory_lock(42)")
    waiting = "select count(*) from pg_locks where locktype = 'advisory' and not granted"

    def restart() -> None:
        while site.server.execute(waiting) == [(0,)]:
            pass
        site.server.stop()
        site.server.start()

    restarter = threading.Thread(target=restart)
    restarter.start()
    with pytest.raises(Unavailable, match="did not answer, or stopped answering, while building"):
        site.warehouse().build(DAY, DAY, "run")
    restarter.join()

    assert site.warehouse().read("counted", DAY, []).read_all().column("flights").to_pylist() == [4]
    assert {node.status for node in site.warehouse().build(DAY, DAY, "run")} == {"success"}
    assert site.warehouse().read("counted", DAY, []).read_all().column("flights").to_pylist() == [8]


def test_a_failed_model_is_named(site: Site) -> None:
    site.write("models/counted.sql", "select no_such_column from {{ ref('flights') }}")
    heard: list[ModelResult] = []

    with pytest.raises(BuildFailed, match=r'model counted: .*"no_such_column" does not exist'):
        site.warehouse().build(DAY, DAY, on_node=heard.append)

    assert {node.name: (node.status, node.rows) for node in heard} == {
        "flights": ("success", 4),
        "counted": ("error", None),
    }


@pytest.fixture
def blocked(site: Site) -> Iterator[Site]:
    """Two empty tables of a build, both of which another session locks."""
    tables = "landing._copied (name text, ds date, mark text), tailrace.flights (ds date, flight text)"
    created = "; ".join(f"create table {table}" for table in tables.replace("), ", ");").split(";"))
    with closing(psycopg2.connect(site.made.full_url)) as other:
        other.cursor().execute(f"create schema landing; create schema tailrace; {created}")
        other.commit()
        other.cursor().execute("lock table landing._copied, tailrace.flights in access exclusive mode")
        yield site


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        ("lock_timeout", "canceling statement due to lock timeout.* Find out who locks or cancels"),
        ("statement_timeout", "canceling statement due to statement timeout.*the server's statement_timeout"),
    ],
)
def test_a_statement_that_the_server_stops_is_worth_a_retry(blocked: Site, limit: str, said: str) -> None:
    blocked.server.execute(f"alter role {blocked.made.user} set {limit} = '100ms'")
    with pytest.raises(Unavailable, match=f"stopped a statement while reading flights of {DAY}: .*{said}"):
        blocked.warehouse().read("flights", DAY, [])
    with pytest.raises(Unavailable, match=f"stopped a statement while copying the landed files of {DAY}.*{said}"):
        blocked.warehouse().build(DAY, DAY)


def test_a_cancelled_read_is_worth_a_retry(blocked: Site) -> None:
    waiting = "select pg_cancel_backend(pid) from pg_stat_activity where wait_event_type = 'Lock' and usename = '{}'"

    def cancel() -> None:
        while not blocked.server.execute(waiting.format(blocked.made.user)):
            time.sleep(0.02)

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(cancel)
        with pytest.raises(Unavailable, match="canceling statement due to user request"):
            blocked.warehouse().read("flights", DAY, [])
        done.result(60)


def test_a_model_that_the_server_stops_is_worth_a_retry_unless_it_took_too_long(site: Site) -> None:
    site.write("models/flights.sql", FILES["models/flights.sql"] + " and pg_sleep(2) is not null")
    site.write("models/counted.sql", "{{ config(materialized='table') }} select 1 as x")
    site.server.execute(f"alter role {site.made.user} set statement_timeout = '1500ms'")
    with pytest.raises(BuildFailed, match=r"model flights: .*statement timeout.*alter role .* set statement_timeout"):
        site.warehouse().build(DAY, DAY)
    for said in ("lock timeout", "user request", "conflict with recovery"):
        error = site.warehouse()._complaint([f"Database Error in model flights\n  canceling statement due to {said}"])
        assert isinstance(error, Unavailable)
        assert "while building: Database Error in model flights" in str(error)
