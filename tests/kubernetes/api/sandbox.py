"""How a container's process is kept apart: by mount namespaces where the machine allows them, else by other paths."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

_LAUNCHER = Path(__file__).with_name("container.sh")
_CHECKOUT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Mount:
    source: Path
    target: str


@dataclass(frozen=True)
class Launch:
    argv: list[str]
    env: dict[str, str]
    cwd: Path


def isolation() -> list[str]:
    """The command prefix that gives a process mounts of its own; empty where this machine allows none."""
    for options in (["--mount"], ["--user", "--map-root-user", "--mount"]):
        prefix = ["unshare", *options, "--propagation", "private"]
        probe = [*prefix, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
        if shutil.which("unshare") and subprocess.run(probe, capture_output=True).returncode == 0:
            return prefix
    return []


def launch(
    prefix: list[str],
    folder: Path,
    argv: list[str],
    env: Mapping[str, str],
    mounts: list[Mount],
    keep: list[Path],
    workdir: str,
) -> Launch:
    """How to start `argv` with the mounts in place, as `folder` describes them."""
    if not prefix:
        # Deepest first: /tmp must not be rewritten inside /tmp/conf.
        deepest = sorted(mounts, key=lambda mount: -len(mount.target))
        # The image's own files stand where this checkout is, wherever that is.
        kept = [*keep, _CHECKOUT]
        cwd = Path(_rewritten(workdir, deepest, kept)) if workdir else folder
        return Launch(
            [_rewritten(word, deepest, kept) for word in argv],
            {name: _rewritten(value, deepest, kept) for name, value in env.items()},
            cwd if cwd.is_dir() else folder,
        )
    shallowest = sorted(mounts, key=lambda mount: len(mount.target))
    (folder / "mounts").write_text("".join(f"{mount.source}\t{mount.target}\n" for mount in shallowest))
    (folder / "keep").write_text("".join(f"{path}\n" for path in keep))
    (folder / "overlays").mkdir()
    described = [str(folder / name) for name in ("mounts", "keep", "overlays")]
    return Launch([*prefix, str(_LAUNCHER), *described, workdir or str(folder), *argv], dict(env), folder)


def signal_session(session: int, number: signal.Signals) -> None:
    """Sends a signal to every process of a session; Python workers of Spark have process groups of their own."""
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == session:
                process.send_signal(number)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue


def session_memory(session: int) -> int:
    """Bytes of resident memory that a session's processes hold together."""
    held = 0
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == session:
                held += process.memory_info().rss
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return held


def _rewritten(text: str, mounts: list[Mount], kept: list[Path]) -> str:
    if any(text == str(path) or text.startswith(f"{path}/") for path in kept):
        return text
    for mount in mounts:
        if text == mount.target or text.startswith(mount.target.rstrip("/") + "/"):
            return str(mount.source) + text[len(mount.target.rstrip("/")) :]
    return text
