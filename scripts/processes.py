"""Processes that start and end together. A file records them, so that another command can end them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

STARTER = "starter"
GRACE_SECONDS = 15
CLOCK_SECONDS = 10
"""How far the start time of a process may move when the machine's clock is set."""
STOP_SECONDS = 90
"""How long the command that started the processes may take to end them."""


@dataclass(frozen=True)
class Entry:
    """A recorded process, with its start time: another process may have its number now."""

    name: str
    pid: int
    created: float
    ends_by: int = signal.SIGTERM

    def process(self) -> psutil.Process | None:
        """The process; None if it has ended."""
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(self.pid)
            if abs(process.create_time() - self.created) < CLOCK_SECONDS and process.status() != psutil.STATUS_ZOMBIE:
                return process
        return None


class Processes:
    """Started processes, each with a log of its own in the folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.claimed = False
        self._started: dict[str, tuple[subprocess.Popen[bytes], signal.Signals]] = {}

    def claim(self) -> None:
        """Record the process that starts the others. Raises RuntimeError if a recorded process still runs."""
        still = [entry.name for entry in recorded(self.folder) if entry.pid != os.getpid() and entry.process()]
        if still:
            raise RuntimeError(f"it already runs ({', '.join(still)}; see {self.folder}); end it with: make down")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._write([_entry(STARTER, os.getpid())])
        self.claimed = True

    def run(self, name: str, command: Sequence[str | Path], environment: Mapping[str, str]) -> None:
        """Run a command to its end. Raises RuntimeError naming its log."""
        with self.log(name).open("wb") as log:
            done = subprocess.run(command, env=environment, stdout=log, stderr=log)
        if done.returncode:
            raise RuntimeError(f"{name} failed; its log is {self.log(name)}")

    def spawn(self, name: str, command: Sequence[str | Path], environment: Mapping[str, str]) -> None:
        """Start a command in the background."""
        with self.log(name).open("wb") as log:
            process = subprocess.Popen(
                command,
                env=environment,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self.add(name, process)

    def add(self, name: str, process: subprocess.Popen[bytes], ends_by: signal.Signals = signal.SIGTERM) -> None:
        """Record a process that leads its own session, and the signal that ends it properly."""
        self._started[name] = (process, ends_by)
        self._write([*recorded(self.folder), _entry(name, process.pid, ends_by)])

    def stop(self) -> None:
        """End all processes with their children. The process that was started first ends last."""
        started = list(self._started.values())
        self._started.clear()
        for group in (started[1:], started[:1]):
            for process, ends_by in group:
                _signal_group(process.pid, ends_by)
            for process, _ in group:
                try:
                    process.wait(timeout=GRACE_SECONDS)
                except subprocess.TimeoutExpired:
                    _signal_group(process.pid, signal.SIGKILL)
                    process.wait()
        _register(self.folder).unlink(missing_ok=True)
        self.claimed = False

    def pid(self, name: str) -> int:
        """The main process of the name."""
        return self._started[name][0].pid

    def ended(self, name: str) -> bool:
        """Whether the main process of the name has ended."""
        return self._started[name][0].poll() is not None

    def wait_for_exit(self) -> str:
        """Block until one of the processes ends; its name."""
        while True:
            for name, (process, _) in self._started.items():
                if process.poll() is not None:
                    return name
            time.sleep(1)

    def memory_mib(self) -> float:
        """Proportional set size of all processes and their children now, in MiB."""
        total = 0
        for process, _ in tuple(self._started.values()):
            with contextlib.suppress(psutil.Error):
                family = psutil.Process(process.pid)
                for member in (family, *family.children(recursive=True)):
                    with contextlib.suppress(psutil.Error):
                        total += member.memory_full_info().pss
        return total / 2**20

    def log(self, name: str) -> Path:
        """The log of a process."""
        return self.folder / f"{name}.log"

    def _write(self, entries: Iterable[Entry]) -> None:
        write_private(_register(self.folder), json.dumps([asdict(entry) for entry in entries]))


def recorded(folder: Path) -> list[Entry]:
    """The processes that were started with logs in the folder, in that order. Some may have ended."""
    with contextlib.suppress(FileNotFoundError):
        return [Entry(**each) for each in json.loads(_register(folder).read_text())]
    return []


def end(folder: Path) -> list[str]:
    """End what another command started: the command if it runs, else the processes it left. Returns their names."""
    running = [entry for entry in recorded(folder) if entry.process()]
    for starter in running:
        if starter.name == STARTER:
            os.kill(starter.pid, signal.SIGTERM)
            _ended(running, STOP_SECONDS)
    # The process that was started first ends last, because the others need it to end properly.
    for entry in reversed(running):
        if entry.process():
            _signal_group(entry.pid, signal.Signals(entry.ends_by))
        if not _ended([entry], GRACE_SECONDS):
            _signal_group(entry.pid, signal.SIGKILL)
    _register(folder).unlink(missing_ok=True)
    return [entry.name for entry in running]


def _ended(entries: Sequence[Entry], seconds: float) -> bool:
    """Whether all of them end within that time."""
    deadline = time.monotonic() + seconds
    while any(entry.process() for entry in entries):
        if time.monotonic() > deadline:
            return False
        # They are not children of this process, so the system does not report their end.
        time.sleep(0.1)
    return True


def write_private(path: Path, text: str) -> None:
    """Replace a file by one that only its owner can ever read."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    new.replace(path)


def _entry(name: str, pid: int, ends_by: int = signal.SIGTERM) -> Entry:
    return Entry(name, pid, psutil.Process(pid).create_time(), ends_by)


def _register(folder: Path) -> Path:
    return folder / "processes.json"


def _signal_group(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, number)
