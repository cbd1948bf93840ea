"""What a running Spark job has done so far, told while it runs."""

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
"""Between two tellings of one stage, so that hours of work are not a line twice a second."""


@dataclass(frozen=True)
class Progress:
    """How far one stage of a job is."""

    stage: str
    """Its number and name, such as `stage 3: collect`."""
    done: int
    """Tasks that finished."""
    total: int
    failed: int
    """Attempts that failed; Spark tries them again."""

    def __str__(self) -> str:
        failures = f", {self.failed} failed and tried again" if self.failed else ""
        return f"{self.stage}: {self.done} of {self.total} tasks done{failures}"


@contextmanager
def told(spark: SparkSession, tell: Callable[[Progress], None]) -> Iterator[None]:
    """Tell how far the stages that run within are, from a thread of its own: at first sight, now and then, at the end.

    A stage shorter than a poll may go unsaid; one that was told of is told of to its end.
    A failure to look or to tell is no failure of the job: telling then ends.
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
        except Exception:  # noqa: BLE001 - the session may end in mid-look
            return


def _look(tracker: StatusTracker, stage: int) -> Progress | None:
    """None if Spark has forgotten the stage or not yet planned its tasks."""
    info = tracker.getStageInfo(stage)
    if info is None or info.numTasks == 0:
        return None
    return Progress(
        f"stage {stage}: {info.name.split(' at ')[0]}", info.numCompletedTasks, info.numTasks, info.numFailedTasks
    )
