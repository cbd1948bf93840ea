"""A broken mart stops its own pipeline: the others are loaded, in the same command."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import pyarrow as pa
import pytest

from tailrace.commands import options
from tailrace.commands.main import call
from tailrace.contracts import ModelResult
from tailrace.errors import BuildFailed, PipelinesStopped, UpstreamMissing, rebuilt
from tailrace.stages import build
from tailrace.warehouse.memory import MemoryWarehouse
from tests.stages.conftest import FIRST, LAST, NO_ARRIVALS, installation, memory, tables, write_suites
from tests.support import new_project

SAID = "Binder Error: no column plann"


@pytest.fixture
def services(tmp_path, spec, monkeypatch):
    """An installation in memory with two pipelines of two teams, and a table that none of them needs."""
    project = new_project(tmp_path, monkeypatch)
    monkeypatch.setenv("TAILRACE_HOME", str(tmp_path / "home"))
    services = installation(memory, tmp_path, spec)
    services.settings = SimpleNamespace(sources=(), openlineage_url="")
    for each in (spec, replace(spec, name="loyalty")):
        text = f"from tailrace import *\nfrom tailrace.spec import *\nSPEC = {each!r}\n"
        (project.pipelines / f"{each.name}.py").write_text(text)
        services.tables |= tables(each)
    write_suites(tmp_path / "expectations", replace(spec, name="loyalty"))
    services.tables["report"] = services.tables["churn_features"]
    monkeypatch.setattr(options, "open_services", lambda engine, on_spark: services)
    rebuild(services)
    return services


def rebuild(services, *broken: str) -> None:
    empty = {LAST: NO_ARRIVALS}
    services.warehouse = MemoryWarehouse(services.tables, empty=empty, broken=dict.fromkeys(broken, SAID))


def command(capsys, *arguments: str):
    """The exit code, the rows of the table, and what was said."""
    with pytest.raises(SystemExit) as ended:
        call(["warehouse", "--date", str(LAST), "--json", *arguments])
    said = capsys.readouterr()
    return ended.value.code, {row["pipeline"]: row["state"] for row in json.loads(said.out or "[]")}, said.err


def loaded(services):
    return [name for name in ("churn", "loyalty") if services.lake.days(f"features/{name}")]


def test_the_others_are_loaded_and_the_failed_one_says_which_node_stopped_it(services, capsys):
    rebuild(services, "churn_outcomes")
    code, states, said = command(capsys)
    assert (code, states) == (1, {"churn": "stopped", "loyalty": "loaded"})
    assert f"model churn_outcomes: {SAID}" in said
    assert "Stopped: churn.\nNot stopped: loyalty." in said
    assert loaded(services) == ["loyalty"]
    assert set(services.warehouse.built(LAST)) == {"churn_features", "loyalty_features", "loyalty_outcomes", "report"}

    rebuild(services)
    assert command(capsys, "--pipeline", "churn")[:2] == (0, {"churn": "loaded"})
    assert loaded(services) == ["churn", "loyalty"]


def test_what_no_pipeline_needs_stops_none_and_is_a_failure_all_the_same(services, capsys):
    rebuild(services, "report")
    code, states, said = command(capsys)
    assert (code, states) == (1, {"churn": "loaded", "loyalty": "loaded"})
    assert f"model report: {SAID}\nNo pipeline needs what failed.\nNot stopped: churn, loyalty." in said


def test_all_failures_are_said_at_the_end(services, capsys):
    """One pipeline fails in dbt and one by its expectations."""
    visits = services.tables["loyalty_features"].schema.get_field_index("visits")
    rows = services.tables["loyalty_features"]
    services.tables["loyalty_features"] = rows.set_column(visits, "visits", pa.array([-1] * rows.num_rows, pa.int64()))
    rebuild(services, "churn_features")
    code, states, said = command(capsys)
    assert (code, states) == (1, {"churn": "stopped", "loyalty": "stopped"})
    assert f"model churn_features: {SAID}" in said
    assert "loyalty/features" in said.partition(SAID)[2]
    assert loaded(services) == []


def test_only_what_the_named_pipelines_need_is_built(services, capsys):
    assert command(capsys, "--pipeline", "loyalty", "--pipeline", "churn")[:2] == (
        0,
        {"loyalty": "loaded", "churn": "loaded"},
    )
    assert set(services.warehouse.built(LAST)) == {
        f"{name}_{part}" for name in ("churn", "loyalty") for part in ("features", "outcomes")
    }
    rebuild(services, "churn_features")
    assert command(capsys, "loyalty")[:2] == (0, {"loyalty": "loaded"})
    assert set(services.warehouse.built(LAST)) == {"loyalty_features", "loyalty_outcomes"}


def test_an_unknown_pipeline_is_refused_by_its_nearest_name(services, capsys):
    code, _, said = command(capsys, "--pipeline", "loyality")
    assert code == 2
    assert "There is no pipeline 'loyality'. Did you mean 'loyalty'?" in said
    assert services.warehouse.built(LAST) is None


def test_each_stopped_pipeline_has_a_sentence_of_its_own(services):
    rebuild(services, "churn_outcomes", "report")
    with pytest.raises(PipelinesStopped) as raised:
        build.run(services, LAST, LAST)
    assert dict(raised.value.stopped) == {
        "churn": f"churn: its tables were not built as they should be. dbt failed on model churn_outcomes ({SAID}). "
        "Nothing of these days was taken into the lake. Correct that, and build the days again; in Airflow, clear what "
        "failed in this run."
    }
    assert rebuilt("PipelinesStopped", "said by a pod").stopped == {}


@pytest.mark.parametrize("status", ["skipped", "success", None])
def test_a_build_that_ended_before_its_nodes_stops_all(services, status):
    class Unreadable(MemoryWarehouse):
        def build(self, first, last, run_id, on_node, **options):
            if status:
                on_node(ModelResult(name="stg_visits", kind="model", status=status, seconds=0.1))
            raise BuildFailed("dbt did not start")

    services.warehouse = Unreadable({})
    with pytest.raises(BuildFailed) as raised:
        build.run(services, LAST, LAST)
    assert not isinstance(raised.value, PipelinesStopped)


# ---------------------------------------------------------------- extracts that are missing

READS = {"calls": ["churn_features"], "clicks": ["loyalty_features", "report"], "nobodys": [], "all": ["x"]}


def lacks(services, *tables: str, reads=READS) -> None:
    services.warehouse = MemoryWarehouse(
        services.tables, empty={LAST: NO_ARRIVALS}, gaps=dict.fromkeys(tables, (LAST,)), reads=reads
    )


def test_a_missing_extract_stops_the_pipelines_that_read_it(services, capsys):
    lacks(services, "calls")
    code, states, said = command(capsys)
    assert (code, states) == (1, {"churn": "stopped", "loyalty": "loaded"})
    assert (
        f"Extracts are missing, so what is made from them was not built:\n  - calls: {LAST} not landed\n"
        f"Land them, and run these days again: tailrace warehouse --date {LAST}.\n"
        "Stopped: churn.\nNot stopped: loyalty." in said
    )
    assert loaded(services) == ["loyalty"]
    assert "churn_features" not in services.warehouse.built(LAST)

    lacks(services, "calls")
    assert command(capsys, "--pipeline", "loyalty")[:2] == (0, {"loyalty": "loaded"}), "it does not read it"
    lacks(services, "nobodys")
    code, states, said = command(capsys)
    assert (code, set(states.values())) == (1, {"loaded"})
    assert "No pipeline needs what failed.\nNot stopped: churn, loyalty." in said


def test_extracts_that_all_pipelines_read_stop_the_night_as_before(services, capsys):
    for reads in (READS, {}):
        lacks(services, "calls", "clicks", reads=reads)
        code, _, said = command(capsys)
        assert (code, "calls, clicks were not landed." in said) == (1, True), "the warehouse's own words"
    with pytest.raises(UpstreamMissing, match=r"^The source has no calls\.$"):
        build.run(services, LAST, LAST, not_landed=dict.fromkeys(["calls", "clicks"], "The source has no calls."))


def test_a_failed_node_and_a_missing_extract_stop_each_its_own(services):
    broken = {"report": SAID, "loyalty_outcomes": SAID}
    services.warehouse = MemoryWarehouse(services.tables, broken=broken, reads=READS)
    with pytest.raises(PipelinesStopped) as raised:
        build.run(services, LAST, LAST, not_landed={"nobodys": "It is late."})
    assert list(raised.value.stopped) == ["loyalty"]
    services.warehouse = MemoryWarehouse(services.tables, broken=broken, gaps={"calls": [FIRST]}, reads=READS)
    with pytest.raises(PipelinesStopped) as raised:
        build.run(services, LAST, LAST)
    assert raised.value.stopped["churn"] == (
        f"churn: its tables were not built, as extracts are missing: calls ({FIRST} not landed). Nothing of these days "
        f"was taken into the lake. Land them, and run these days again: tailrace warehouse --date {FIRST} --to {LAST}; "
        "in Airflow, clear what failed in this run."
    )
    assert "dbt failed on model loyalty_outcomes" in raised.value.stopped["loyalty"]
