"""A warehouse that somebody else's dbt project fills, from its build to a published day, on DuckDB and on Postgres."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tailrace.contracts import ModelResult
from tailrace.engines.local import LocalEngine
from tailrace.errors import BadInput, BuildFailed, SettingsError, UpstreamMissing, ValidationFailed
from tailrace.reporting import model_report
from tailrace.sources.landing import Landing
from tailrace.spec import Candidate, Gate, PipelineSpec, SearchBudget, Window
from tailrace.stages import build, snapshot, validate
from tailrace.validation.memory import MemoryValidator
from tailrace.warehouse.adapter import DbtAdapter
from tailrace.warehouse.dbt_project import DbtProjectWarehouse
from tests import shop
from tests.postgres import Server, postgres  # noqa: F401 - a fixture
from tests.shop import FEATURES, FIRST, LAST, OUTCOMES, ROWS_A_DAY
from tests.stages.conftest import Installation, Loop, memory, write_suites

NEXT = LAST + dt.timedelta(days=1)


@dataclass
class Shop:
    """Somebody else's project and database; `run` runs a statement there."""

    folder: Path
    profiles: Path
    run: Callable[[str], Any]

    def warehouse(self, spec: PipelineSpec, *, target: str = "prod", **options: Any) -> DbtProjectWarehouse:
        work = self.folder.parent / "work"
        return DbtProjectWarehouse(
            DbtAdapter(self.folder, work=work, profiles=self.profiles, target=target),
            marts=lambda: spec.marts,
            landing=Landing(str(self.folder.parent / "landing"), {}),
            work=work,
            **options,
        )


@pytest.fixture
def spec(spec: PipelineSpec) -> PipelineSpec:
    """A pipeline on the marts of the shop."""
    return replace(
        spec,
        features=replace(spec.features, table=FEATURES, day="signup_date", known_at=None),
        outcome=replace(spec.outcome, table=OUTCOMES, day="left_on", known_at=None, label="is_gone"),
        candidates=(Candidate("prior", "sklearn.dummy.DummyClassifier", {"strategy": "prior"}),),
        window=Window(days=7, holdout_days=2),
        search=SearchBudget(trials=1),
        gate=Gate(metric="roc_auc", floor=0.1),
    )


@pytest.fixture(scope="module")
def on_duckdb(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    folder = tmp_path_factory.mktemp("shop")
    file = folder / "shop.duckdb"
    profiles = shop.write(folder / "shop", {"type": "duckdb", "path": str(file)})

    def run(statement: str) -> list[Any]:
        with duckdb.connect(file) as connection:
            return connection.execute(statement).fetchall()

    for statement in shop.statements():
        run(statement)
    return Shop(folder / "shop", profiles, run)


@pytest.fixture(scope="module")
def on_postgres(tmp_path_factory: pytest.TempPathFactory, postgres: Server) -> Iterator[Shop]:  # noqa: F811
    folder, database = tmp_path_factory.mktemp("shop"), postgres.database("shop_of_others")
    output = {"type": "postgres", "host": "127.0.0.1", "port": database.port, "user": database.user, "schema": "public"}
    output |= {"password": database.password, "dbname": database.name}
    profiles = shop.write(folder / "shop", output)
    for statement in (*shop.statements(), f"grant usage on schema raw to {database.user}"):
        postgres.execute(statement, database.name)
    postgres.execute(f"grant select on raw.visits to {database.user}", database.name)
    yield Shop(folder / "shop", profiles, lambda statement: postgres.execute(statement, database.name))
    postgres.execute(f"drop database {database.name} with (force)")
    postgres.execute(f"drop role {database.user}")


@pytest.fixture(params=["duckdb", "postgres"])
def place(request: pytest.FixtureRequest) -> Shop:
    return request.getfixturevalue(f"on_{request.param}")


def night_at(place: Shop, spec: PipelineSpec, folder: Path, **options: Any) -> Loop:
    lake, tracker = memory(folder)
    suites = write_suites(folder / "expectations", spec)
    outcomes = suites / "churn" / "outcomes.json"
    outcomes.write_text(outcomes.read_text().replace('"left"', '"is_gone"'))
    warehouse = place.warehouse(spec, **options)
    return Loop(Installation(lake, tracker, MemoryValidator(suites), warehouse, LocalEngine(), {}), spec)


def files(folder: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_night_from_somebody_elses_project_to_a_published_day(
    place: Shop, spec: PipelineSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_report, "write", lambda folder, judged: None)
    before = files(place.folder)
    night = night_at(place, spec, tmp_path)

    built = build.run(night.services, FIRST, LAST)
    assert {node.name: node.rows for node in built.nodes if node.kind == "model"} == {
        "stg_visits": None,
        "customers": ROWS_A_DAY * 9,
        "leavers": ROWS_A_DAY * 8,
    }, "what no pipeline needs is not built"
    assert {node.kind for node in built.nodes} == {"model", "test"}
    assert place.run("select count(*) from ml.customer_features") == [(ROWS_A_DAY * 9,)]
    assert files(place.folder) == before, "nothing is written into their project"

    assert validate.run(night.work(), FIRST, LAST).rows == {"features": ROWS_A_DAY * 9, "outcomes": ROWS_A_DAY * 8}
    night.take(FIRST, LAST)
    night.challenge(LAST)
    assert night.predict(LAST).rows == ROWS_A_DAY
    assert set(night.published(LAST)["ds"].to_pylist()) == {LAST}


def test_marts_that_are_built_elsewhere_are_waited_for(on_duckdb: Shop, spec: PipelineSpec) -> None:
    on_duckdb.warehouse(spec).build(FIRST, LAST)
    heard: list[ModelResult] = []
    waiting = on_duckdb.warehouse(spec, wait=dt.timedelta(seconds=0.1), poll_seconds=0.05)
    assert [node.status for node in waiting.build(FIRST, LAST, on_node=heard.append)] == ["success", "success"]
    assert [node.name for node in heard] == [FEATURES, OUTCOMES]

    later = LAST + dt.timedelta(days=2)
    with pytest.raises(UpstreamMissing) as missing:
        waiting.build(later, later)
    said = str(missing.value)
    assert said.startswith(f"Marts that are built elsewhere do not have {later} in duckdb (target 'prod'")
    assert f"  - ml.customer_features: its newest day is {LAST}; signup_date {later} is needed\n" in said
    assert f"  - ml.leavers: its newest day is {NEXT}; left_on {later} is needed\n" in said
    assert "Waited for up to 0.001667 minutes ([dbt] wait_minutes)." in said

    # some are there: only the pipelines that need the others are stopped
    with pytest.raises(BuildFailed, match=r"ml\.customer_features: its newest day is 2024-03-09"):
        waiting.build(NEXT, NEXT, on_node=heard.append)
    assert [(node.name, node.status) for node in heard[2:]] == [(FEATURES, "error"), (OUTCOMES, "success")]
    # a mart that has the day only when it is over
    back = replace(spec, features=replace(spec.features, days_back=1))
    assert not on_duckdb.warehouse(back, wait=dt.timedelta()).awaited(NEXT).late
    # both parts in one table: each by its own day
    one = replace(spec, outcome=replace(spec.outcome, table=FEATURES, day="signup_date", days_back=1))
    assert list(on_duckdb.warehouse(one, wait=dt.timedelta()).awaited(NEXT).late) == [FEATURES]
    assert not on_duckdb.warehouse(one, wait=dt.timedelta()).awaited(LAST).late
    gone = replace(spec, features=replace(spec.features, table="ml.custommer_features"))
    (sentence,) = on_duckdb.warehouse(gone, wait=dt.timedelta()).awaited(LAST).late.values()
    assert "Did you mean 'ml.customer_features'?" in sentence


def test_a_day_without_rows_is_taken_if_it_was_built_and_may_be_empty(
    on_duckdb: Shop, spec: PipelineSpec, tmp_path: Path
) -> None:
    night = night_at(on_duckdb, spec, tmp_path)
    night.services.warehouse.build(FIRST, LAST)
    night.take(LAST, LAST)
    warehouse = night.services.warehouse
    assert warehouse.built(NEXT) == {OUTCOMES: ""}, "it has the day, though no build of that day is recorded"
    with pytest.raises(UpstreamMissing, match=r"no rows of ml\.customer_features .* no record that this day was built"):
        snapshot.run(night.work(), NEXT)
    warehouse.build(NEXT, NEXT)
    with pytest.raises(ValidationFailed, match=r"ml\.customer_features of 2024-03-10 were built and have no rows"):
        snapshot.run(night.work(), NEXT)
    assert on_duckdb.warehouse(spec).built(NEXT) == {FEATURES: "", OUTCOMES: ""}


@contextmanager
def changed(file: Path, old: str, new: str) -> Iterator[None]:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    try:
        yield
    finally:
        file.write_text(text)


def test_a_failed_build_is_resumed_and_names_what_failed(on_duckdb: Shop, spec: PipelineSpec) -> None:
    leavers = on_duckdb.folder / "models" / "marts" / "leavers.sql"
    with changed(leavers, "is_gone", "is_gone, no_such_column"), pytest.raises(BuildFailed, match="model leavers: "):
        on_duckdb.warehouse(spec).build(LAST, LAST, "night")
    kept = {
        node.name: node.kept for node in on_duckdb.warehouse(spec).build(LAST, LAST, "night") if node.kind == "model"
    }
    assert kept == {"stg_visits": True, "customers": True, "leavers": False}


@pytest.mark.parametrize(
    ("select", "models"),
    [
        ("+tag:nightly customers", {"stg_visits", "leavers", "customers"}),
        ("selector:nightly", {"stg_visits", "leavers"}),
    ],
)
def test_the_setting_says_what_is_built(on_duckdb: Shop, spec: PipelineSpec, select: str, models: set[str]) -> None:
    (on_duckdb.folder / "selectors.yml").write_text("selectors: [{name: nightly, definition: '+tag:nightly'}]")
    tagged = "{{ config(tags='nightly') }} select"
    with changed(on_duckdb.folder / "models" / "marts" / "leavers.sql", "select", tagged):
        results = on_duckdb.warehouse(spec, select=select).build(LAST, LAST)
    assert {node.name for node in results if node.kind == "model"} == models


def test_what_cannot_be_built_is_said_and_nothing_is_done(on_duckdb: Shop, spec: PipelineSpec) -> None:
    before = on_duckdb.run("select table_name from information_schema.tables order by 1")
    (on_duckdb.folder / "selectors.yml").write_text("selectors: [{name: nightly, definition: 'tag:nightly'}]")
    for select, said in (
        ("tag:mll", r"matches \[dbt\] select, which is 'tag:mll'\. Correct it"),
        ("source:crm", r"matches \[dbt\] select, which is 'source:crm'\. Correct it"),
        ("selector:nightl", r"selector 'nightl', and .* no such selector\. Did you mean 'nightly'\?"),
        (
            "tagg:ml",
            r"understand .* which is 'tagg:ml': 'tagg' is not a valid method name\. Correct it\.$",
        ),
    ):
        warehouse = on_duckdb.warehouse(spec, select=select)
        assert re.search(said, warehouse.selection_problem()), "tailrace check says it before the night"
        with pytest.raises(BuildFailed, match=f"^dbt built nothing for {LAST}: .*{said}"):
            warehouse.build(LAST, LAST)
    assert not on_duckdb.warehouse(spec, select="+customers").selection_problem()
    assert not on_duckdb.warehouse(spec, select="tag:mll", wait=dt.timedelta()).selection_problem()
    nameless = replace(
        spec, features=replace(spec.features, table="ml.custommers"), outcome=replace(spec.outcome, table="ml.nothing")
    )
    with pytest.raises(
        BadInput, match=r"makes none of the pipelines' marts: ml\.custommers, ml\.nothing\. Did you mean 'customers'"
    ):
        on_duckdb.warehouse(nameless).build(LAST, LAST)
    with pytest.raises(SettingsError, match=r"no target of the profile 'shop' named 'prd' .* Did you mean 'prod'"):
        on_duckdb.warehouse(spec, target="prd").build(LAST, LAST)
    with (
        changed(on_duckdb.folder / "models" / "marts" / "leavers.sql", "ref('", "ref('no_"),
        pytest.raises(BuildFailed, match=r"dbt cannot read the project .* depends on a node named 'no_stg_visits'"),
    ):
        on_duckdb.warehouse(spec).build(LAST, LAST)
    assert on_duckdb.run("select table_name from information_schema.tables order by 1") == before


def test_a_role_without_a_right_is_said_without_its_password(on_postgres: Shop, spec: PipelineSpec) -> None:
    on_postgres.run("revoke usage on schema raw from shop_of_others")
    try:
        with pytest.raises(
            SettingsError, match=r"permission denied for schema raw.* the rights of this target"
        ) as refused:
            on_postgres.warehouse(spec).build(LAST, LAST)
    finally:
        on_postgres.run("grant usage on schema raw to shop_of_others")
    assert "secret-of-" not in str(refused.value)
