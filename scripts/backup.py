"""Backs up the data of `make up`, also while it runs.

It copies Airflow's metadata, MLflow's registry, the lake, reports and landed files. The copies are made at different
moments, so references are copied before the data they point to. The order is: Airflow's metadata, the lake's tables
that name model versions (up to their versions at that moment), MLflow's database, its artifacts, and the other tables,
which only grow. If a run made something meanwhile, the next run after a restore makes it again, and the same inputs
give the same tables. The warehouse is not copied, because dbt builds it from the landed files.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import importlib.metadata
import json
import re
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from scripts.postgres import Postgres
from scripts.processes import recorded
from tailrace import settings
from tailrace.champions.model_versions import NAME_MODELS
from tailrace.settings import Settings

MANIFEST = "manifest.json"
METADATA = "airflow.dump"
REGISTRY = "mlflow.db"
SECRETS = "secrets.json"
VERSIONED = ("tailrace", "apache-airflow", "mlflow", "deltalake")
LOG_ENTRY = re.compile(r"^(\d{20})\.")


class CannotBackUp(Exception):
    """A backup or a restore is not possible. The message says what to do."""


def back_up(configured: Settings, target: Path) -> dict[str, Any]:
    """Copy the installation into a new folder, and return the manifest. Raises CannotBackUp, RuntimeError."""
    if target.exists():
        raise CannotBackUp(f"{target} exists already; name another folder")
    registry, artifacts, lake = local_parts(configured)
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(mode=0o700, parents=True)
    home = configured.home / "airflow"
    with metadata_server(home) as postgres:
        postgres.dump("airflow", partial / METADATA)
    if (home / SECRETS).exists():
        shutil.copy(home / SECRETS, partial / SECRETS)
    tables = {table.relative_to(lake): version for table, version in table_versions(lake)}
    if registry.exists():
        copy_sqlite(registry, partial / REGISTRY)
    copy_living(artifacts, partial / "artifacts")
    for table, version in tables.items():
        copy_table(lake / table, partial / "lake" / table, version if table.parts[0] in NAME_MODELS else None)
    copy_living(Path(configured.landing), partial / "landing")
    copy_living(configured.data_docs, partial / "data_docs")
    manifest: dict[str, Any] = {
        "made": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "home": str(configured.home),
        "versions": {name: importlib.metadata.version(name) for name in VERSIONED},
        "tables": {str(table): version for table, version in sorted(tables.items())},
        "files": {str(path.relative_to(partial)): digest(path) for path in files_of(partial)},
    }
    (partial / MANIFEST).write_text(json.dumps(manifest, indent=1))
    partial.rename(target)
    return manifest


def local_parts(configured: Settings) -> tuple[Path, Path, Path]:
    """MLflow's database, its artifacts, the lake. Raises CannotBackUp if one is not on this machine's disk."""
    remote = [
        name
        for name, value in (
            ("TAILRACE_TRACKING_URI", configured.tracking_uri.removeprefix("sqlite:///")),
            ("TAILRACE_ARTIFACTS", configured.artifacts),
            ("TAILRACE_LAKE", configured.lake),
            ("TAILRACE_LANDING", configured.landing),
        )
        if "://" in value
    ]
    if remote:
        raise CannotBackUp(
            f"{', '.join(remote)} is on a server. Back it up with the server's own tools; docs/stack.md gives the order"
        )
    return Path(configured.tracking_uri.removeprefix("sqlite:///")), Path(configured.artifacts), Path(configured.lake)


@contextlib.contextmanager
def metadata_server(home: Path) -> Iterator[Postgres]:
    """The metadata's Postgres. If none runs, one is started and stopped afterwards."""
    postgres = Postgres(home / "postgres")
    if any(entry.name == "postgres" and entry.process() for entry in recorded(home / "processes")):
        yield postgres
        return
    postgres.start("airflow")
    try:
        yield postgres
    finally:
        postgres.stop()


def table_versions(lake: Path) -> list[tuple[Path, int]]:
    """Each Delta table of the lake, with its newest version."""
    return [(log.parent, max(_entries(log))) for log in sorted(lake.rglob("_delta_log")) if _entries(log)]


def _entries(log: Path) -> list[int]:
    return [int(LOG_ENTRY.match(file.name)[1]) for file in log.glob("*.json") if LOG_ENTRY.match(file.name)]  # type: ignore[index]


def copy_table(source: Path, target: Path, version: int | None) -> None:
    """Copy a Delta table: first its log, then the files that the log names. If a version is given, copy up to it."""
    log = target / "_delta_log"
    log.mkdir(parents=True)
    for file in sorted((source / "_delta_log").iterdir()):
        entry = LOG_ENTRY.match(file.name)
        # _last_checkpoint is a hint that may be newer than the copy. Readers work without it.
        if entry and (version is None or int(entry[1]) <= version):
            copy_if_there(file, log)
    for each in source.iterdir():
        if each.is_dir() and each.name != "_delta_log":
            copy_living(each, target / each.name)


def copy_living(source: Path, target: Path) -> None:
    """Copy a folder while runs write to it. A file that disappears belongs to no table and is left out."""
    if not source.is_dir():
        return
    halves = shutil.ignore_patterns("*.partial")
    try:
        shutil.copytree(source, target, dirs_exist_ok=True, copy_function=copy_if_there, ignore=halves)
    except shutil.Error as error:
        if left := [(path, why) for path, _, why in error.args[0] if Path(path).exists()]:
            raise shutil.Error(left) from error


def copy_if_there(source: str | Path, target: str | Path) -> None:
    """Copy a file, if it still exists."""
    with contextlib.suppress(FileNotFoundError):
        shutil.copy2(source, target)


def copy_tree(source: Path, target: Path) -> None:
    """Copy a folder, if it exists."""
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)


def copy_sqlite(source: Path, target: Path) -> None:
    """Copy a SQLite database as one transaction sees it, while others may write to it."""
    with (
        contextlib.closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as read,
        contextlib.closing(sqlite3.connect(target)) as written,
    ):
        read.backup(written)


def files_of(folder: Path) -> list[Path]:
    """Every file below a folder, in order."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main() -> None:
    """`python -m scripts.backup FOLDER`."""
    target = Path(sys.argv[1]).expanduser().resolve()
    try:
        manifest = back_up(settings.load(), target)
    except (CannotBackUp, RuntimeError, OSError) as error:
        sys.exit(f"No backup was made: {error}.")
    size = sum(path.stat().st_size for path in files_of(target))
    Console().print(f"{target}: {len(manifest['files'])} files, {size / 2**20:,.0f} MiB.", soft_wrap=True)


if __name__ == "__main__":
    main()
