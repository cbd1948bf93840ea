"""Seconds of `tailrace check`: of this project, and of 50 pipelines whose dbt project has 500 models.

The first check fits every candidate in small, tries every suite on made-up rows, and has dbt parse the project. What
passed is written down, so the next check repeats only what changed. Both are shown, each as the process that a person
waits for. The peer of the first check is `dbt parse --no-partial-parse` of the same project: dbt alone takes so long.
Aims, for every check but the first: 3 seconds here, 10 seconds for 50 pipelines.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

PIPELINES, MODELS = 50, 500
AIM_HERE, AIM_MANY = 3.0, 10.0
_STAGING = "select * from {{{{ ref('stg_{below:03d}') }}}}\n"
_FEATURE = '            "temperature_f": "numeric",\n'


def run() -> list[str]:
    """Print the table; the aims that were missed."""
    from tailrace.settings import find_project

    table = Table(
        *("project", "dbt parse", "first", "times", "again", "after an edit", "aim"),
        title="tailrace check, seconds",
        title_justify="left",
    )
    missed = []
    here = find_project().root
    with tempfile.TemporaryDirectory(prefix="tailrace-check-") as scratch:
        copied, many = Path(scratch, "here"), Path(scratch, "many")
        copy(here, copied)
        generate(copied, many)
        for name, project, aim in (
            (f"this one: {len(list(copied.glob('pipelines/*.py')))} pipelines", copied, AIM_HERE),
            (f"{PIPELINES} pipelines, {MODELS} models", many, AIM_MANY),
        ):
            parse, first, again = _dbt_parse(project), _seconds(project), _seconds(project)
            edited = next(project.glob("dbt/models/marts/*_features.sql"))
            edited.write_text(edited.read_text() + "\n")
            after = _seconds(project)
            shown = (f"{seconds:.1f}" for seconds in (parse, first, first / parse, again, after))
            table.add_row(name, *shown, f"{aim:g}")
            missed += [
                f"{name}: tailrace check takes {seconds:.1f} s {when}; the aim is {aim:g} s"
                for when, seconds in (("again", again), ("after an edit", after))
                if seconds > aim
            ]
    Console().print(table)
    return missed


def _seconds(project: Path) -> float:
    """How long the command takes. Raises CalledProcessError with what it said if it finds a problem."""
    settings = {"TAILRACE_PROJECT": str(project), "TAILRACE_HOME": str(project / "home")}
    command = [sys.executable, "-c", "from tailrace.commands.main import main; main()", "check"]
    started = time.perf_counter()
    done = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True)
    seconds = time.perf_counter() - started
    if done.returncode:
        print(done.stderr[-4000:])
    done.check_returncode()
    return seconds


def _dbt_parse(project: Path) -> float:
    """How long dbt takes to parse the project, as a process."""
    folder = project / "parsed-by-dbt"
    settings = {"TAILRACE_WAREHOUSE": str(folder / "warehouse.duckdb"), "TAILRACE_LANDING": str(folder)}
    command = [
        str(Path(sys.executable).parent / "dbt"),
        "--no-send-anonymous-usage-stats",
        "parse",
        "--no-partial-parse",
    ]
    command += ["--profiles-dir", ".", "--target-path", str(folder / "target"), "--log-path", str(folder / "logs")]
    started = time.perf_counter()
    subprocess.run(command, cwd=project / "dbt", env={**os.environ, **settings}, capture_output=True, check=True)
    return time.perf_counter() - started


def copy(here: Path, copied: Path) -> None:
    """This project's files, without what was built."""
    for folder in ("pipelines", "dbt", "expectations"):
        shutil.copytree(here / folder, copied / folder, ignore=shutil.ignore_patterns("__pycache__", "target"))
    shutil.copy(here / "tailrace.toml", copied)


def generate(here: Path, many: Path) -> None:
    """Pipelines that are copies of flight_delay, each with another set of features, above models that are made up."""
    for folder in ("pipelines", "expectations", "dbt/models/marts", "dbt/models/staging"):
        (many / folder).mkdir(parents=True)
    (many / "tailrace.toml").write_text('zone = "America/New_York"\n')
    for folder in ("macros", "tests/generic"):
        shutil.copytree(here / "dbt" / folder, many / "dbt" / folder)
    for file in ("dbt_project.yml", "profiles.yml"):
        shutil.copy(here / "dbt" / file, many / "dbt" / file)
    spec = (here / "pipelines" / "flight_delay.py").read_text()
    for number in range(PIPELINES):
        name = f"copy_{number:02d}"
        own = spec.replace("flight_delay", name).replace(
            _FEATURE, f'            "extra_{number}": "numeric",\n{_FEATURE}'
        )
        (many / "pipelines" / f"{name}.py").write_text(own)
        (many / "expectations" / name).mkdir()
        for suite in (here / "expectations" / "flight_delay").glob("*.json"):
            (many / "expectations" / name / suite.name).write_text(suite.read_text().replace("flight_delay", name))
        for part in ("features", "outcomes"):
            said = (here / "dbt" / "models" / "marts" / f"flight_delay_{part}.yml").read_text()
            said = said.split("unit_tests:")[0].replace("flight_delay", name).rstrip() + "\n"
            if part == "features":
                said += f"      - name: extra_{number}\n        data_type: float8\n"
            marts = many / "dbt" / "models" / "marts"
            (marts / f"{name}_{part}.yml").write_text(said)
            (marts / f"{name}_{part}.sql").write_text(_STAGING.format(below=number))
    for number in range(MODELS - 2 * PIPELINES):
        below = number - PIPELINES
        sql = _STAGING.format(below=below) if below >= 0 else f"select date '2020-01-01' as ds, {number} as amount\n"
        (many / "dbt" / "models" / "staging" / f"stg_{number:03d}.sql").write_text(sql)
