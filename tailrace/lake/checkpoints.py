"""Which checkpoints of a table's log are kept. Each one holds the whole table, and every ten commits make one.

A reader starts at a checkpoint and reads the commits after it. The newest ones serve readers of the latest version; a
few older ones, evenly spaced, keep the way to a pinned version short. The commits themselves are never deleted: pins
and the history of publications live in them.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Collection, Iterable

from tailrace.lake import log
from tailrace.lake.files import StoredFile, TableFiles

NEWEST = 2
SPACED = 8
"""At most this many older checkpoints are kept, however long the history."""
_CHECKPOINT = re.compile(r"(\d{20})\.checkpoint\.")
_COMMIT = re.compile(r"(\d{20})\.json$")


def unneeded(store: TableFiles, before: dt.datetime) -> list[StoredFile]:
    """The files of checkpoints that no reader needs, if they are older than `before`.

    There are none where commits are gone, as after a clean-up by another tool: there a checkpoint may be all that is
    left of the versions before it.
    """
    listed = store.list(log.FOLDER)
    found = [(int(name[1]), file) for file in listed if (name := _CHECKPOINT.search(file.path))]
    commits = {int(name[1]) for file in listed if (name := _COMMIT.search(file.path))}
    if not commits or len(commits) <= max(commits):
        return []
    kept = _kept({version for version, _ in found}) | _hinted(store)
    return [file for version, file in found if version not in kept and file.modified <= before]


def _kept(versions: Collection[int]) -> set[int]:
    """The newest versions, and of each of a few equal stretches of the history the last one.

    A stretch doubles as the history does, so a version that was let go is never missed later.
    """
    newest = max(versions, default=0)
    stretch = 1
    while newest // stretch >= SPACED:
        stretch *= 2
    return {*sorted(versions)[-NEWEST:], *_last_of_each(versions, stretch)}


def _hinted(store: TableFiles) -> set[int]:
    """The version of the checkpoint where readers are told to start; empty if there is no such hint."""
    try:
        return {int(json.loads(store.get(f"{log.FOLDER}/_last_checkpoint"))["version"])}
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return set()


def _last_of_each(versions: Iterable[int], stretch: int) -> set[int]:
    last: dict[int, int] = {}
    for version in sorted(versions):
        last[version // stretch] = version
    return set(last.values())
