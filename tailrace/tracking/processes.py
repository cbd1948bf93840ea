"""Which process a run belongs to, and whether that process can still be alive."""

from __future__ import annotations

import datetime as dt
import os
import socket
from collections.abc import Mapping

import psutil

HOST = "tailrace.host"
PID = "tailrace.pid"
STARTED = "tailrace.process_started"
HEARTBEAT = "tailrace.heartbeat"

SILENCE = dt.timedelta(hours=1)
"""How long a run on another host may go without a sign of life."""

CLOCK_STEP = 2.0
"""Seconds by which the system's account of a process's start moves when its clock is corrected."""


def identity() -> dict[str, str]:
    """Tags that name this process: host, process id and its start (seconds since 1970), and a heartbeat."""
    started = psutil.Process().create_time()
    return {HOST: socket.gethostname(), PID: str(os.getpid()), STARTED: str(started), **heartbeat()}


def here() -> str:
    """This process, by host and process id."""
    return f"{socket.gethostname()}, process {os.getpid()}"


def heartbeat() -> dict[str, str]:
    """A tag that says when this process last showed itself, in UTC."""
    return {HEARTBEAT: dt.datetime.now(dt.UTC).isoformat(timespec="seconds")}


def why_dead(tags: Mapping[str, str]) -> str | None:
    """Why the process that wrote these tags must be gone, as a sentence; None if it may be alive."""
    if not {HOST, PID, STARTED, HEARTBEAT} <= set(tags):
        return None
    if tags[HOST] == socket.gethostname():
        return _why_dead_here(int(tags[PID]), float(tags[STARTED]))
    silent = dt.datetime.now(dt.UTC) - dt.datetime.fromisoformat(tags[HEARTBEAT])
    if silent > SILENCE:
        return f"Host {tags[HOST]} has shown no sign of life since {tags[HEARTBEAT]}."
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
