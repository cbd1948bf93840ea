"""The latest version of tables on local disk, cheaply enough to ask before every page."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from tailrace.lake import log

_YOUNG_NS = 2_000_000_000


class LocalHeads:
    """Finds the newest commit in a table's log without reading it, and without listing it where that can be avoided.

    The folder is looked at again only if its modification time changed, or is so recent that another commit may still
    arrive within the same tick of the clock. Commits have no gaps between their numbers, so the newest one is found
    upwards from the one that was the newest before, or from the one that the last checkpoint names.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._known: dict[str, tuple[int, str | None]] = {}

    def version(self, table: str) -> str | None:
        """The number of the newest commit; None if there is none. Raises OSError."""
        folder = self._root / table / log.FOLDER
        try:
            changed = folder.stat().st_mtime_ns
            looked_at, newest = self._known.get(table, (-1, None))
            if looked_at != changed:
                newest = _newest(folder, newest)
        except (FileNotFoundError, NotADirectoryError):
            return None
        # It is not trusted while the folder is young, but looked for from there.
        settled = time.time_ns() - changed > _YOUNG_NS
        self._known[table] = (changed if settled else -1, newest)
        return newest


def _newest(folder: Path, before: str | None) -> str | None:
    """`before` is the newest commit that was found earlier, if any."""
    known = int(before) if before is not None else _checkpointed(folder)
    if known is None or not _commit(folder, known).exists():
        return _listed(folder)
    while _commit(folder, known + 1).exists():
        known += 1
    return str(known)


def _commit(folder: Path, number: int) -> Path:
    return folder / f"{number:020}.json"


def _checkpointed(folder: Path) -> int | None:
    """The version of the newest checkpoint, as a hint for readers says; None if there is no such hint."""
    try:
        return int(json.loads((folder / "_last_checkpoint").read_bytes())["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _listed(folder: Path) -> str | None:
    """A commit's name is its number, in 20 digits, and `.json`: such names sort as their numbers do."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries]
    newest = max((name for name in names if name[20:] == ".json" and name[:20].isdecimal()), default=None)
    return str(int(newest[:20])) if newest else None
