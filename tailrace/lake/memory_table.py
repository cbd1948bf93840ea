"""One table of the lake in memory: its versions, rows, stagings and publications."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from tailrace.contracts import Commit, Staged, Vacuumed
from tailrace.errors import BadInput, PinLost, UnknownName, UpstreamMissing
from tailrace.lake import manifests
from tailrace.lake import rows as accepted
from tailrace.lake.records import commit_metadata

Contents = Mapping[dt.date | None, tuple[str, ...]]
"""The names of each day's blocks of rows, in order; of a table without days, under None."""


@dataclass(kw_only=True)
class MemoryTable:
    """`versions` maps each version to its contents, oldest first, None once vacuumed; `blocks` maps names to rows.

    `schema` is that of the latest version, `schemas` has those of all. A block keeps the columns it was written with.
    `publications` counts the publications of each day; `commits` has the newest first.
    """

    name: str
    schema: pa.Schema
    daily: bool
    versions: dict[str, Contents | None] = field(default_factory=dict)
    schemas: dict[str, pa.Schema] = field(default_factory=dict)
    blocks: dict[str, pa.Table] = field(default_factory=dict)
    commits: list[Commit] = field(default_factory=list)
    publications: dict[dt.date, int] = field(default_factory=dict)
    stagings: dict[tuple[dt.date, str], Staged] = field(default_factory=dict)
    written_at: dt.datetime = field(default_factory=manifests.now)
    _stored: int = 0

    def __post_init__(self) -> None:
        self._add_version({})

    @property
    def head(self) -> str:
        """The latest version."""
        return next(reversed(self.versions))

    @property
    def contents(self) -> Contents:
        """The contents of the latest version."""
        return self.versions[self.head] or {}

    def place_of(self, version: str) -> int:
        """How many versions came before this one. Raises UpstreamMissing if the table has no such version."""
        if version not in self.versions:
            raise UpstreamMissing(f"{self.name} has no version {version!r}; the latest is {self.head}.")
        return list(self.versions).index(version)

    def later_than(self, version: str) -> set[str]:
        """The versions that came after this one. Raises UpstreamMissing."""
        return set(list(self.versions)[self.place_of(version) + 1 :])

    def store(self, folder: str, rows: pa.Table) -> str:
        """Keep rows as a block; its name."""
        self._stored += 1
        name = f"{folder}/{self._stored:08d}"
        self.blocks[name] = rows
        self.written_at = manifests.now()
        return name

    def commit(
        self,
        contents: Contents,
        *,
        rows: int,
        digest: str,
        metadata: Mapping[str, str],
        day: dt.date | None = None,
        run_id: str = "",
    ) -> Commit:
        """Make these contents the latest version."""
        made = Commit(
            table=self.name,
            day=day,
            version=self._add_version(contents),
            recorded_at=manifests.now(),
            rows=rows,
            metadata=commit_metadata(metadata, day=day, run_id=run_id, rows=rows, digest=digest),
        )
        self.written_at = made.recorded_at
        self.commits.insert(0, made)
        return made

    def _add_version(self, contents: Contents) -> str:
        """Versions are no numbers, nor do they sort: other code must not rely on what Delta's look like."""
        version = "v-" + hashlib.sha256(f"{self.name} {len(self.versions)}".encode()).hexdigest()[:8]
        self.versions[version] = contents
        self.schemas[version] = self.schema
        return version

    def add_columns(self, columns: pa.Schema) -> None:
        """Make a version with these columns too; nothing happens if there are none."""
        if columns.names:
            self.schema = pa.schema([*self.schema, *columns])
            self._add_version(self.contents)
            self.written_at = manifests.now()

    def names(self, version: str, first: dt.date | None, last: dt.date | None) -> list[str]:
        """The blocks of those days at a version, by day. Raises UpstreamMissing, PinLost, BadInput."""
        if not self.daily and (first is not None or last is not None):
            raise BadInput(f"{self.name} is not partitioned by 'ds': read it without first and last.")
        contents = list(self.versions.values())[self.place_of(version)]
        if contents is None:
            raise PinLost(f"{self.name} version {version} was vacuumed. Start again from a newer one.")
        wanted = [day for day in contents if day is None or (first or day) <= day <= (last or day)]
        names = [name for day in sorted(wanted, key=lambda d: d or dt.date.min) for name in contents[day]]
        if lost := [name for name in names if name not in self.blocks]:
            raise PinLost(f"Reading {self.name}: {', '.join(lost)} is gone. Run its day again.")
        return names

    def rows(self, names: Iterable[str], columns: Sequence[str] | None = None, version: str | None = None) -> pa.Table:
        """The rows of these blocks, with the columns that the table had at that version. Raises UnknownName."""
        schema = self.schemas[version or self.head]
        chosen = list(columns) if columns is not None else schema.names
        for name in chosen:
            if name not in schema.names:
                raise UnknownName(f"column of {self.name}", name, schema.names)
        written = (batch for name in names for batch in self.blocks[name].to_batches())
        return pa.Table.from_batches((accepted.completed(batch, schema) for batch in written), schema).select(chosen)

    def pin_digest(self, names: Iterable[str]) -> str:
        """SHA-256 over the names of these blocks and the digests of their rows."""
        listed = [f"{name} {digest(self.blocks[name])}" for name in sorted(names)]
        return hashlib.sha256("\n".join(listed).encode()).hexdigest()

    def is_sound(self, day: dt.date) -> bool:
        return self.blocks.keys() >= set(self.contents.get(day, ()))

    def published(self, day: dt.date) -> list[Commit]:
        """The publications of a day, newest first."""
        return [commit for commit in self.commits if commit.day == day]

    def own_publication(self, staged: Staged) -> Commit | None:
        """The publication that followed the state this run staged from, if it is this run's own."""
        published = self.published(staged.day)
        if len(published) <= staged.fence:
            return None
        following = published[len(published) - 1 - staged.fence]
        own = (following.metadata["run_id"], following.metadata["digest"]) == (staged.run_id, staged.digest)
        return following if own else None

    def delete_unpublished(self, staged: Staged) -> bool:
        """Delete the staged rows unless this run published them; returns whether they could be deleted."""
        if self.own_publication(staged) and self.publications[staged.day] > staged.fence:
            return False
        for name in staged.files:
            self.blocks.pop(name, None)
        return True

    def vacuum(self, kept: set[str], *, dry_run: bool) -> Vacuumed:
        """Delete all stagings, and every version but these and the latest."""
        left = {version: contents for version, contents in self.versions.items() if version in kept | {self.head}}
        needed = {name for contents in left.values() if contents for names in contents.values() for name in names}
        dead = self.blocks.keys() - needed
        size = sum(self.blocks[name].nbytes for name in dead)
        found = Vacuumed(files=len(dead), others=len(self.stagings), bytes=size)
        if not dry_run:
            self.versions = {version: left.get(version) for version in self.versions}
            self.stagings.clear()
            for name in dead:
                del self.blocks[name]
        return found


def digest(rows: pa.Table) -> str:
    """SHA-256 of the rows as an Arrow stream; equal rows arrive here in equal chunks."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    return hashlib.sha256(sink.getvalue()).hexdigest()
