"""Seconds to parse all DAG files, with 1 and with 50 pipelines.

The peer is a DAG file that builds one empty DAG. What Airflow costs once in each process that reads DAG files is not
part of either time: importing it, and loading its plugins, which it does when it stores the first DAG, whoever wrote
it. Aim: all DAG files of 50 pipelines under 1 second.
"""

from __future__ import annotations

import importlib
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from benchmarks import child

if TYPE_CHECKING:
    from tailrace.settings import Project

AIM_SECONDS = 1.0
AIM_PIPELINES = 50


def run(sizes: list[int], rounds: int) -> list[str]:
    """Print the table; the aims that were missed."""
    table = Table("pipelines", "files", "seconds", "of the peer's", title="Parsing DAG files", title_justify="left")
    missed = []
    for size in sizes:
        measured = [child.call("benchmarks.parse", size) for _ in range(rounds)]
        seconds = statistics.median(one["seconds"] for one in measured)
        peer = statistics.median(one["peer"] for one in measured)
        table.add_row(str(size), str(size + 1), f"{seconds:.3f}", f"{seconds / peer:.1f}")
        if size == AIM_PIPELINES and seconds > AIM_SECONDS:
            missed.append(f"parsing {size} pipelines takes {seconds:.2f} s; the aim is {AIM_SECONDS:g} s")
    Console().print(table)
    return missed


def measure(pipelines: str) -> dict[str, float]:
    """Parse a generated dags folder of that many pipelines once; Airflow and its plugins are loaded before."""
    import airflow.sdk  # noqa: F401  what every DAG file costs, once per process
    from airflow import plugins_manager

    from tailrace.settings import find_project

    plugins_manager.get_operator_extra_links()  # as Airflow does when it stores a DAG
    original = find_project()
    with tempfile.TemporaryDirectory(prefix="tailrace-parse-") as scratch:
        project = new_project(Path(scratch))
        dags = project.dags
        dags.mkdir()
        for number in range(int(pipelines)):
            copy_of(original.pipelines / "flight_delay.py", project.pipelines, f"copy_{number:02d}")
            copy_of(original.dags / "flight_delay.py", dags, f"copy_{number:02d}")
        copy_of(original.dags / "warehouse.py", dags, "warehouse")
        (dags / "peer.py").write_text("from airflow.sdk import DAG\nwith DAG('peer', schedule=None):\n    pass\n")
        peer = sum(_parse(dags / "peer.py") for _ in range(int(pipelines) + 1))
        files = [path for path in sorted(dags.glob("*.py")) if path.stem != "peer"]
        return {"seconds": sum(_parse(path) for path in files), "peer": peer}


def new_project(folder: Path) -> Project:
    """A project without pipelines, which is this process's from now on."""
    from tailrace.settings import Project

    made = Project(folder)
    made.pipelines.mkdir(parents=True)
    made.file.write_text("")
    os.environ["TAILRACE_PROJECT"] = str(folder)
    return made


def copy_of(source: Path, folder: Path, name: str) -> None:
    """Write a file of the pipeline flight_delay to the folder, as that of a pipeline of this name."""
    (folder / f"{name}.py").write_text(source.read_text().replace("flight_delay", name))


def _parse(path: Path) -> float:
    """Seconds to run one DAG file."""
    spec = importlib.util.spec_from_file_location(f"parsed_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    started = time.perf_counter()
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    return time.perf_counter() - started
