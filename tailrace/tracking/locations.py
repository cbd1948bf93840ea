"""Corrects the file paths in a SQLite registry after its home folder was moved or restored elsewhere.

MLflow records absolute paths and has no call that changes them, so this module writes to its tables. It needs the
database and the files in the same home folder. If the registry is a server, the server manages the files.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.pool import NullPool

PLACES = (
    ("runs", "artifact_uri", "experiment_id = :experiment", 2),
    ("logged_models", "artifact_location", "experiment_id = :experiment", 3),
    ("model_versions", "source", "name = :name", 3),
    ("model_versions", "storage_location", "name = :name", 3),
)
"""MLflow's tables and columns that contain a file path, the condition for rows of one experiment, and how many path
components the path has below the experiment's path: RUN/artifacts, or models/MODEL/artifacts."""


def local(uri: str) -> Path | None:
    """The path on this machine that a URI names; None for any other URI."""
    parts = urlsplit(uri)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    return None if parts.scheme else Path(uri)


def settle(database: str, artifacts: str) -> None:
    """Set the paths below `artifacts` for new runs, and for old runs whose files are there or nowhere else.

    `database` is a SQLAlchemy URL. Files that are at their recorded path, and not below `artifacts`, keep that path.
    """
    root = local(artifacts)
    if root is None:
        return
    engine = create_engine(database, poolclass=NullPool)
    with engine.begin() as connection:
        for statement, values in list(_changes(connection, root.absolute())):
            connection.execute(text(statement), values)


def _changes(connection: Connection, root: Path) -> Iterator[tuple[str, dict[str, str]]]:
    experiments = connection.execute(text("SELECT experiment_id, name, artifact_location FROM experiments"))
    for experiment, name, location in [map(str, row) for row in experiments]:
        wanted = root / name
        if local(location) is None or not location.endswith(f"/{name}"):
            continue  # this tracker did not make it
        if local(location) != wanted:
            change = "UPDATE experiments SET artifact_location = :new WHERE experiment_id = :experiment"
            yield change, {"new": str(wanted), "experiment": experiment}
        yield from _moved(connection, experiment, name, wanted)


def _moved(connection: Connection, experiment: str, name: str, wanted: Path) -> Iterator[tuple[str, dict[str, str]]]:
    for table, column, whose, depth in PLACES:
        elsewhere = f"SELECT DISTINCT {column} FROM {table} WHERE {whose} AND substr({column}, 1, :length) != :wanted"  # noqa: S608
        below = {"wanted": f"{wanted}/", "length": len(str(wanted)) + 1}
        mine = {"experiment": experiment, "name": name}
        for row in connection.execute(text(elsewhere), {**below, **mine}):
            old = str(row[0])
            place = local(old)
            if place is None or place.parts[-depth - 1 : -depth] != (name,):
                continue
            new = wanted.joinpath(*place.parts[-depth:])
            if new.exists() or not place.exists():
                change = f"UPDATE {table} SET {column} = :new WHERE {whose} AND {column} = :old"  # noqa: S608
                yield change, {"new": str(new), "old": old, **mine}
