"""A Spark driver killed between staging and publishing: the day stays as it was, the rerun publishes it once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tailrace.engines.local import LocalEngine
from tailrace.lake.delta import DeltaLake
from tailrace.spec import LABEL
from tailrace.training.arrow_rows import ArrowRows
from tests.faults.spark_driver import DAY, SPEC
from tests.support import churn_rows, keyed

pytestmark = pytest.mark.spark


def driver(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.faults.spark_driver", *map(str, arguments)]
    return subprocess.Popen(
        command,
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )


def test_the_day_stays_as_it_was_and_the_rerun_publishes_it_once(tmp_path: Path) -> None:
    lake, model = DeltaLake(str(tmp_path / "lake")), tmp_path / "model"
    table, labels = churn_rows(1500)
    lake.publish(lake.stage("features", DAY, "r", keyed(table, DAY).to_reader()), {})
    held = ArrowRows(table.append_column(LABEL, labels), tuple(SPEC.features.columns))
    trained = LocalEngine(cores=1).train(SPEC, held, seed=1, trials=1, on_trial=lambda trial: None)
    model.mkdir()
    trained.model.save(model)
    scan = lake.scan(lake.pin("features"))
    lake.publish(
        LocalEngine(cores=1).score(
            SPEC, trained.model, version="1", rows=scan, target=lake.target("predictions", DAY, "old")
        ),
        {},
    )
    before = lake.read("predictions").read_all()

    killed = driver(lake.tables.root, model, "night", "kill")
    assert killed.stdout is not None
    with killed:
        assert killed.stdout.read() == "staged\n"
    assert killed.returncode == -signal.SIGKILL
    orphans = [p for p in psutil.process_iter() if _in_session(p.pid, killed.pid)]
    _, alive = psutil.wait_procs(orphans, timeout=30)
    assert not alive, "the JVM and its workers end with the driver"
    assert lake.read("predictions").read_all().equals(before)
    assert len(lake.commits("predictions", DAY)) == 1

    with driver(lake.tables.root, model, "night") as again:
        again.communicate()
    assert again.returncode == 0
    rows = lake.read("predictions").read_all()
    assert set(rows["model_version"].to_pylist()) == {"2"}
    assert rows.num_rows == before.num_rows
    assert len(lake.commits("predictions", DAY)) == 2


def _in_session(pid: int, session: int) -> bool:
    try:
        return os.getsid(pid) == session
    except ProcessLookupError:
        return False
