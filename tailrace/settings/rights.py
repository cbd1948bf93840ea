"""Checks that the folders and files that are written to can be written to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from tailrace.settings.fields import PREFIX, Settings
from tailrace.settings.locations import URL, sqlite_file


def unusable(settings: Settings) -> list[str]:
    """A sentence for each folder and file that the installation writes to and this process cannot; nothing is made."""
    found: dict[Path, str] = {}
    for name, place, folder in _folders(settings):
        # os.path: where this user may not look there is nothing, and no error
        there = next(path for path in (folder, *folder.parents) if os.path.exists(path))  # noqa: PTH110
        if not there.is_dir():
            found.setdefault(there, f"{name} is {place}, and {there} is no folder.")
        elif not os.access(there, os.W_OK | os.X_OK):
            found.setdefault(there, f"{name} is {place}, and this user has no right to write in {there}.")
    for name, file in _files(settings):
        if os.path.isdir(file):  # noqa: PTH112
            found.setdefault(file, f"{name} is {file}, which is a folder; it must be a file.")
        elif os.path.exists(file) and not os.access(file, os.W_OK):  # noqa: PTH110
            found.setdefault(file, f"{name} is {file}, and this user has no right to write to this file.")
    return list(found.values())


def _folders(settings: Settings) -> Iterator[tuple[str, str, Path]]:
    """What is written on this machine: the variable, its value, and the folder."""
    folders = {"HOME": str(settings.home), "LAKE": settings.lake, "LANDING": settings.landing}
    if not settings.tracking_uri.startswith("http"):
        folders["ARTIFACTS"] = settings.artifacts
    yield from ((PREFIX + name, place, Path(place)) for name, place in folders.items() if not URL.match(place))
    yield from ((PREFIX + "HOME", str(settings.home), folder) for folder in (settings.work, settings.data_docs))
    yield from ((name, str(file), file.parent) for name, file in _files(settings))


def _files(settings: Settings) -> Iterator[tuple[str, Path]]:
    """Files that are written on this machine: the variable, and the file."""
    if settings.spark.log != "-":
        yield "TAILRACE_SPARK_LOG", Path(settings.spark.log).absolute()
    if settings.warehouse_is_a_file:
        yield "TAILRACE_WAREHOUSE", Path(settings.warehouse).absolute()
    if file := sqlite_file(settings.tracking_uri)[0]:
        yield "TAILRACE_TRACKING_URI", Path(file).absolute()
