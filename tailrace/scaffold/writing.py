"""Writes several new files: all of them, or none. A file that exists is never touched."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tailrace.errors import BadInput


def existing(root: Path, files: Mapping[str, str]) -> list[str]:
    """The files, by their path under the root, that exist already."""
    return [name for name in files if (root / name).exists() or (root / name).is_symlink()]


def write(root: Path, files: Mapping[str, str]) -> None:
    """Write the files, each by its path under the root.

    Each is made only where there is none; if one cannot be made, those before it are removed again. Raises BadInput;
    nothing is changed then.
    """
    if there := existing(root, files):
        raise BadInput(f"Nothing was written, since these files exist: {', '.join(there)}.")
    placed: list[Path] = []
    folders: list[Path] = []
    try:
        for name, text in files.items():
            _make_folders(root / name, folders)
            with (root / name).open("x", encoding="utf-8") as file:
                placed.append(root / name)
                file.write(text)
    except OSError as error:
        for path in placed:
            path.unlink(missing_ok=True)
        for folder in reversed(folders):
            folder.rmdir()
        raise BadInput(
            f"{error.filename or root} cannot be written ({error.strerror}); nothing was written."
        ) from error


def _make_folders(path: Path, made: list[Path]) -> None:
    """Make the folders above a file, and note those that are new."""
    missing = [folder for folder in path.parents if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir()
        made.append(folder)
