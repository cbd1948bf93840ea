"""Which files some versions of a table need, found in one walk over its log: opening each version takes longer."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import unquote

from tailrace.lake import log
from tailrace.lake.files import TableFiles
from tailrace.lake.table_version import TableVersion

_AT_ONCE = 8
"""Commits that are read at the same time: an object store takes a request for each."""
_READ_AHEAD = 64
_CHANGES_READING = ("protocol", "metaData")
"""Actions after which a table may need a reader that the lake does not have."""


def files_of(open_at: Callable[[int], TableVersion], versions: Collection[int]) -> set[str]:
    """The paths of the data files that at least one of these versions has.

    Raises what `open_at` raises for one of the versions.
    """
    wanted = sorted(set(versions))
    newest = open_at(wanted[-1])
    live = dict.fromkeys(_paths(open_at(wanted[0])), wanted[0])
    needed = set(live) | _paths(newest)
    for version, actions in _commits(newest.files, wanted[0] + 1, wanted[-1]):
        if actions is None:
            # Another tool cleaned up the log. What such a version has, its checkpoint says.
            return _decoded(needed.union(*(_paths(open_at(one)) for one in wanted)))
        if any(name in action for action in actions for name in _CHANGES_READING):
            needed |= _paths(open_at(wanted[bisect.bisect_left(wanted, version)]))
        for path in _paths_in(actions, "remove"):
            if path in live and _is_between(wanted, live.pop(path), version):
                needed.add(path)
        for path in _paths_in(actions, "add"):
            live.setdefault(path, version)
    # The newest version has them all, unless a writer spelt a path otherwise when it removed the file.
    return _decoded(needed | live.keys())


def _commits(store: TableFiles, first: int, last: int) -> Iterator[tuple[int, list[dict[str, Any]] | None]]:
    """The actions of the commits first..last in order; None for one whose file does not exist."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for start in range(first, last + 1, _READ_AHEAD):
            some = range(start, min(start + _READ_AHEAD, last + 1))
            yield from zip(some, pool.map(lambda version: log.read_commit(store, version), some), strict=True)


def _paths(opened: TableVersion) -> set[str]:
    return {file.path for file in opened.active()}


def _paths_in(actions: Iterable[Mapping[str, Any]], kind: str) -> list[str]:
    return [action[kind]["path"] for action in actions if kind in action]


def _is_between(versions: Sequence[int], added: int, removed: int) -> bool:
    """Whether one of the versions had a file that was added in one commit and removed in another."""
    place = bisect.bisect_left(versions, added)
    return place < len(versions) and versions[place] < removed


def _decoded(paths: Collection[str]) -> set[str]:
    """The paths as a log writes them and as they are: other writers encode some characters."""
    return {*paths, *map(unquote, paths)}
