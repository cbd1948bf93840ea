"""Reports the progress of a running Spark job."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark import StatusTracker
    from pyspark.sql import SparkSession

POLL_SECONDS = 0.5
TELL_SECONDS = 10.0
"""Seconds between two reports about one stage, so that hours of work do not log a line twice a second."""


@dataclass(frozen=True)
class Progress:
    """The progress of one stage of a job."""

    stage: str
    """Its number and name, such as `stage 3: collect`."""
    done: int
    """Tasks that have finished."""
    total: int
    failed: int
    """Failed attempts; Spark repeats them."""

    def __str__(self) -> str:
        failures = f", {self.failed} failed and were repeated" if self.failed else ""
        return f"{self.stage}: {self.done} of {self.total} tasks done{failures}"


@contextmanager
def progress_reports(spark: SparkSession, tell: Callable[[Progress], None]) -> Iterator[None]:
    """Report the progress of the stages in the block, from another thread: at the start, at intervals, at the end.

    A stage shorter than a poll may not be reported; a stage that was reported once is reported up to its end.
    An error while reading or reporting progress does not fail the job: only the reports stop.
    """
    finished = threading.Event()
    watcher = threading.Thread(target=_watch, args=(spark, tell, finished), name="spark-progress", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        finished.set()
        watcher.join(timeout=10)


def _watch(spark: SparkSession, tell: Callable[[Progress], None], finished: threading.Event) -> None:
    tracker = spark.sparkContext.statusTracker()
    known: dict[int, Progress] = {}
    told_at: dict[int, float] = {}
    more = True
    while more:
        more = not finished.wait(POLL_SECONDS)
        try:
            running = list(tracker.getActiveStageIds())
            for stage in sorted({*running, *(stage for stage, last in known.items() if last.done < last.total)}):
                now = _look(tracker, stage)
                if now is None or now == known.get(stage):
                    continue
                known[stage] = now
                if now.done == now.total or time.monotonic() - told_at.get(stage, 0.0) >= TELL_SECONDS:
                    told_at[stage] = time.monotonic()
                    tell(now)
        except Exception:  # noqa: BLE001 - the session may end during the call
            return


def _look(tracker: StatusTracker, stage: int) -> Progress | None:
    """None if Spark has forgotten the stage or has not planned its tasks yet."""
    info = tracker.getStageInfo(stage)
    if info is None or info.numTasks == 0:
        return None
    return Progress(
        f"stage {stage}: {info.name.split(' at ')[0]}", info.numCompletedTasks, info.numTasks, info.numFailedTasks
    )
