"""Checks that passed are not repeated while nothing that they depend on has changed.

A trial fit of every candidate and a trial run of every suite take seconds. What passed is written down under a digest
of everything that went into it: what was checked, the installed packages and this library's own files.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tailrace

_KEPT = 5_000


class PassedChecks:
    """The checks that passed, as files in a folder; None: nothing is written down, and every check is repeated."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def notes_of(self, *said: Any) -> list[str] | None:
        """The notes of a check that passed with the same content; None if none did."""
        if self._folder is None:
            return None
        try:
            return list(json.loads((self._folder / _key(said)).read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return None

    def passed(self, *said: Any, notes: Sequence[str] = ()) -> None:
        """Write down that a check with this content passed. It is only a shortcut, so a full disk is no error."""
        if self._folder is None:
            return
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            written = self._folder / f"{uuid.uuid4().hex}.partial"
            written.write_text(json.dumps(list(notes)), encoding="utf-8")
            written.replace(self._folder / _key(said))

    def prune(self) -> None:
        """Forget the oldest, if there are very many."""
        with contextlib.suppress(OSError):
            if self._folder is not None and len(files := list(self._folder.iterdir())) > _KEPT:
                for file in sorted(files, key=lambda each: each.stat().st_mtime)[: len(files) - _KEPT]:
                    file.unlink(missing_ok=True)


def _key(said: Sequence[Any]) -> str:
    content = json.dumps([_installation(), *said], sort_keys=True, default=repr)
    return hashlib.sha256(content.encode()).hexdigest()


@functools.cache
def _installation() -> list[Any]:
    """What is installed here: every package with its version, and when a file of this library last changed."""
    packages = set()
    for folder in sys.path:
        with contextlib.suppress(OSError):
            packages |= {name for name in os.listdir(folder or ".") if name.endswith(".dist-info")}  # noqa: PTH208
    own = Path(tailrace.__file__).parent
    changed = max(file.stat().st_mtime_ns for file in own.rglob("*") if file.suffix in (".py", ".j2"))
    return [sys.version, sorted(packages), str(own), changed]
