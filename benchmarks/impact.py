"""Seconds of `tailrace impact`: of this project, and of 50 pipelines whose dbt project has 500 models.

Each is the process that a person waits for, after an edit: of a comment, and of a column at the bottom of the graph.
The base is read once and then known. Aims: 5 seconds here, 10 seconds for 50 pipelines.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import check

AIM_HERE, AIM_MANY = 5.0, 10.0
EDITS = {
    "a comment": lambda sql: f"-- why\n{sql}",
    "a column": lambda sql: sql.replace("as amount", "+ 1 as amount").replace("temp as", "temp * 2 as"),
}


def run() -> list[str]:
    """Print the table; the aims that were missed."""
    from tailrace.settings import find_project

    columns = ("project", "edit", "first", "of the processor", "again", "aim")
    table = Table(*columns, title="tailrace impact, seconds", title_justify="left")
    missed = []
    with tempfile.TemporaryDirectory(prefix="tailrace-impact-") as scratch:
        copied, many = Path(scratch, "here"), Path(scratch, "many")
        check.copy(find_project().root, copied)
        check.generate(copied, many)
        for name, project, model, aim in (
            ("this one", copied, "stg_weather", AIM_HERE),
            (f"{check.PIPELINES} pipelines, {check.MODELS} models", many, "stg_000", AIM_MANY),
        ):
            _commit(project)
            # The last night, or the last check, has had dbt read the project.
            _seconds(project)
            file = next(project.glob(f"dbt/models/**/{model}.sql"))
            original = file.read_text()
            for edit, make in EDITS.items():
                file.write_text(make(original))
                (first, processor), (again, _) = _seconds(project), _seconds(project)
                table.add_row(name, edit, f"{first:.1f}", f"{processor:.1f}", f"{again:.1f}", f"{aim:g}")
                if first > aim:
                    missed.append(f"{name}: tailrace impact takes {first:.1f} s after {edit}; the aim is {aim:g} s")
    Console().print(table)
    return missed


def _commit(project: Path) -> None:
    (project / ".gitignore").write_text("home/\n__pycache__/\n")
    who = ("-c", "user.name=bench", "-c", "user.email=bench@localhost")
    for command in (("init", "-q", "-b", "main"), ("add", "."), ("commit", "-qm", "first")):
        subprocess.run(["git", *who, *command], cwd=project, check=True, capture_output=True)


def _seconds(project: Path) -> tuple[float, float]:
    """How long the command takes, by the clock and of the processor. Raises CalledProcessError if it fails."""
    settings = {"TAILRACE_PROJECT": str(project), "TAILRACE_HOME": str(project / "home")}
    command = [sys.executable, "-c", "from tailrace.commands.main import main; main()", "impact"]
    started, before = time.perf_counter(), os.times()
    done = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True)
    seconds, after = time.perf_counter() - started, os.times()
    if done.returncode:
        print(done.stderr[-4000:])
    done.check_returncode()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return seconds, used
