"""Which process a run belongs to, and whether that process can still be running."""

from __future__ import annotations

import datetime as dt
import os
import socket
from collections.abc import Mapping

import psutil

from tailrace.lineage import run_tags

SILENCE = dt.timedelta(hours=1)
"""How long a run on another host may go without a heartbeat."""

CLOCK_STEP = 2.0
"""How many seconds a process's reported start time may shift when the system clock is corrected."""


def identity() -> dict[str, str]:
    """Tags that identify this process: host, process id, start time (seconds since 1970) and a heartbeat."""
    started = psutil.Process().create_time()
    return {
        run_tags.HOST: socket.gethostname(),
        run_tags.PID: str(os.getpid()),
        run_tags.STARTED: str(started),
        **heartbeat(),
    }


def here() -> str:
    """This process, by host and process id."""
    return f"{socket.gethostname()}, process {os.getpid()}"


def heartbeat() -> dict[str, str]:
    """A tag with the time, in UTC, of this process's latest heartbeat."""
    return {run_tags.HEARTBEAT: dt.datetime.now(dt.UTC).isoformat(timespec="seconds")}


def why_dead(tags: Mapping[str, str]) -> str | None:
    """Why the process that wrote these tags must have ended, as a sentence; None if it may still be running."""
    if not {
        run_tags.HOST,
        run_tags.PID,
        run_tags.STARTED,
        run_tags.HEARTBEAT,
    } <= set(tags):
        return None
    if tags[run_tags.HOST] == socket.gethostname():
        return _why_dead_here(int(tags[run_tags.PID]), float(tags[run_tags.STARTED]))
    silent = dt.datetime.now(dt.UTC) - dt.datetime.fromisoformat(tags[run_tags.HEARTBEAT])
    if silent > SILENCE:
        return f"Host {tags[run_tags.HOST]} has sent no heartbeat since {tags[run_tags.HEARTBEAT]}."
    return None


def _why_dead_here(pid: int, started: float) -> str | None:
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return f"Process {pid} was killed."
        if abs(process.create_time() - started) > CLOCK_STEP:
            return f"Process {pid} ended; another process has its number now."
    except psutil.NoSuchProcess:
        return f"Process {pid} no longer exists."
    return None
