"""A warehouse that the team's own dbt project fills: any database that dbt speaks to, whatever the tables are called.

Tailrace builds the marts of its pipelines there, in one invocation of dbt; or something else builds them, and Tailrace
waits until they have the day. It writes nothing into the dbt project, and nothing but what dbt builds into the
database: which days were built is recorded in a file of the work folder.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import re
import shlex
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa

from tailrace.contracts import ModelResult
from tailrace.errors import BadInput, BuildFailed, TailraceError, UpstreamMissing, did_you_mean
from tailrace.settings import Settings
from tailrace.spec import Mart
from tailrace.warehouse import graph
from tailrace.warehouse.adapter import DbtAdapter
from tailrace.warehouse.dbt import DbtWarehouse, marts_of_the_project, why_empty
from tailrace.warehouse.dbt_runs import DbtRun, environment
from tailrace.warehouse.failures import of_messages
from tailrace.warehouse.landed import Landed
from tailrace.warehouse.reader import MartReader

POLL_SECONDS = 30.0
_SELECTOR = "selector:"
_NO_SELECTOR = re.compile(r"Could not find selector named (?P<name>\S+), expected one of \[(?P<known>[^\]]*)\]")
_NOT_UNDERSTOOD = "InvalidSelectorError"
"""dbt's error for words after --select of a method that it does not have."""
_NOT_BUILT = ("unit_test", "exposure", "source")
"""What `dbt list` lists and a build does not build."""
_RECORDED_DAYS = 1_000
"""How many days of a mart are recorded."""


@dataclass(frozen=True, kw_only=True)
class Awaited:
    """Marts that are built elsewhere. `late` has those without rows of the day yet, each with what it has."""

    late: Mapping[str, str]
    tables: tuple[str, ...]
    sentence: str

    @property
    def nothing_came(self) -> bool:
        return 0 < len(self.tables) == len(self.late)


class DbtProjectWarehouse(DbtWarehouse):
    """The database that `adapter` connects to.

    `marts` gives the tables of the project's pipelines. `select` says what to build, as `dbt build --select` takes it;
    empty: the marts and what they are made from. `wait` is how long to wait for marts that are built elsewhere; None:
    they are built here. `zone` is the time zone of timestamps that have none.
    """

    target = "project"
    any_zone = True

    def __init__(
        self,
        adapter: DbtAdapter,
        *,
        marts: Callable[[], Sequence[Mart]],
        landing: Landed,
        work: Path,
        select: str = "",
        wait: dt.timedelta | None = None,
        zone: str = "UTC",
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        super().__init__(adapter.project, landing, work)
        self._adapter = adapter
        self._marts = marts
        self._select = select
        self._wait = wait
        self._poll_seconds = poll_seconds
        self._reader = MartReader(adapter, zone=zone)

    @classmethod
    def from_settings(cls, settings: Settings, *, landing: Landed) -> DbtProjectWarehouse:
        work, own = settings.work / "dbt", settings.dbt
        return cls(
            DbtAdapter(settings.dbt_project, work=work, profiles=settings.dbt_profiles, target=own.target),
            marts=marts_of_the_project,
            landing=landing,
            work=work,
            select=own.select,
            wait=dt.timedelta(minutes=own.wait_minutes) if settings.waits_for_marts else None,
            zone=settings.zone or "UTC",
        )

    def build(
        self,
        first: dt.date,
        last: dt.date,
        run_id: str = "",
        on_node: Callable[[ModelResult], None] = lambda node: None,
        *,
        without: Collection[str] = (),
        only: Collection[str] = (),
        lacking: Collection[str] = (),
    ) -> tuple[ModelResult, ...]:
        """See `DbtWarehouse.build`; only what the pipelines need is built.

        Where something else builds, it waits until the marts have the last day. There is a result for each mart, and
        those that did not get the day in time have failed. Raises UpstreamMissing if that are all.
        """
        if self._wait is None:
            return super().build(first, last, run_id, on_node, without=without, only=only, lacking=lacking)
        return self._waited(last, on_node, without=without, only=only)

    def readers(self, tables: Collection[str]) -> Mapping[str, Collection[tuple[str, str]]] | None:
        """See `contracts.LandedWarehouse`. A selector of selectors.yml cannot be narrowed, so nothing is left out."""
        built_here = self._wait is None and not self._select.strip().startswith(_SELECTOR)
        return super().readers(tables) if built_here else None

    def awaited(self, last: dt.date, *, without: Collection[str] = (), only: Collection[str] = ()) -> Awaited:
        """Which marts do not have the day yet, and what they have; marts whose days may be empty are not waited for.

        Raises what `MartReader` raises, except for a table that does not exist yet.
        """
        marts = self._wanted(without, only)
        late = self._late(last, marts)
        return Awaited(
            late=late, tables=tuple(dict.fromkeys(mart.table for mart in marts)), sentence=self._said(last, late)
        )

    def read(
        self, table: str, day: dt.date, order_by: Sequence[str], *, day_column: str = "ds"
    ) -> pa.RecordBatchReader:
        """See `contracts.Warehouse`; the rows stream."""
        return self._reader.read(table, day, day_column=day_column, order_by=order_by)

    def schema(self, table: str) -> pa.Schema | None:
        """See `contracts.Warehouse`."""
        try:
            return self._reader.schema(table)
        except UpstreamMissing:
            return None

    def built(self, day: dt.date) -> Mapping[str, str] | None:
        """The marts that were built here for the day, and those that have the day or a later one."""
        recorded = {mart: days[str(day)] for mart, days in self._records().items() if str(day) in days}
        others = [mart for mart in self._wanted((), ()) if mart.table not in recorded]
        lacking = {mart.table for mart in others if self._lacks(mart, day)}
        return recorded | {mart.table: why_empty(self._meta(mart)) for mart in others if mart.table not in lacking}

    @property
    def adapter(self) -> DbtAdapter:
        """The project's own adapter."""
        return self._adapter

    @property
    def reader(self) -> MartReader:
        """Reads any table of the database."""
        return self._reader

    def parse(self) -> Path:
        """See `DbtWarehouse.parse`. Raises SettingsError, NotInstalled, BuildFailed."""
        _ = self._adapter.manifest
        return self.manifest

    @property
    def manifest(self) -> Path:
        return self._adapter.target_folder / "manifest.json"

    @property
    def name(self) -> str:
        return self._adapter.name

    def variables(self, first: dt.date, last: dt.date) -> Mapping[str, str]:
        return {name: text for name, text in super().variables(first, last).items() if name != "DBT_TARGET"}

    # ------------------------------------------------------------ building here

    def _needs_graph(self, without: Collection[str], only: Collection[str]) -> bool:
        return True

    def _graph(self, variables: Mapping[str, str]) -> Any:
        return SimpleNamespace(success=True, result=self._adapter.manifest)

    def _selection(
        self, manifest: Any, again: Sequence[str], *, without: Collection[str], only: Collection[str]
    ) -> list[str]:
        wanted = [mart.table for mart in self._wanted(without, only)]
        if again:
            return super()._selection(manifest, again, without=without, only=wanted)
        words = shlex.split(self._select)
        if len(words) == 1 and words[0].startswith(_SELECTOR):
            return ["--selector", words[0].removeprefix(_SELECTOR)]
        if words:
            return super()._selection(manifest, ["--select", *words], without=without, only=only)
        # tests that also read tables of others would judge what is not built here
        return ["--select", *_with_parents(wanted, manifest, self.project), "--indirect-selection", "buildable"]

    def _dbt(
        self,
        command: Sequence[str],
        variables: Mapping[str, str],
        target: Path,
        hear: Callable[[Any], None],
        *,
        manifest: Any = None,
    ) -> Any:
        with environment(variables):
            return self._adapter.invoke(command, hear, manifest=manifest)

    def _failed(self, run: Any, days: str) -> BuildFailed | None:
        if problem := self._nothing_selected(run.outcome, run.nodes):
            return BuildFailed(f"dbt built nothing for {days}: {problem}")
        return super()._failed(run, days)

    def selection_problem(self) -> str:
        """A sentence if [dbt] select matches nothing, or dbt does not understand it: dbt lists what it would build.

        Empty if there is no problem, or nothing is selected here. Raises what `DbtAdapter.manifest` raises.
        """
        if self._wait is not None or not self._select.strip():
            return ""
        manifest = self._adapter.manifest
        selection = self._selection(manifest, (), without=(), only=())
        others = [word for kind in _NOT_BUILT for word in ("--exclude-resource-type", kind)]
        outcome = self._adapter.invoke(["list", *others, *selection], manifest=manifest)
        if problem := self._nothing_selected(outcome, outcome.result or ()):
            return f"A build would build nothing: {problem}"
        if not outcome.success:
            said = self._adapter.cleaned(outcome.exception)
            return f"dbt cannot tell what [dbt] select matches, which is {self._select!r}: {said}."
        return ""

    def _nothing_selected(self, outcome: Any, nodes: Sequence[Any]) -> str:
        """Why dbt selected nothing, if that is what happened, and what to do."""
        if outcome.success and not nodes:
            return (
                f"no node of {self.project} matches [dbt] select, which is {self._select!r}. Correct it; see what it "
                f"matches with: dbt ls --select {shlex.quote(self._select)}."
            )
        if found := _NO_SELECTOR.search(str(outcome.exception or "")):
            known = [name.strip(" '") for name in found["known"].split(",") if name.strip()]
            near, listed = did_you_mean(found["name"], known), ", ".join(known) or "none"
            return (
                f"[dbt] select names the selector {found['name']!r}, and {self.project / 'selectors.yml'} has no such "
                f"selector.{near} Known: {listed}."
            )
        if type(outcome.exception).__name__ == _NOT_UNDERSTOOD:
            said = self._adapter.cleaned(outcome.exception).removeprefix("Runtime Error ")
            return f"dbt does not understand [dbt] select, which is {self._select!r}: {said}. Correct it."
        return ""

    def _failure(self, node: Any) -> str:
        return self._adapter.cleaned(super()._failure(node))

    def _rows(self, run: DbtRun, first: dt.date, last: dt.date) -> Mapping[str, int]:
        """The rows of the days in the marts. A mart that cannot be counted is refused when it is read."""
        counted: dict[str, int] = {}
        for mart in self._wanted((), ()):
            for node in _nodes_of(mart, run.nodes):
                with contextlib.suppress(TailraceError):
                    days = self._reader.days(mart.table, mart.day, mart.day_of(first), mart.day_of(last))
                    counted.setdefault(str(node.name), sum(days.values()))
        return counted

    def _built_marts(self, run: DbtRun) -> dict[str, Mapping[str, Any]]:
        return run.made(self._marts())

    def _record(self, rows: Sequence[tuple[str, dt.date, str]]) -> None:
        """Record in the work folder; only one build runs at a time."""
        recorded = self._records()
        for mart, day, reason in rows:
            days = {**recorded.get(mart, {}), str(day): reason}
            recorded[mart] = dict(sorted(days.items())[-_RECORDED_DAYS:])
        partial = self._recorded.with_suffix(".partial")
        partial.write_text(json.dumps(recorded))
        partial.replace(self._recorded)

    def _records(self) -> dict[str, dict[str, str]]:
        """By mart, the days that were built here, each with the reason why it may be empty."""
        if not self._recorded.exists():
            return {}
        found: dict[str, dict[str, str]] = json.loads(self._recorded.read_text())
        return found

    @property
    def _recorded(self) -> Path:
        """Each target has records of its own."""
        return self._adapter.target_folder.parent / "builds.json"

    @property
    def _target_folder(self) -> Path:
        return self._adapter.target_folder

    @contextlib.contextmanager
    def _ready(self, first: dt.date, last: dt.date) -> Iterator[None]:
        """A project or profile that cannot be read is refused before anything is built."""
        self.parse()
        yield

    def _complaint(self, messages: Sequence[str]) -> TailraceError | None:
        return of_messages([message for message in messages if message], self._adapter)

    def _address(self) -> Mapping[str, str]:
        return {}

    def _count(self, counts: Mapping[str, str]) -> Mapping[str, int]:
        return {}

    def _release(self) -> None:
        """The adapter releases its connections itself."""

    # ------------------------------------------------------------ waiting for what is built elsewhere

    def _waited(
        self, last: dt.date, on_node: Callable[[ModelResult], None], *, without: Collection[str], only: Collection[str]
    ) -> tuple[ModelResult, ...]:
        begun = time.monotonic()
        limit = begun + (self._wait or dt.timedelta()).total_seconds()
        while (found := self.awaited(last, without=without, only=only)).late and time.monotonic() < limit:
            time.sleep(max(0.0, min(self._poll_seconds, limit - time.monotonic())))
        if found.nothing_came:
            raise UpstreamMissing(found.sentence)
        seconds = time.monotonic() - begun
        results = tuple(_arrived(table, found.late.get(table, ""), seconds) for table in found.tables)
        for result in results:
            on_node(result)
        if found.late:
            raise BuildFailed(found.sentence)
        return results

    def _said(self, last: dt.date, late: Mapping[str, str]) -> str:
        waited = ""
        if self._wait:
            waited = f" Waited for up to {self._wait.total_seconds() / 60:.4g} minutes ([dbt] wait_minutes)."
        listed = "\n".join(f"  - {table}: {said}" for table, said in late.items())
        return (
            f"Marts that are built elsewhere do not have {last} in {self.name}:\n{listed}\n"
            f"See what builds them, then run {last} again.{waited} If a day of a mart may have no rows, its dbt model "
            "says so: config: {meta: {may_be_empty: true}}."
        )

    def _late(self, last: dt.date, marts: Sequence[Mart]) -> dict[str, str]:
        """For each of the marts that does not have the run's day yet, what it has."""
        found = {}
        for mart in marts:
            if not why_empty(self._meta(mart)) and (said := self._lacks(mart, last)):
                found[mart.table] = said
        return found

    def _lacks(self, mart: Mart, day: dt.date) -> str:
        """What a mart has that does not have the run's day yet; empty if it has that day or a later one."""
        wanted = mart.day_of(day)
        try:
            newest = self._reader.newest(mart.table, mart.day)
        except UpstreamMissing as error:
            return str(error)
        if newest is not None and newest >= wanted:
            return ""
        has = "it has no rows" if newest is None else f"its newest day is {newest}"
        return f"{has}; {mart.day} {wanted} is needed"

    def _wanted(self, without: Collection[str], only: Collection[str]) -> list[Mart]:
        """The marts of these days. A table is there twice if both parts of a pipeline are in it, by different days."""
        marts = dict.fromkeys(self._marts())
        return [mart for mart in marts if mart.table not in without and (not only or mart.table in only)]

    def _meta(self, mart: Mart) -> Mapping[str, Any]:
        """What the dbt model says of the mart; nothing if dbt does not know it."""
        node = graph.made_by(mart.table, self._adapter.manifest.nodes)
        return node.config.meta if node is not None else {}


def _with_parents(marts: Sequence[str], manifest: Any, project: Path) -> list[str]:
    """dbt's selectors of these marts and of what they are made from. Raises BadInput if the project makes none."""
    made = [node for mart in marts if (node := graph.made_by(mart, manifest.nodes)) is not None]
    if not made:
        known = sorted(node.name for node in manifest.nodes.values() if str(node.resource_type) == "model")
        near = "".join(did_you_mean(mart.split(".")[-1], known) for mart in marts[:1])
        named = ", ".join(dict.fromkeys(marts)) or "there are no pipelines"
        raise BadInput(
            f"The dbt project {project} makes none of the pipelines' marts: {named}.{near} Name them in the specs as "
            "dbt names them; or set [dbt] build to 'elsewhere', if another project makes them."
        )
    return sorted({f"+{'.'.join(node.fqn)}" for node in made})


def _nodes_of(mart: Mart, results: Sequence[Any]) -> list[Any]:
    """The nodes that made the mart."""
    made = graph.made_by(mart.table, {str(one.node.unique_id): one.node for one in results if one.status == "success"})
    return [made] if made is not None else []


def _arrived(table: str, late: str, seconds: float) -> ModelResult:
    """The result of waiting for a mart."""
    return ModelResult(
        name=table,
        kind="mart",
        status="error" if late else "success",
        seconds=seconds,
        message=late,
        unique_id=f"mart.{table}",
    )
