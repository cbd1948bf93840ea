"""`tailrace new pipeline` and `tailrace explore` on DuckDB: a table of others becomes a trained model."""

from __future__ import annotations

import datetime as dt
import re
import shutil
from pathlib import Path

import adbc_driver_postgresql.dbapi
import duckdb
import pytest
from typer.testing import CliRunner

from tailrace.commands import main
from tailrace.errors import BadInput, UpstreamMissing
from tailrace.profiling import drawings
from tailrace.spec import registry
from tests.dirty_table import FIRST, dirty_table
from tests.postgres import postgres
from tests.support import mlflow_database

__all__ = ["postgres"]

REPOSITORY = Path(__file__).parents[2]
DAYS = 6
LAST = FIRST + dt.timedelta(days=DAYS - 1)
NEW = ["new", "pipeline", "returns", "--from-table", "ml.orders", "--key", "order_id", "--time", "ordered_at"]
COLUMNS = ["order_id", "order_day", "ordered_at", "returned", "price", "channel", "select", "Mixed Case", "constant"]
PROFILE = 'theirs: {{target: dev, outputs: {{dev: {{type: duckdb, path: "{0}", threads: 1}}}}}}\n'


def run(*arguments):
    done = CliRunner().invoke(main.app, [str(each) for each in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def refused(*arguments):
    return CliRunner().invoke(main.app, list(arguments)).exception


def fill(database, rows, table):
    database.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(str(database)) as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.execute(f"create schema {table.partition('.')[0]}")
        connection.register("given", rows)
        connection.execute(f"create table {table} as from given")


@pytest.fixture(scope="module")
def made_shop(tmp_path_factory):
    """A new project on a dbt project of others, whose database has a table that they fill."""
    folder = tmp_path_factory.mktemp("shop")
    (folder / "theirs").mkdir()
    (folder / "theirs/dbt_project.yml").write_text("name: theirs\nversion: 1.0.0\nconfig-version: 2\nprofile: theirs\n")
    (folder / "theirs/profiles.yml").write_text(PROFILE.format(folder / "warehouse.duckdb"))
    fill(folder / "warehouse.duckdb", dirty_table(480, DAYS).select(COLUMNS), "ml.orders")
    made = folder / "shop"
    run("init", "shop", "--dbt-project", folder / "theirs", "--folder", made)
    return made, mlflow_database(folder)


@pytest.fixture
def shop(made_shop, monkeypatch):
    folder, tracking_uri = made_shop
    settings = {"PROJECT": str(folder), "ENV": "dev", "DBT_BUILD": "elsewhere", "TRACKING_URI": tracking_uri}
    for name, value in settings.items():
        monkeypatch.setenv(f"TAILRACE_{name}", value)
    monkeypatch.setattr(drawings, "MOST_COLUMNS", 1)
    return folder


def files(folder):
    every = (path for path in folder.rglob("*") if path.is_file() and ".tailrace" not in path.parts)
    return {path.relative_to(folder).as_posix() for path in every}


def test_nothing_is_written_where_something_is_wrong(shop):
    before = files(shop)
    error = refused("new", "pipeline", "Returns", "--zone", "Europe/Berln", "--label", "x")
    assert isinstance(error, BadInput)
    for said in (
        "Did you mean 'returns'",
        "Did you mean 'Europe/Berlin'",
        "--from-table is missing",
        "--key is missing",
    ):
        assert said in str(error)
    error = refused(*NEW, "--label", "returnd", "--known-at", "price")
    assert "--label: ml.orders has no column 'returnd'. Did you mean 'returned'?" in str(error)
    assert "--known-at: column 'price' is DOUBLE, and it must be a moment" in str(error)
    assert "there is nothing to predict" in str(refused(*NEW, "--label", "constant"))
    assert "lies outside of this project" in str(refused(*NEW, "--label", "returned", "--marts"))
    assert isinstance(refused("explore", "ml.oders"), UpstreamMissing)
    assert files(shop) == before


def test_the_table_as_a_page(shop):
    assert "All 480 rows of 6 days were read." in run("explore", "ml.orders", "--label", "returned")
    page = (shop / ".tailrace/dev/explore/ml.orders.html").read_text()
    assert page.count("data:image/png") > 3
    assert "<script" not in page


def test_from_a_table_of_others_to_a_trained_model(shop):
    before = files(shop)
    assert "Would be written" in run(*NEW, "--label", "returned", "--dry-run")
    assert files(shop) == before
    assert "it is always 'x'" in run(*NEW, "--label", "returned", "--owner", "shop")
    suites = {f"expectations/returns/{part}.json" for part in ("features", "outcomes", "predictions")}
    assert files(shop) - before == {"pipelines/returns.py", "tests/test_returns.py", *suites}
    assert "There is a pipeline 'returns' already" in str(refused(*NEW, "--label", "returned"))
    assert re.search(r"ok +yes", run("check"))
    run("warehouse", "--pipeline", "returns", "--date", FIRST, "--to", LAST)
    assert re.search(r"candidate +(logistic|boosted_trees)", run("train", "returns", "--date", LAST, "--trials", 2))


def test_marts_in_this_repository(tmp_path, monkeypatch):
    """Here the marts grow by days, their contracts are enforced, and each pipeline has a DAG file of its own."""
    root = tmp_path / "copy"
    for part in ("dbt", "dags"):
        shutil.copytree(REPOSITORY / part, root / part, ignore=shutil.ignore_patterns("__pycache__", "target", "logs"))
    (root / "pipelines").mkdir()
    (root / "tailrace.toml").write_text('zone = "America/New_York"\n')
    monkeypatch.setenv("TAILRACE_PROJECT", str(root))
    rows = dirty_table(200, DAYS).select(COLUMNS).rename_columns(["order_id", "ds", *COLUMNS[2:]])
    fill(root / ".tailrace/warehouse.duckdb", rows, "tailrace.orders")
    run(*["tailrace.orders" if each == "ml.orders" else each for each in NEW], "--label", "returned")
    assert (root / "dags/returns.py").is_file()
    marts = root / "dbt/models/marts"
    assert '{{ built_days("ds") }}' in (marts / "returns_features.sql").read_text()
    assert "quote: true" in (marts / "returns_features.yml").read_text()
    tests = "data_tests: [not_null, {unique: {config: {where: __built_days__}}}]"
    assert tests in (marts / "returns_features.yml").read_text()
    assert '{{ built_days("ds + 1") }}' in (marts / "returns_outcomes.sql").read_text()
    assert registry.get("returns").schedule.timezone == "America/New_York"
    assert re.search(r"marts +2 of 2", run("check"))


@pytest.mark.services
@pytest.mark.services
def test_a_table_in_postgres_is_explored_and_proposed(postgres, tmp_path, monkeypatch):
    database = postgres.database("orders_of_others")
    output = f"{{type: postgres, host: 127.0.0.1, port: {database.port}, user: {database.user}, dbname: {database.name}"
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "dbt_project.yml").write_text("name: theirs\nprofile: theirs\n")
    (theirs / "profiles.yml").write_text(
        f"theirs: {{target: dev, outputs: {{dev: {output}, password: {database.password}, schema: public}}}}}}\n"
    )
    rows = dirty_table(480, DAYS).select(COLUMNS)
    with adbc_driver_postgresql.dbapi.connect(database.full_url) as connection, connection.cursor() as cursor:
        cursor.execute("create schema ml")
        cursor.adbc_ingest("orders", rows, mode="create", db_schema_name="ml")
        connection.commit()
    run("init", "shop", "--dbt-project", theirs, "--folder", tmp_path / "shop")
    monkeypatch.setenv("TAILRACE_PROJECT", str(tmp_path / "shop"))
    monkeypatch.setattr(drawings, "MOST_COLUMNS", 1)
    assert "All 480 rows of 6 days were read." in run("explore", "ml.orders", "--label", "returned")
    assert "it is always 'x'" in run(*NEW, "--label", "returned")
    assert registry.get("returns").features.table == "ml.orders"
    assert "makes none of the pipelines' marts: ml.orders. If something else fills them, set" in str(refused("check"))
    monkeypatch.setenv("TAILRACE_DBT_BUILD", "elsewhere")
    assert re.search(r"ok +yes", run("check"))
