"""One digest for all files of a folder, and copying a folder so that it appears complete or not at all."""

from __future__ import annotations

import datetime as dt
import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path

from tailrace.errors import BadInput, ModelGone, Refused
from tailrace.lineage import run_tags


def require(folder: Path) -> None:
    """Raises BadInput if there is no such folder."""
    if not folder.is_dir():
        raise BadInput(f"There is no folder {folder} to store; save the model or the report there first.")


def digest(folder: Path) -> str:
    """SHA-256 over the sorted relative paths of all files and the SHA-256 of their bytes."""
    lines = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {path.relative_to(folder).as_posix()}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def today() -> str:
    """The day of today in UTC, as FILES_DELETED has it."""
    return dt.datetime.now(dt.UTC).date().isoformat()


def refuse_deleted(tags: Mapping[str, str], pipeline: str, version: str) -> None:
    """Raises ModelGone if upkeep deleted the model's files; `tags` are those of its training run."""
    if day := tags.get(run_tags.FILES_DELETED):
        raise ModelGone(
            f"The files of {pipeline} version {version} were deleted by upkeep on {day}, because it never was champion "
            f"(upkeep.models_days in tailrace.toml). Use another version, or train it again: tailrace train {pipeline} "
            f"--date {tags.get(run_tags.DAY, '...')}."
        )


def deliver(source: Path, expected: str, *, folder: Path, pipeline: str, version: str, decided: str = "") -> Path:
    """Copy a model's files to `<folder>/<pipeline>-<version>` if their digest is the expected one.

    `decided` is the digest that the lake recorded with the decision about this version; empty if it recorded none.
    Raises Refused, and leaves `folder` unchanged, if they are not the files that were logged or decided about.
    """
    found = digest(source)
    if decided and found != decided:
        raise Refused(
            f"The files of {pipeline} version {version} are not those that were decided about: their digest is "
            f"{found[:12]}, but the lake recorded {decided[:12]}. Somebody changed the model registry or its artefact "
            "store. Restore them from a backup or train again, and do not score with this version."
        )
    if found != expected:
        raise Refused(
            f"The files of {pipeline} version {version} are not those that were logged: their digest is "
            f"{found[:12]}, but the tracker recorded {expected[:12]}. Something changed the artefact store. "
            "Restore it from a backup or train again, and do not score with this version."
        )
    target = folder / f"{pipeline}-{version}"
    incoming = folder / f".{target.name}.incoming"
    shutil.rmtree(incoming, ignore_errors=True)
    shutil.copytree(source, incoming)
    shutil.rmtree(target, ignore_errors=True)
    return incoming.rename(target)
