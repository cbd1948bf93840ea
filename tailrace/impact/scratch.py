"""A folder for the work of one command, removed at its end; what a killed command left is removed by the next one."""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LOCK = ".in-use"


@contextmanager
def folder(parent: Path, prefix: str) -> Iterator[Path]:
    """A new folder in `parent`. Folders there that no living process holds are removed first."""
    parent.mkdir(parents=True, exist_ok=True)
    sweep(parent, prefix)
    made = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    with (made / _LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield made
        finally:
            shutil.rmtree(made, ignore_errors=True)


def sweep(parent: Path, prefix: str) -> list[Path]:
    """Remove the folders that a killed process left; returns them. The operating system has released their locks."""
    removed = []
    for left in sorted(parent.glob(f"{prefix}*")):
        try:
            with (left / _LOCK).open("r+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            continue  # just being made
        except OSError:
            continue  # in use
        shutil.rmtree(left, ignore_errors=True)
        removed.append(left)
    return removed
