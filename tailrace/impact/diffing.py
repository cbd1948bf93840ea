"""`tailrace diff`: what an edit does to the predictions of the last published days.

Both sides of the edit are built in throw-away copies, scored by the champions of those days, and joined by key. Nothing
is written that a night, a reader or a page could meet.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tailrace.contracts import Services, Warehouse
from tailrace.errors import BadInput, TailraceError, UnknownName
from tailrace.impact import (
    data_tests,
    finding,
    sandbox,
    schema_copies,
    scratch,
    spec_contents,
    usage,
)
from tailrace.impact.dbt_sides import BUILT, DbtNode, DbtSide
from tailrace.impact.finding import Impact, Sides, TouchedPipeline
from tailrace.impact.git_trees import Repository
from tailrace.impact.pipeline_diff import AFTER, BEFORE, ComparedPipeline, PipelineComparison, PipelineDiff
from tailrace.impact.sandbox import BuiltNode, DuckDBCopy, WarehouseCopy
from tailrace.impact.schema_copies import SchemaCopy
from tailrace.settings import Settings
from tailrace.spec import PipelineSpec, registry
from tailrace.warehouse import throwaway_schemas
from tailrace.warehouse.adapter import DbtAdapter
from tailrace.warehouse.dbt_project import DbtProjectWarehouse

PREFIX = "tailrace-diff-"


@dataclass(frozen=True, kw_only=True)
class Diff:
    """The diffs of all pipelines that an edit touches; none: nothing was built."""

    impact: Impact
    pipelines: tuple[PipelineDiff, ...]
    built: tuple[BuiltNode, ...]
    seconds: float

    @property
    def failed(self) -> bool:
        """Whether something is beyond the review policy, or could not be compared."""
        return any(each.beyond or each.error for each in self.pipelines)


def run(
    services: Services,
    settings: Settings,
    *,
    revision: str | None = None,
    days: int = 7,
    names: Collection[str] = (),
    note: Callable[[str], None] = lambda step: None,
) -> Diff:
    """Compare both sides on the last `days` published days of each touched pipeline, or of those that are named.

    `note` is told each step. Raises what `finding.find` raises, BuildFailed naming the side that does not build,
    UnknownName, BadInput if the warehouse cannot be copied, WarehouseBusy.
    """
    begun = time.monotonic()
    _refuse_unknown(names, settings, revision)
    with ExitStack() as stack:
        folder = stack.enter_context(scratch.folder(settings.work, PREFIX))
        both = stack.enter_context(finding.sides(services, settings, revision, folder))
        impact = finding.of_sides(services, settings, both)
        touched = [each for each in impact.pipelines if each.comparable and (not names or each.pipeline in names)]
        note("impact found")
        run_of = _Run(services, settings, both=both, impact=impact, folder=folder, stack=stack, note=note)
        found = run_of.diffs(touched, days)
    return Diff(impact=impact, pipelines=tuple(found), built=tuple(run_of.built), seconds=time.monotonic() - begun)


def _refuse_unknown(names: Collection[str], settings: Settings, revision: str | None) -> None:
    """Raises UnknownName for a pipeline that neither side has, before anything is read."""
    unknown = [name for name in names if name not in registry.names()]
    if not unknown:
        return
    repository = Repository(settings.project.root.resolve())
    base = repository.base(revision)
    for name in unknown:
        if repository.text(base, f"pipelines/{name}.py") is None:
            raise UnknownName("pipeline", name, registry.names())


class _Run:
    """One diff: builds, and then compares pipeline by pipeline."""

    def __init__(
        self,
        services: Services,
        settings: Settings,
        *,
        both: Sides,
        impact: Impact,
        folder: Path,
        stack: ExitStack,
        note: Callable[[str], None],
    ) -> None:
        self._services, self._settings, self._both, self._impact = services, settings, both, impact
        self._folder, self._stack, self._note = folder, stack, note
        self.built: list[BuiltNode] = []
        self._warehouses: dict[str, Warehouse] = {}
        self._dbt: dict[str, tuple[DbtAdapter, Any]] = {}
        """By side, the adapter that built it, and the manifest by which it did."""
        self._failing: dict[str, str] = {}
        """The data tests that fail after the edit, and not before it, by dbt's id."""

    def diffs(self, touched: Sequence[TouchedPipeline], days: int) -> list[PipelineDiff]:
        chosen = [self._chosen(each, days) for each in touched]
        to_build = [each for each in chosen if each.days and each.builds and not each.error]
        if to_build:
            self._build(to_build)
        return [self._diff(each) for each in chosen]

    def _chosen(self, touched: TouchedPipeline, days: int) -> ComparedPipeline:
        edit = touched.spec
        if edit is not None and edit.kind in ("added", "deleted", "wrong"):
            after = registry.get(touched.pipeline) if edit.kind == "added" else None
            why = {"error" if edit.kind == "wrong" else "skipped": edit.why}
            return ComparedPipeline(touched=touched, before=after, after=after, days=(), **why)  # type: ignore[arg-type]
        after = registry.get(touched.pipeline)
        before = spec_contents.whole(self._both.checkout, touched.pipeline) if edit is not None else after
        published = sorted(self._services.lake.days(after.predictions_table))[-days:]
        skipped = "" if published else "no day of it is published yet, so there are no predictions to compare"
        return ComparedPipeline(touched=touched, before=before, after=after, days=tuple(published), skipped=skipped)

    # ------------------------------------------------------------ building

    def _build(self, chosen: Sequence[ComparedPipeline]) -> None:
        """Build both sides in copies; the second copy starts from the first, so what is the same is built once."""
        days = [day for each in chosen for day in each.days]
        span = min(days), max(days)
        before, after = (self._needed(side, [getattr(each, name) for each in chosen]) for side, name in self._named())
        affected = {id_ for id_, change in self._impact.tables.items() if change.touched}
        base, again = self._copies()
        missing = base.missing(before)
        first = [node for node in before if node.id in affected | missing or _is_made_anew(node)]
        self._made(BEFORE, base, self._both.before, nodes=first, span=span, chosen=chosen)
        edited = [node for node in after if node.id in affected or node.id not in self._both.before.nodes]
        there = {node.id for node in after}
        changed = self._impact.changed_tests
        tests = data_tests.concerned(self._both.after, [node.id for node in edited], changed, there)
        if not edited and not tests:
            self._warehouses[AFTER] = self._warehouses[BEFORE]
            return
        self._made(AFTER, again(), self._both.after, nodes=edited, span=span, chosen=chosen)
        self._run_tests(tests)

    def _run_tests(self, tests: Sequence[DbtNode]) -> None:
        """Run data tests after the edit; those that fail, before it too: they fail today."""
        self._failing = dict(data_tests.failures(self._dbt[AFTER][0], tests, self._dbt[AFTER][1]))
        failed = [node for node in tests if node.id in self._failing]
        for id_ in data_tests.failures(self._dbt[BEFORE][0], failed, self._dbt[BEFORE][1]):
            del self._failing[id_]
        self._note(f"{len(tests)} data tests run")

    def _tests_failing(self, chosen: ComparedPipeline) -> list[str]:
        """A sentence for each failing test that stops the pipeline's marts from being built."""
        nodes, made_from = self._both.after.nodes, usage.made_from(chosen.after, self._both.after)
        return [
            f"dbt test {nodes[id_].name}: {said}, and the night's build would stop {chosen.after.name}"
            for id_, said in self._failing.items()
            if {*nodes[id_].needs} & made_from
        ]

    def _copies(self) -> tuple[WarehouseCopy, Callable[[], WarehouseCopy]]:
        """Where the base is built, and what then makes the place for the other side, which starts from there."""
        original = self._both.after.adapter
        if original.type == "duckdb":
            base = DuckDBCopy(self._database(original), self._folder / BEFORE)
            return base, lambda: DuckDBCopy(base.database, self._folder / AFTER)
        if original.type == "postgres":
            one, other = self._stack.enter_context(
                throwaway_schemas.made(original, schema_copies.PREFIX, [BEFORE, AFTER])
            )
            first = SchemaCopy(one, self._both.before.adapter, self._folder / BEFORE)
            return first, lambda: SchemaCopy(other, original, self._folder / AFTER, built=first.built)
        raise BadInput(
            f"{original.name} cannot be copied: `tailrace diff` builds in copies of a DuckDB file, or in throw-away "
            "schemas of Postgres. See which columns and pipelines the edit touches with: tailrace impact."
        )

    def _named(self) -> list[tuple[DbtSide, str]]:
        return [(self._both.before, BEFORE), (self._both.after, AFTER)]

    def _made(
        self,
        name: str,
        copy: WarehouseCopy,
        side: DbtSide,
        *,
        nodes: Sequence[DbtNode],
        span: tuple[dt.date, dt.date],
        chosen: Sequence[ComparedPipeline],
    ) -> None:
        copy.refuse_other_places(nodes)
        adapter = copy.adapter(side.folder, side.adapter, span)
        incremental = [node for node in nodes if sandbox.is_incremental(node)]
        copy.prepare(adapter, nodes, self._since(side, incremental, chosen, name))
        where = "The working files" if name == AFTER else f"The base {self._both.base.short}"
        manifest = copy.manifest(adapter, nodes)
        results = sandbox.build(adapter, nodes, where, manifest)
        self.built += results
        self._dbt[name] = adapter, manifest
        self._warehouses[name] = copy.warehouse(adapter, self._settings.zone or "UTC")
        self._note(f"{len(results)} models built {'before' if name == BEFORE else 'after'} the edit")

    def _since(
        self, side: DbtSide, nodes: Sequence[DbtNode], chosen: Sequence[ComparedPipeline], name: str
    ) -> dict[str, tuple[str, dt.date]]:
        """From which day on an incremental table is built again; nothing for one whose columns are others now."""
        first = min(day for each in chosen for day in each.days)
        found = {node.id: ("ds", first) for node in nodes}
        for each in chosen:
            spec = each.before if name == BEFORE else each.after
            for mart in spec.marts:
                node = usage.node_of(side, mart.table)
                if node is not None and node.id in found:
                    found[node.id] = (mart.day, mart.day_of(first))
        for id_, change in self._impact.tables.items():
            other = set(change.columns.values()) & {"added", "removed"}
            if name == AFTER and (other or _is_retyped(self._both, id_)):
                found.pop(id_, None)
        return found

    def _needed(self, side: DbtSide, specs: Sequence[PipelineSpec]) -> list[DbtNode]:
        """What the marts are made from, and they themselves. Raises BadInput for one that this side does not make."""
        needed = set[str]()
        for spec in specs:
            for mart in spec.marts:
                if usage.node_of(side, mart.table) is None:
                    where = "The working files" if side is self._both.after else f"The base {self._both.base.short}"
                    raise BadInput(f"{where} have no dbt model {mart.table}, which {spec.name} reads.")
            needed |= usage.made_from(spec, side)
        return [node for id_, node in side.nodes.items() if id_ in needed and node.kind in BUILT]

    def _database(self, adapter: DbtAdapter) -> Path:
        if isinstance(self._services.warehouse, DbtProjectWarehouse):
            return (adapter.project / adapter.credentials.path).resolve()
        return Path(self._settings.warehouse).absolute()

    # ------------------------------------------------------------ comparing

    def _diff(self, chosen: ComparedPipeline) -> PipelineDiff:
        begun = time.monotonic()
        found = PipelineDiff(
            pipeline=chosen.touched.pipeline, days=chosen.days, error=chosen.error, skipped=chosen.skipped
        )
        if not chosen.error and not chosen.skipped:
            try:
                found = PipelineComparison(
                    self._services,
                    self._settings,
                    chosen=chosen,
                    warehouses=self._warehouses,
                    base_suites=self._base_suites(),
                    folder=self._folder,
                    tests_failing=self._tests_failing(chosen),
                ).diff()
            except TailraceError as error:
                found = replace(found, error=" ".join(str(error).split()))
            if unseen := self._unseen(chosen.touched):
                found = replace(found, unseen=unseen, equal=False, beyond=(*found.beyond, unseen))
        self._note(f"{found.pipeline} compared")
        return replace(found, seconds=time.monotonic() - begun)

    def _base_suites(self) -> Path:
        """The folder of the suites as they were at the base."""
        root, suites = self._settings.project.root.resolve(), self._settings.suites.resolve()
        return self._both.checkout / suites.relative_to(root) if suites.is_relative_to(root) else suites

    def _unseen(self, touched: TouchedPipeline) -> str:
        """What the days that are there cannot show: they were landed by the code before the edit."""
        begins = {column.path[0].split(" ")[0] for column in touched.columns if column.path}
        tables = sorted(begins & set(self._impact.edits.landed))
        if not tables:
            return ""
        return (
            f"the code that lands {', '.join(tables)} changed, and the compared days were landed before that, "
            "so what it changes is not seen here"
        )


def _is_made_anew(node: DbtNode) -> bool:
    """Whether each build makes the whole table: those of other builds would have other days."""
    return node.kind == "model" and node.config.get("materialized") not in ("incremental", "ephemeral")


def _is_retyped(both: Sides, id_: str) -> bool:
    before, after = both.before.nodes.get(id_), both.after.nodes.get(id_)
    return before is not None and after is not None and before.contract and before.types != after.types
