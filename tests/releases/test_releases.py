"""What earlier releases wrote works on without a step by hand: a lake, a registry, a warehouse and a landing zone.

`0.1.0.tar.xz` is the home folder of an installation of release 0.1.0, without Data Docs and scratch files. It was at
/tmp/tailrace-0.1.0. The release built and published 2013-01-01 to 2013-01-11 from one flight in eight, trained
`flight_delay.py` (the release's example with a window of 6 days) as of 2013-01-10, promoted it, and predicted the days
2013-01-10 and 2013-01-11.
"""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tailrace.commands.main import app
from tailrace.lineage import run_tags
from tailrace.settings import find_project
from tailrace.spec import registry
from tailrace.wiring import open_services

# isort: split
import mlflow.pyfunc

HERE = Path(__file__).parent
PUBLISHED = ("2013-01-10", "2013-01-11")
NEXT = "2013-01-12"
SOURCE = """
import pyarrow as pa

from pipelines.sources.nycflights13 import NycFlights


class OneInEight(NycFlights):
    def extract(self, table, day):
        rows = super().extract(table, day)
        if "flight" not in rows.column_names:
            return rows
        return rows.filter(pa.array([number % 8 == 0 for number in rows["flight"].to_pylist()], pa.bool_()))
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """The old installation's files in another folder, and a project with its pipeline."""
    root = tmp_path_factory.mktemp("release")
    with tarfile.open(HERE / "0.1.0.tar.xz") as archive:
        archive.extractall(root / "home", filter="data")
    example, project = find_project().root, root / "project"
    project.mkdir()
    for part in ("dbt", "expectations"):
        shutil.copytree(example / part, project / part, ignore=shutil.ignore_patterns("target", "logs"))
    shutil.copytree(example / "pipelines" / "sources", project / "pipelines" / "sources")
    shutil.copy(HERE / "flight_delay.py", project / "pipelines")
    (project / "pipelines" / "sources" / "one_in_eight.py").write_text(SOURCE)
    (project / "tailrace.toml").write_text(
        (example / "tailrace.toml").read_text().replace("nycflights13:NycFlights", "one_in_eight:OneInEight")
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("TAILRACE_PROJECT", str(project))
        patched.setenv("TAILRACE_HOME", str(root / "home"))
        yield root / "home"


def tailrace(*arguments: str) -> list[dict]:
    """The rows that a command prints."""
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert done.exit_code == 0, f"{done.output}\n{done.stderr}\n{done.exception!r}"
    return json.loads(done.stdout)


def test_the_champion_and_its_days_are_known(home):
    assert [(row["champion"], row["last day"]) for row in tailrace("list")] == [("1", PUBLISHED[-1])]
    rows = tailrace("predictions", "flight_delay", "--date", PUBLISHED[0], "--to", PUBLISHED[1])
    assert [(row["day"], row["rows"], row["model"], row["outcomes"]) for row in rows] == [
        (PUBLISHED[0], 71, "1", 68),
        (PUBLISHED[1], 71, "1", 0),
    ]


def test_published_days_are_recognised(home):
    rows = tailrace("predict", "flight_delay", "--date", PUBLISHED[0], "--to", PUBLISHED[1])
    assert [row["unchanged"] for row in rows] == [True, True]


def test_the_spec_has_the_digest_that_was_recorded_and_the_run_is_reproduced(home):
    (record,) = open_services().tracker.runs("flight_delay")
    assert record.tags[run_tags.SPEC_DIGEST] == registry.get("flight_delay").digest()
    rows = tailrace("reproduce", record.training_run)
    different = [row["what"] for row in rows["rows"] if not row["same"]]
    # the code and the lock are those of the new release
    assert set(different) <= {"code", "lock"}


def test_mlflows_own_tools_load_the_registered_model(home):
    services = open_services()
    services.tracker.versions("flight_delay")
    (folder,) = (home / "artifacts").rglob("MLmodel")
    loaded = mlflow.pyfunc.load_model(str(folder.parent))
    assert loaded.metadata.flavors["python_function"]["loader_module"] == "pipelines.engines.pyfunc"
    assert loaded.predict(loaded.input_example).shape == (5,)


def test_the_next_night_is_built_scored_and_published_by_the_old_champion(home):
    tailrace("warehouse", "--date", NEXT)
    (row,) = tailrace("predict", "flight_delay", "--date", NEXT)
    assert (row["model"], row["unchanged"]) == ("1", False)
    assert row["rows"] > 0


def test_upkeep_loses_nothing(home):
    tailrace("maintain", "flight_delay")
    assert [row["rows"] for row in tailrace("predictions", "flight_delay", "--date", PUBLISHED[0])] == [71]
