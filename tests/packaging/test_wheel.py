"""What the wheel holds, and that it works where there is no checkout and no project."""

from __future__ import annotations

import configparser
import zipfile
from pathlib import Path

import pytest

from tests.packaging.installing import REPOSITORY, Installed, borrowing_environment, project_without_library

OLD_LOADER = "pipelines/engines/pyfunc.py"
"""The loader module that models of earlier releases name."""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Installed:
    return borrowing_environment(tmp_path_factory.mktemp("environment") / "venv", wheel)


def test_it_holds_the_whole_library_and_nothing_of_the_project(wheel: Path) -> None:
    library = {
        path.relative_to(REPOSITORY).as_posix()
        for path in (REPOSITORY / "tailrace").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
        entry_points = configparser.ConfigParser()
        entry_points.read_string(
            next(archive.read(name).decode() for name in archive.namelist() if name.endswith("entry_points.txt"))
        )
    assert packed == (library - {"tailrace/engines/old_pyfunc.py"}) | {OLD_LOADER}
    assert {"tailrace/py.typed", "tailrace/pages/static/pages.js"} <= packed
    assert entry_points["airflow.plugins"]["tailrace"] == "tailrace.pages.plugin:TailracePlugin"
    assert "tailrace" in entry_points["console_scripts"]


def test_it_works_in_an_empty_folder(installed: Installed, tmp_path: Path) -> None:
    origin, *path = installed.printed("import sys, tailrace; print(tailrace.__file__, *sys.path, sep='\\n')", tmp_path)
    assert Path(origin).is_relative_to(installed.folder)
    assert str(REPOSITORY) not in path
    helped = installed.run("tailrace", "--help", cwd=tmp_path)
    assert helped.returncode == 0, helped.stderr
    assert "warehouse" in helped.stdout
    assert not list(tmp_path.iterdir()), "help writes nothing"


def test_a_command_outside_a_project_says_what_to_do(installed: Installed, tmp_path: Path) -> None:
    refused = installed.run("tailrace", "list", cwd=tmp_path)
    assert refused.returncode == 2
    assert "tailrace.toml" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_the_loader_of_earlier_models_lies_beside_the_projects_own_pipelines(
    installed: Installed, tmp_path: Path
) -> None:
    """Whichever of the two folders Python finds first, and without a project."""
    project = project_without_library(tmp_path / "project")
    code = "import pipelines.engines.pyfunc as loader; print(loader.__file__, loader._load_pyfunc.__module__)"
    for folder in (tmp_path, project):
        assert installed.printed(code, folder) == [
            f"{next(installed.folder.rglob(OLD_LOADER))} tailrace.engines.pyfunc"
        ]
    both = "import pipelines.flight_delay as ours, pipelines.engines.pyfunc; print(ours.__file__)"
    assert installed.printed(both, project) == [str(project / "pipelines" / "flight_delay.py")]
