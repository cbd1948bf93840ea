"""The latest version of tables on local disk, cheaply enough to ask before every page."""

from __future__ import annotations

import os
import time
from pathlib import Path

from tailrace.lake import log

_YOUNG_NS = 2_000_000_000


class LocalHeads:
    """Finds the newest commit in a table's log without reading it.

    The log's folder is listed again only if its modification time changed, or is so recent that another commit may
    still arrive within the same tick of the clock.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._known: dict[str, tuple[int, str | None]] = {}

    def version(self, table: str) -> str | None:
        """The number of the newest commit; None if there is none. Raises OSError."""
        folder = self._root / table / log.FOLDER
        try:
            changed = folder.stat().st_mtime_ns
            listed_at, newest = self._known.get(table, (-1, None))
            if listed_at != changed:
                newest = _newest(folder)
        except (FileNotFoundError, NotADirectoryError):
            return None
        if time.time_ns() - changed > _YOUNG_NS:
            self._known[table] = (changed, newest)
        return newest


def _newest(folder: Path) -> str | None:
    """A commit's name is its number, in 20 digits, and `.json`: such names sort as their numbers do."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries]
    newest = max((name for name in names if name[20:] == ".json" and name[:20].isdecimal()), default=None)
    return str(int(newest[:20])) if newest else None
