"""The warehouse: where dbt builds the tables that a pipeline starts from."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import pyarrow as pa

_PASSED = ("success", "pass", "warn", "no-op")
"""The statuses of nodes that did what they should."""
_SKIPPED = "skipped"


@dataclass(frozen=True, kw_only=True)
class ModelResult:
    """One dbt node of a build: a model, a test, a seed.

    `sql` is what was run, compiled; `log` what dbt said of the node; `depends_on` holds unique ids. `kept`: an earlier
    try of the same run built it, and this one did not repeat it. `judges` holds the unique ids of the nodes whose rows
    a test judges: the one that it is written at, else all that it reads. `table` is the full name of what a model made.
    """

    name: str
    kind: str
    status: str
    seconds: float
    rows: int | None = None
    message: str = ""
    unique_id: str = ""
    sql: str = ""
    log: str = ""
    depends_on: tuple[str, ...] = ()
    kept: bool = False
    judges: tuple[str, ...] = ()
    table: str = ""

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> ModelResult:
        """The result from its fields as JSON has them. Other releases of Tailrace stored more fields, or fewer."""
        known = {each.name: stored[each.name] for each in fields(cls) if each.name in stored}
        return cls(**{**known, **{name: tuple(known.get(name, ())) for name in ("depends_on", "judges")}})

    @property
    def passed(self) -> bool:
        return self.status in _PASSED

    @property
    def failed(self) -> bool:
        """Whether it went wrong itself; a node that was skipped did not."""
        return not self.passed and self.status != _SKIPPED


class Warehouse(Protocol):
    """Where dbt builds the tables a pipeline starts from."""

    def build(
        self,
        first: dt.date,
        last: dt.date,
        run_id: str = "",
        on_node: Callable[[ModelResult], None] = lambda node: None,
        *,
        without: Collection[str] = (),
        only: Collection[str] = (),
    ) -> tuple[ModelResult, ...]:
        """Build and test every model for the days first..last, in one dbt invocation.

        `without` names marts that are not needed: they are left out, with what only they are made from. `only` names
        the marts that are needed: nothing is built but they and what they are made from.
        Where an earlier try of the same run failed on the same days and files, only what failed and what depends on
        it is built. A failed node does not keep the others from being built: `on_node` is given every node's result,
        also where the build fails, and `build.run` finds in them which pipelines may go on.

        Raises BuildFailed naming every failed node, LandingRefused, UpstreamMissing naming days that
        are not landed, those that are looked back on included, WarehouseBusy, StorageFull, LakeUnavailable,
        and where the warehouse is a server Unavailable, and SettingsError if it turns this installation away.
        """
        ...

    def read(
        self, table: str, day: dt.date, order_by: Sequence[str], *, day_column: str = "ds"
    ) -> pa.RecordBatchReader:
        """Rows of `table` whose `day_column` is the day, sorted, timestamps as timestamp[us, UTC].

        `table` is named as dbt names it. Only pipelines that name another day column than `ds` pass one.

        Raises UpstreamMissing if the table was never built, WarehouseBusy, Unavailable, SettingsError.
        """
        ...

    def schema(self, table: str) -> pa.Schema | None:
        """The columns of a mart with the types in which they are read; None if it was never built.

        Raises SchemaMismatch or BadInput for columns that cannot be read, WarehouseBusy, Unavailable, SettingsError.
        """
        ...

    def built(self, day: dt.date) -> Mapping[str, str] | None:
        """The tables that a recorded build made the day of, each with the reason why it may have no rows, if any.

        The records lie where the tables lie, and are lost with them. None if there are no records at all: the
        warehouse was built by a release that made none. Raises UpstreamMissing, WarehouseBusy, Unavailable.
        """
        ...

    def sources(
        self, day: dt.date, first: dt.date | None = None, *, marts: Collection[str] = ()
    ) -> Mapping[dt.date, str]:
        """The source days that the rows of a day are built from, oldest first, each with a SHA-256 of what is landed.

        With `marts` only of the landed tables that these are made from, and of tables of which nobody can tell. With
        `first` those of every day from that one to `day`. Landing the same rows again leaves it as it was. Empty
        where nothing is landed for the tables. It tells what lies there now: between a build and this call nobody may
        land, which the order of the nightly tasks sees to. Raises LandingRefused, LakeUnavailable.
        """
        ...


@runtime_checkable
class LandedWarehouse(Warehouse, Protocol):
    """A warehouse that is built from landed extracts, and can leave out what certain extracts are needed for.

    Its `build` takes `lacking` too: landed tables that are not looked at. What is made from them is not built.
    """

    def lacking(self, first: dt.date, last: dt.date) -> Mapping[str, Sequence[dt.date]]:
        """The days that a build of first..last needs and that were not landed, by table. Raises LakeUnavailable."""
        ...

    def readers(self, tables: Collection[str]) -> Mapping[str, Collection[tuple[str, str]]] | None:
        """For each of these landed tables, name and full table of every model that is made from it, directly or not.

        None if nobody can tell. Raises BuildFailed if dbt cannot read the project.
        """
        ...


@runtime_checkable
class EvolvingWarehouse(Warehouse, Protocol):
    """A warehouse whose marts can gain columns: those that Tailrace builds itself."""

    def typed(self, types: Mapping[str, str]) -> pa.Schema:
        """The types in which columns of these SQL types would be read. Raises BadInput for one that is unknown."""
        ...

    def add_columns(self, table: str, types: Mapping[str, str]) -> None:
        """Add those of these columns that a mart does not have yet, all or none, null in the rows that are there.

        Raises WarehouseBusy while the warehouse is being built, UpstreamMissing, Unavailable, SettingsError.
        """
        ...
