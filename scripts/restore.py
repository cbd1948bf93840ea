"""Restores a backup. Checks all of it before anything is changed; then restores everything or nothing."""

from __future__ import annotations

import argparse
import datetime as dt
import importlib.metadata
import json
import shutil
import sys
from pathlib import Path

from packaging.version import Version
from rich.console import Console

from scripts.backup import MANIFEST, METADATA, REGISTRY, SECRETS, CannotBackUp, copy_tree, digest, files_of, local_parts
from scripts.postgres import Postgres
from scripts.processes import recorded
from tailrace import settings
from tailrace.settings import Settings


def restore(configured: Settings, source: Path, over: bool) -> Path | None:
    """Restore a backup into TAILRACE_HOME. Returns the folder to which the old contents were moved, if there were any.

    over: move the old contents of TAILRACE_HOME away; without it, a home that is not empty is refused.
    Raises CannotBackUp, RuntimeError.
    """
    manifest = checked(source)
    home = configured.home
    refuse_if_wrong(configured, manifest, over)
    aside = None
    if home.exists() and any(home.iterdir()):
        aside = home.with_name(f"{home.name}.before-{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%SZ}")
        home.rename(aside)
    try:
        fill(configured, source)
    except BaseException:
        shutil.rmtree(home, ignore_errors=True)
        if aside:
            aside.rename(home)
        raise
    return aside


def checked(source: Path) -> dict:
    """The manifest of a complete backup. Raises CannotBackUp listing what is missing or changed."""
    if not (source / MANIFEST).is_file():
        raise CannotBackUp(f"{source} has no {MANIFEST}: it is not a backup, or the backup was interrupted")
    manifest = json.loads((source / MANIFEST).read_text())
    there = {str(path.relative_to(source)) for path in files_of(source)} - {MANIFEST}
    wrong = sorted(there ^ set(manifest["files"]))
    wrong += [name for name, known in manifest["files"].items() if name in there and digest(source / name) != known]
    if wrong:
        raise CannotBackUp(f"{source} is not as it was written: {', '.join(wrong[:5])} ({len(wrong)} files in all)")
    return manifest


def refuse_if_wrong(configured: Settings, manifest: dict, over: bool) -> None:
    """Raises CannotBackUp with every reason not to restore here."""
    problems = []
    home = configured.home
    local_parts(configured)
    if any(entry.process() for entry in recorded(home / "airflow" / "processes")):
        problems.append("Tailrace is running there: stop it with make down")
    if home.exists() and any(home.iterdir()) and not over:
        problems.append(f"{home} is not empty: add OVER=yes to move its contents away")
    problems += [
        f"it was made by {name} {known}, and {importlib.metadata.version(name)} is older: install that or a newer one"
        for name, known in manifest["versions"].items()
        if Version(importlib.metadata.version(name)) < Version(known)
    ]
    if problems:
        raise CannotBackUp("; ".join(problems))


def fill(configured: Settings, source: Path) -> None:
    """Copy everything into an empty home. Raises RuntimeError if the metadata cannot be restored."""
    registry, artifacts, lake = local_parts(configured)
    home = configured.home / "airflow"
    home.mkdir(parents=True)
    for name, place in (
        ("artifacts", artifacts),
        ("lake", lake),
        ("landing", Path(configured.landing)),
        ("data_docs", configured.data_docs),
    ):
        copy_tree(source / name, place)
    if (source / REGISTRY).exists():
        shutil.copy(source / REGISTRY, registry)
    if (source / SECRETS).exists():
        shutil.copy(source / SECRETS, home / SECRETS)
    postgres = Postgres(home / "postgres")
    postgres.set_aside()
    postgres.start("airflow")
    try:
        postgres.restore("airflow", source / METADATA)
    finally:
        postgres.stop()


def main() -> None:
    """`python -m scripts.restore FOLDER [--over]`."""
    parser = argparse.ArgumentParser(prog="restore")
    parser.add_argument("source", type=lambda text: Path(text).expanduser().resolve())
    parser.add_argument("--over", action="store_true")
    given = parser.parse_args()
    configured = settings.load()
    try:
        aside = restore(configured, given.source, given.over)
    except (CannotBackUp, RuntimeError) as error:
        sys.exit(f"Nothing was restored: {error}.")
    moved = f" The old contents are in {aside}." if aside else ""
    Console().print(f"{given.source} was restored into {configured.home}.{moved} Next: make up", soft_wrap=True)


if __name__ == "__main__":
    main()
