"""What `tailrace check` finds in dbt's manifest: marts, columns, types, sources and champions that do not fit."""

from __future__ import annotations

import copy
import datetime as dt
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tailrace import settings
from tailrace.champions import promotions
from tailrace.champions.promotions import Promotion
from tailrace.contracts import DryRun
from tailrace.engines.memory import BaseRate, MemoryEngine
from tailrace.errors import LakeUnavailable, SpecError
from tailrace.operations.checks import check_all
from tailrace.operations.mart_checks import MartChecks
from tailrace.problems.binary import Binary
from tailrace.problems.multiclass import Multiclass
from tailrace.sources.landing import Landing
from tailrace.spec import PipelineSpec
from tailrace.spec.places import Places
from tailrace.warehouse.derived_columns import DerivedColumns
from tailrace.warehouse.duckdb import DuckDBWarehouse
from tailrace.warehouse.manifest import DbtManifest
from tests.stages.conftest import installation, memory
from tests.support import new_project

PROFILE = 'tiny: {target: duckdb, outputs: {duckdb: {type: duckdb, path: "x.duckdb"}}}'
PROJECT = "{name: tiny, profile: tiny, flags: {send_anonymous_usage_stats: false}}"
FEATURES = {
    "ds": "date",
    "customer": "text",
    "event_time": "timestamptz",
    "known_at": "timestamptz",
    "plan": "varchar(20)",
    "age": "float8",
    "visits": "integer",
}


def yml(name: str, columns: dict[str, str]) -> str:
    """A model with a contract, each column in a line of its own from the fifth on."""
    rows = "".join(f"      - {{name: {column}, data_type: {type_}}}\n" for column, type_ in columns.items())
    return f"models:\n  - name: {name}\n    config: {{contract: {{enforced: true}}}}\n    columns:\n{rows}"


OUTCOMES = """
{{ config(materialized='table') }}
{# a comment with {{ braces }} #}
with known as (select * from {{ ref('labels') }} {% if is_incremental() %} where ds > 1 {% endif %})
select known.*, now() as known_at from known where ds = '{{ env_var("DAY", "1") }}'
"""
FILES = {
    "dbt_project.yml": PROJECT,
    "profiles.yml": PROFILE,
    "models/churn_features.sql": f"select {', '.join(FEATURES)} from {{{{ source('landing', 'orders') }}}}",  # noqa: S608
    "models/churn_features.yml": yml("churn_features", FEATURES),
    "models/churn_outcomes.sql": OUTCOMES,
    "models/sources.yml": "sources:\n  - name: landing\n    tables:\n      - name: orders\n",
    "models/left_out.sql": "{{ config(enabled=false) }} select 1 as ds",
    "models/no_sql.yml": "\nmodels:\n  - name: no_sql\n",
    "seeds/labels.csv": "ds,customer,left\n",
}


@pytest.fixture(scope="module")
def parsed(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """What dbt itself says of a project of two marts."""
    folder = tmp_path_factory.mktemp("parsed")
    for name, content in FILES.items():
        (folder / "dbt" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "dbt" / name).write_text(content)
    return json.loads(warehouse(folder).parse().read_text()), folder / "dbt"


def warehouse(folder: Path) -> DuckDBWarehouse:
    return DuckDBWarehouse(
        folder / "w.duckdb", project=folder / "dbt", landing=Landing(str(folder / "landing"), {}), work=folder / "work"
    )


@pytest.fixture
def check(parsed, spec, tmp_path) -> Callable[..., tuple[list[str], list[str]]]:
    """The problems and notes of a spec's marts; `change` gets the manifest's content first."""

    def found(change: Callable[[dict[str, Any]], None] = lambda content: None, **fields: Any):
        content = copy.deepcopy(parsed[0])
        change(content)
        (tmp_path / "churn.py").write_text("SPEC = 1")
        checks = MartChecks(DbtManifest(content, parsed[1]), "dbt")
        result = checks.of(replace(spec, **fields), Places(tmp_path / "churn.py", "churn.py"))
        return list(result.problems), list(result.notes)

    return found


def model(content: dict[str, Any], name: str) -> dict[str, Any]:
    return content["nodes"][f"model.tiny.{name}"]


def test_marts_that_fit_have_no_problem(check):
    problems, notes = check()
    assert problems == []
    assert [note for note in notes if "unknown" in note] == []
    assert (
        "no test of churn_features says that its key (customer) is unique (dbt/models/churn_features.yml:2)" in notes[0]
    )


def test_a_feature_that_the_contract_does_not_have_is_named_with_its_nearest(check, spec):
    features = replace(spec.features, columns={**spec.features.columns, "vists": "numeric"})
    assert check(features=features)[0] == [
        "churn.py:1: churn: features.columns['vists'], and churn_features has no such column "
        "(dbt/models/churn_features.yml:2). Did you mean 'visits'?"
    ]


def test_columns_come_from_the_sql_where_no_contract_says_them(check, spec):
    problems, _ = check(outcome=replace(spec.outcome, label="lef"))
    assert problems == [
        "churn.py:1: churn: outcome.label is 'lef', and churn_outcomes has no such column "
        "(dbt/models/churn_outcomes.sql). Did you mean 'left'?"
    ]


@pytest.mark.parametrize(
    "sql",
    [
        "select {{ star() }} from {{ ref('labels') }}",
        "select *, {{ more() }} from {{ ref('labels') }}",
        "select * from {{ source('landing', 'orders') }}",
        "{% for x in y %} select 1 as ds {% endfor %}",
        "select ds {{ more() }} from {{ ref('labels') }}",
        "select ds, from where (",
        "select * from read_parquet('x')",
        "{{ whole() }}",
    ],
)
def test_columns_that_are_not_certain_are_a_note_and_no_problem(check, spec, sql):
    def change(content):
        model(content, "churn_outcomes")["raw_code"] = sql

    problems, notes = check(change, outcome=replace(spec.outcome, label="lef"))
    assert problems == []
    (note,) = [each for each in notes if "unknown" in each]
    assert note.startswith(
        "churn: the columns of churn_outcomes are unknown before it is built (dbt/models/churn_outco"
    )
    assert "add a contract" in note


@pytest.mark.parametrize(
    ("column", "type_", "said"),
    [
        (
            "visits",
            "text",
            "features.columns['visits'], which is text (dbt/models/churn_features.yml:11); the spec says",
        ),
        ("known_at", "timestamp", "features.known_at is 'known_at', which is timestamp"),
        ("known_at", "date", "must be a timestamp with a time zone: a date has no time of day"),
        ("event_time", "text", "it must be a timestamp with a time zone."),
        ("ds", "text", "the day is a date"),
        ("customer", "timestamp", "it has no time zone"),
    ],
)
def test_types_of_the_contract_that_do_not_fit_are_problems(check, column, type_, said):
    def change(content):
        model(content, "churn_features")["columns"][column]["data_type"] = type_

    (problem,) = check(change)[0]
    assert said in problem


def test_a_date_may_be_the_event_time(check):
    def change(content):
        model(content, "churn_features")["columns"]["event_time"]["data_type"] = "date"

    assert check(change)[0] == []


def test_types_without_a_contract_are_only_words(check):
    def change(content):
        features = model(content, "churn_features")
        features["columns"]["visits"]["data_type"] = "text"
        features["config"]["contract"]["enforced"] = False

    assert check(change)[0] == []


@pytest.mark.parametrize(
    ("problem", "type_", "right"),
    [
        (Binary(), "boolean", True),
        (Binary(), "integer", True),
        (Binary(), "float8", False),
        (Multiclass(classes=("a", "b", "c")), "text", True),
        (Multiclass(classes=("a", "b", "c")), "integer", False),
    ],
)
def test_the_label_has_a_type_that_answers_the_question(check, spec, problem, type_, right):
    def change(content):
        outcomes = model(content, "churn_outcomes")
        columns = {"ds": "date", "customer": "text", "known_at": "timestamptz", "left": type_}
        outcomes["columns"] = {name: {"name": name, "data_type": kind} for name, kind in columns.items()}
        outcomes["config"]["contract"] = {"enforced": True}

    problems, _ = check(change, outcome=replace(spec.outcome, problem=problem))
    assert (problems == []) is right
    assert right or problem.label_rule in problems[0]


def test_a_mart_that_is_not_there_is_told_by_why(check, spec):
    (first, second) = check(name="chrn")[0]
    assert "the dbt project dbt has no table 'chrn_features', which the features are read from. Did you mean " in first
    assert "'churn_outcomes'?" in second

    def renamed(content):
        content["disabled"]["model.tiny.churn_features"] = [content["nodes"].pop("model.tiny.churn_features")]
        content["nodes"].pop("model.tiny.churn_outcomes")

    (first, second) = check(renamed)[0]
    assert "the model 'churn_features' is disabled" in first


def test_another_days_column_and_a_mart_without_known_at(check, spec):
    features = replace(spec.features, day="age", known_at=None)
    first, second, third = check(features=features)[0]
    assert "features.day is 'age', and churn_features has a column 'ds' too" in first
    assert "features.known_at is None, and churn_features has a column 'known_at'" in second
    assert "features.day is 'age', which is float8" in third
    (missing,) = check(outcome=replace(spec.outcome, known_at="at"))[0]
    assert missing.endswith("If nothing says when a row became known, say known_at=None (docs/roles.md).")


def test_a_table_that_others_made_is_named_and_not_refused(check, spec):
    problems, notes = check(features=replace(spec.features, table="ml.customers"))
    assert problems == []
    assert notes[0] == (
        "churn: the dbt project dbt has no table 'ml.customers', which the features are read from. Whether the "
        "database has it, and with which columns, was not looked up."
    )
    (problem,) = check(features=replace(spec.features, table="ml.churn_features"))[0]
    assert "no table 'ml.churn_features', which the features are read from. Did you mean 'main.churn_f" in problem


def test_a_table_that_dbt_does_not_make_is_looked_up_where_that_is_possible(parsed, spec):
    there = pa.schema({"ds": pa.date32(), "customer": pa.string(), "event_time": pa.string(), "age": pa.float64()})
    own = replace(spec, features=replace(spec.features, table="ml.customers", columns={"agee": "numeric"}))
    manifest, places = DbtManifest(*parsed), Places(Path("churn.py"), "churn.py")

    def checked(look_up):
        return MartChecks(manifest, "dbt", look_up=look_up).of(own, places)

    found = checked({"ml.customers": there}.get)
    assert found.problems == (
        "churn.py: churn: features.known_at is 'known_at', and ml.customers has no such column. If nothing says when a "
        "row became known, say known_at=None (docs/roles.md).",
        "churn.py: churn: features.event_time is 'event_time', which is string in ml.customers; it must be a timestamp "
        "with a time zone.",
        "churn.py: churn: features.columns['agee'], and ml.customers has no such column. Did you mean 'age'?",
    )
    assert list(found.columns["features"]) == there.names
    (missing,) = checked({}.get).problems
    assert "neither the dbt project dbt nor the database has a table 'ml.customers'" in missing

    def away(table):
        raise LakeUnavailable("the server does not answer")

    found = checked(away)
    assert found.problems == ()
    assert "was not looked up in the database: the server does not answer" in found.notes[0]


def test_a_yml_without_sql_is_no_mart(parsed):
    manifest = DbtManifest(*parsed)
    assert manifest.find("no_sql") is None
    assert manifest.described_without_sql("no_sql") == "models/no_sql.yml:3"
    assert manifest.is_disabled("left_out")


def test_tables_are_found_by_every_name_that_dbt_has_for_them(parsed):
    manifest = DbtManifest(*parsed)
    for name in ("churn_features", "main.churn_features", "x.main.churn_features", "CHURN_features"):
        assert manifest.find(name).id == "model.tiny.churn_features"
    assert manifest.find("landing.orders").kind == "source"
    assert manifest.find("orders") is not None
    assert DerivedColumns(manifest).of(manifest.find("labels")) == ("ds", "customer", "left")


def test_sources_that_nobody_lands_are_problems(parsed):
    (problem,) = MartChecks(DbtManifest(*parsed), "dbt").of_sources(["order", "visits"])
    assert problem == (
        "dbt/models/sources.yml:4: source landing.orders: no source of this project lands a table of that name. "
        "Did you mean 'order'? The landed tables are order, visits."
    )
    assert MartChecks(DbtManifest(*parsed), "dbt").of_sources(["orders"]) == []


@pytest.mark.parametrize(
    ("dialect", "any_zone", "right"),
    [("duckdb", False, False), ("duckdb", True, True), ("bigquery", False, True), ("sqlite", False, True)],
)
def test_a_timestamp_without_zone_is_read_only_where_a_zone_is_stated(parsed, spec, dialect, any_zone, right):
    content = copy.deepcopy(parsed[0])
    content["metadata"]["adapter_type"] = dialect
    model(content, "churn_features")["columns"]["known_at"]["data_type"] = "timestamp"
    checks = MartChecks(DbtManifest(content, parsed[1]), "dbt", any_zone=any_zone)
    assert (checks.of(spec, Places(Path("churn.py"), "churn.py")).problems == ()) is right


def test_a_type_that_is_not_known_is_left_alone(check):
    def change(content):
        model(content, "churn_features")["columns"]["visits"]["data_type"] = "hyperloglog_of_ours"

    assert check(change)[0] == []


@dataclass
class Checked:
    """A project whose check runs on services in memory, except for dbt."""

    services: Any
    configured: settings.Settings

    def __call__(self) -> tuple[list[str], list[str]]:
        notes: list[str] = []
        try:
            check_all(self.services, notes.append, self.configured)
        except SpecError as error:
            return list(error.problems), notes
        return [], notes


SPEC_FILE = """
from tailrace import *
SPEC = PipelineSpec(
    name="churn",
    owner="growth",
    description="Who leaves?",
    features=Features(
        key=("customer",),
        event_time="event_time",
        columns={
            "plan": "categorical",
            "age": "numeric",
        },
    ),
    outcome=Outcome(label="left"),
    candidates=(Candidate("baseline", "sklearn.dummy.DummyClassifier"),),
    window=Window(days=6, holdout_days=2),
    schedule=Schedule(train=None, predict=None),
)
"""


class OnlyOnce(MemoryEngine):
    """Tries no candidate twice."""

    tried: tuple[str, ...] = ()

    def dry_run(self, specs):
        for spec in specs:
            assert spec.digest() not in self.tried, "it passed before"
            self.tried = (*self.tried, spec.digest())
        return DryRun(notes=("a note",))


@pytest.fixture
def project(parsed, spec, tmp_path, monkeypatch) -> Checked:
    made = new_project(tmp_path / "project", monkeypatch)
    monkeypatch.setenv("TAILRACE_HOME", str(tmp_path / "home"))
    (made.pipelines / "churn.py").write_text(SPEC_FILE)
    services = installation(memory, tmp_path, spec)
    services.warehouse = warehouse(parsed[1].parent)
    services.engine = OnlyOnce()
    return Checked(services, settings.load())


def test_all_problems_are_told_at_once_with_file_and_line(project, tmp_path):
    assert project() == ([], ["a note", *project()[1][1:]])
    file = tmp_path / "project" / "pipelines" / "churn.py"
    changed = SPEC_FILE.replace('"age": ', '"agee": ').replace('label="left"', 'label="lft"')
    file.write_text(changed.replace('"growth"', '" "'))
    (tmp_path / "expectations" / "churn" / "features.json").unlink()
    problems, _ = project()
    assert problems[0].startswith("pipelines/churn.py:5: churn: owner is empty")
    assert problems[-1].startswith("churn: expectations: There is no expectation suite 'churn/features'.")
    file.write_text(changed)
    assert [problem.split(",")[0] for problem in project()[0][:2]] == [
        "pipelines/churn.py:12: churn: features.columns['agee']",
        "pipelines/churn.py:15: churn: outcome.label is 'lft'",
    ]


def test_a_selection_that_builds_nothing_is_a_problem(project, monkeypatch):
    configured = project.configured
    use = replace(configured.use, warehouse="dbt")
    project.configured = replace(configured, use=use, dbt=replace(configured.dbt, select="tag:mll"))
    said = ["A build would build nothing: no node matches 'tag:mll'."]
    monkeypatch.setattr(project.services.warehouse, "selection_problem", lambda: said[0], raising=False)
    assert project()[0] == said
    said = [""]
    assert project()[0] == []


def test_a_suite_names_columns_that_the_mart_has(project, tmp_path):
    suite = tmp_path / "expectations" / "churn" / "outcomes.json"
    suite.write_text(suite.read_text().replace('"left"', '"lefft"'))
    (problem,) = project()[0]
    assert "there is no column 'lefft'. Did you mean 'left'?" in problem


def test_what_passed_is_not_tried_again_until_something_changes(project, tmp_path):
    first = project()
    assert project() == first
    file = tmp_path / "project" / "pipelines" / "churn.py"
    file.write_text(SPEC_FILE.replace('"baseline"', '"prior"'))
    project()
    assert len(project.services.engine.tried) == 2


def test_a_champion_that_needs_another_column_is_a_problem(project, spec: PipelineSpec, tmp_path):
    tracker, lake = project.services.tracker, project.services.lake
    run = tracker.start_run("churn", "as of", {"tailrace.day": "2013-01-01"})
    (tmp_path / "model").mkdir()
    BaseRate(Multiclass(classes=("a", "b")), (0.5, 0.5), {"age": "numeric", "vists": "numeric"}).save(
        tmp_path / "model"
    )
    rows = pa.table({"age": [1.0]})
    version = tracker.log_model(run, tmp_path / "model", rows, rows)
    decided = Promotion(
        pipeline="churn",
        version=version,
        effective_from=dt.date(2013, 1, 1),
        recorded_at=dt.datetime(2013, 1, 1, tzinfo=dt.UTC),
        training_run=run,
        decided_by="me",
        reason="first",
    )
    promotions.record(lake, decided)
    first, second = project()[0]
    assert first.startswith("pipelines/churn.py:10: churn: the champion, version 1 (from 2013-01-01 on), needs the fea")
    assert "'vists', which features.columns does not have." in first
    assert "was trained for Multiclass(classes=('a', 'b')), and the spec asks Binary()" in second
    project.services.tracker = None  # it was asked once
    assert len(project()[0]) == 2


def test_a_registry_that_does_not_answer_is_a_note(project, monkeypatch, tmp_path):
    decided = Promotion(
        pipeline="churn",
        version="1",
        effective_from=dt.date(2013, 1, 1),
        recorded_at=dt.datetime(2013, 1, 1, tzinfo=dt.UTC),
        training_run="r",
        decided_by="me",
        reason="first",
    )
    promotions.record(project.services.lake, decided)
    project.configured = replace(project.configured, tracking_uri="http://127.0.0.1:9")
    problems, notes = project()
    assert problems == []
    assert "the registry at http://127.0.0.1:9 does not answer" in notes[-1]


def test_a_dbt_project_that_does_not_parse_is_one_of_the_problems(project, tmp_path):
    folder = tmp_path / "broken"
    for name in ("dbt_project.yml", "profiles.yml"):
        (folder / "dbt").mkdir(parents=True, exist_ok=True)
        (folder / "dbt" / name).write_text(FILES[name])
    (folder / "dbt" / "models").mkdir()
    (folder / "dbt" / "models" / "a.sql").write_text("select * from {{ ref('nowhere') }}")
    project.services.warehouse = warehouse(folder)
    (problem,) = project()[0]
    assert "dbt cannot read the project" in problem
    assert "models/a.sql" in problem
    assert "nowhere" in problem
