"""How a build copies what was landed into Postgres, and what becomes of a server's failures."""

from __future__ import annotations

import datetime as dt
import threading
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg2
import pyarrow as pa
import pytest

from pipelines.errors import BuildFailed, LandingRefused, SettingsError, Unavailable, UpstreamMissing, WarehouseBusy
from pipelines.interfaces import ModelResult
from pipelines.landing import Landing
from pipelines.warehouse.postgres import PostgresWarehouse
from tests.postgres import Database, Server, postgres

__all__ = ["postgres"]

PROJECT = Path(__file__).resolve().parents[3] / "dbt"
DAY, NEXT = dt.date(2013, 1, 1), dt.date(2013, 1, 2)
FLIGHTS = pa.schema({"flight": pa.string(), "left_at": pa.timestamp("us", tz="UTC"), "late": pa.int32()})
FILES = {
    "models/sources.yml": "sources: [{name: landing, tables: [{name: flights}]}]",
    "models/flights.sql": (
        "{{ config(materialized='incremental') }}"
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
        return PostgresWarehouse(made.url, made.password, self.folder / "project", self.landing, self.folder / "work")

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


def test_text_is_sorted_by_its_bytes_and_the_password_is_nowhere(site: Site) -> None:
    site.warehouse().build(DAY, DAY)

    rows = site.warehouse().read("flights", DAY, ["flight"]).read_all()

    assert rows["flight"].to_pylist() == ["A", "a/", "a1", "b"]
    assert rows.schema == pa.schema({"ds": pa.date32(), **{field.name: field.type for field in FLIGHTS}})
    files = [file for file in (site.folder / "work").rglob("*") if file.is_file()]
    assert len(files) > 5
    assert not [file for file in files if site.made.password.encode() in file.read_bytes()]


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
    with pytest.raises(Unavailable, match="did not answer, or no longer, while building"):
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
