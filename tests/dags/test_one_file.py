"""All DAGs of a project from one file, and that one broken spec breaks only itself there too."""

from __future__ import annotations

import pytest

import tests.airflow_home  # noqa: F401  before Airflow is imported
from tailrace.errors import BadInput, SettingsError
from tailrace.settings import find_project
from tests.support import new_project

ONE_FILE = "import tailrace.airflow\n\nglobals().update(tailrace.airflow.dags())\n"
KINDS = ("train", "approve", "rollback", "predict", "monitor")


def ids(*pipelines):
    return {f"{kind}__{name}" for kind in KINDS for name in pipelines}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Two pipelines, in UTC."""
    good = (find_project().pipelines / "journal_mood.py").read_text()
    made = new_project(tmp_path, monkeypatch, 'zone = "UTC"\n')
    for name in ("first", "second"):
        (made.pipelines / f"{name}.py").write_text(good.replace('name="journal_mood"', f'name="{name}"'))
    made.dags.mkdir()
    (made.dags / "tailrace.py").write_text(ONE_FILE)
    return made


@pytest.fixture
def bag(project):
    """What Airflow reads from the project's DAG files, each DAG checked and stored as Airflow does it."""
    from airflow.dag_processing.dagbag import DagBag
    from airflow.serialization.serialized_objects import DagSerialization

    def read():
        found = DagBag(project.dags)
        assert not found.import_errors
        for dag in found.dags.values():
            DagSerialization.from_dict(DagSerialization.to_dict(dag))
        return found.dags

    return read


def test_one_file_makes_every_dag(bag):
    found = bag()
    assert set(found) == {"warehouse", "upkeep", *ids("first", "second")}
    assert found["predict__first"].doc_md.startswith("### first\n\nWill people find a text negative")


@pytest.mark.parametrize("text", ["SPEC = (", "from tailrace import PipelineSpec\nSPEC = 1\n", None])
def test_a_broken_spec_is_a_dag_that_says_why(project, bag, text):
    file = project.pipelines / "second.py"
    file.write_text(file.read_text().replace('"macro_f1"', '"makro_f1"') if text is None else text)
    found = bag()
    assert set(found) == {"warehouse", "upkeep", "broken__second", *ids("first")}
    broken = found["broken__second"]
    assert broken.is_paused_upon_creation is False, "a paused DAG tells nobody"
    said = "Did you mean 'macro_f1'?" if text is None else "second.py"
    assert said in broken.doc_md
    with pytest.raises(BadInput, match="Pipeline 'second' cannot be used:") as refused:
        broken.get_task("refuse").python_callable()
    assert said in str(refused.value)


def test_a_warehouse_in_no_certain_zone_breaks_only_itself(project, bag):
    project.file.write_text("")
    file = project.pipelines / "second.py"
    file.write_text(file.read_text().replace('timezone="UTC"', 'timezone="Asia/Tokyo"'))
    found = bag()
    assert set(found) == {"broken__warehouse", "upkeep", *ids("first", "second")}
    assert "several time zones (Asia/Tokyo, UTC)" in found["broken__warehouse"].doc_md


def test_wrong_settings_are_an_error_of_the_file(project):
    import tailrace.airflow

    project.file.write_text("zon = 'UTC'\n")
    with pytest.raises(SettingsError, match="zon is not a setting"):
        tailrace.airflow.dags()


@pytest.mark.parametrize(
    ("wanted", "made"),
    [("predict__first", ids("first")), ("warehouse", {"warehouse"}), ("upkeep", {"upkeep"}), ("nobody", set())],
)
def test_a_task_makes_only_its_own_pipelines_dags(project, monkeypatch, wanted, made):
    """Airflow names the task's DAG while it reads the file for it."""
    import tailrace.airflow

    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", wanted)
    (project.pipelines / "second.py").write_text("raise SystemExit")
    assert set(tailrace.airflow.dags()) == made


def test_an_airflow_without_the_plugin_runs_the_dags_too(project, monkeypatch, caplog):
    """Planted: `NightsFirst()` whatever Airflow knows: SerializationError, "Unknown priority strategy"."""
    from airflow import plugins_manager
    from airflow.serialization.serialized_objects import DagSerialization
    from airflow.task.priority_strategy import validate_and_load_priority_weight_strategy

    from tailrace.orchestration import priority
    from tailrace.orchestration.dags import pipeline_dags

    monkeypatch.setattr(plugins_manager, "get_priority_weight_strategy_plugins", dict)
    priority.plugin_is_loaded.cache_clear()
    try:
        predict = pipeline_dags("first", "")[3]
    finally:
        priority.plugin_is_loaded.cache_clear()
    DagSerialization.from_dict(DagSerialization.to_dict(predict))
    validate_and_load_priority_weight_strategy(predict.get_task("score").weight_rule)
    assert predict.get_task("score").weight_rule == "downstream"
    assert caplog.text.count("Airflow has not loaded Tailrace's plugin") == 1
