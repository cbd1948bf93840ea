"""Which process a run belongs to, and whether that process can still be alive."""

from __future__ import annotations

import datetime as dt
import os
import socket
from collections.abc import Mapping

import psutil

from tailrace.lineage import run_tags

SILENCE = dt.timedelta(hours=1)
"""How long a run on another host may go without a sign of life."""

CLOCK_STEP = 2.0
"""Seconds by which the system's account of a process's start moves when its clock is corrected."""


def identity() -> dict[str, str]:
    """Tags that name this process: host, process id and its start (seconds since 1970), and a heartbeat."""
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
    """A tag that says when this process last showed itself, in UTC."""
    return {run_tags.HEARTBEAT: dt.datetime.now(dt.UTC).isoformat(timespec="seconds")}


def why_dead(tags: Mapping[str, str]) -> str | None:
    """Why the process that wrote these tags must be gone, as a sentence; None if it may be alive."""
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
        return f"Host {tags[run_tags.HOST]} has shown no sign of life since {tags[run_tags.HEARTBEAT]}."
    return None


def _why_dead_here(pid: int, started: float) -> str | None:
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return f"Process {pid} was killed."
        if abs(process.create_time() - started) > CLOCK_STEP:
            return f"Process {pid} ended; another one has its number now."
    except psutil.NoSuchProcess:
        return f"Process {pid} no longer exists."
    return None
