"""What all warehouses built by dbt share: landing checks, one dbt invocation, results, resuming a failed build."""

from __future__ import annotations

import datetime as dt
import fcntl
import hashlib
import json
import re
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, chdir, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import pyarrow as pa

from tailrace.contracts import ModelResult
from tailrace.days import span
from tailrace.errors import BuildFailed, StorageFull, TailraceError, UpstreamMissing, WarehouseBusy
from tailrace.rows import nights
from tailrace.spec import Mart, registry
from tailrace.warehouse import graph, stopped_marts
from tailrace.warehouse.dbt_runs import MART, DbtRun, collect, environment, in_one_line, node_name
from tailrace.warehouse.landed import Landed
from tailrace.warehouse.tries import Tries

FULL = re.compile(
    # the last pattern is DuckDB's, for a sort or a join that finds no room for its temporary files
    r"no space left|disk quota exceeded|out of disk|disk (is )?full|failed to offload data block",
    re.IGNORECASE,
)
"""What dbt, databases and systems say of a full disk."""
MAY_BE_EMPTY = "may_be_empty"
"""The key in a mart's `meta` that declares that its days may have no rows."""
ROWS_FROM = "rows_from"
"""The key in a mart's `meta` for the landed tables that its rows come from: without their rows, a day is empty."""
BUILDS = "_tailrace_builds"
"""The table that records which days were built, in the same schema as the marts."""
_NAMED_DAYS = 3
_HEAD = 1000
"""Characters of a manifest that hold its metadata, which comes first."""
_PROJECT_FILES = {".sql", ".yml", ".csv"}


class DbtConnection(NamedTuple):
    """The profile's target, the environment variables that the profile reads (secrets too), and the work folder."""

    target: str
    variables: Mapping[str, str]
    work: Path


class DbtWarehouse(ABC):
    """A warehouse built by the dbt project in the folder `project`.

    `landing` provides the project's sources. `work` is a folder for dbt's logs, for what dbt caches of the
    project between builds, and for what a failed build stores for the next try. A day's rows depend on what
    was landed for it and for the landing's `look_back_days` before it.
    """

    target: ClassVar[str]
    """The name of the output in dbt's profile."""

    any_zone: ClassVar[bool] = False
    """Whether timestamps without a zone are read, as those of the project's own zone."""

    def __init__(self, project: Path, landing: Landed, work: Path) -> None:
        self._project = project.absolute()
        self._landing = landing
        self._work = work.absolute()
        self._look_back = dt.timedelta(days=landing.look_back_days)
        self._tries = Tries(self._work / "tries")

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
        """Build and test every model for the days first..last, in one dbt invocation.

        `without` names marts that are not needed: they are left out, with what only they are made from and what is
        made from them. `only` names the marts that are needed: nothing is built but they and what they are made from.
        `lacking` names landed tables whose files are not looked at: nothing is built that is made from these.

        Landed files of those days are checked before dbt starts, so a damaged file changes nothing. Of the days in
        the look-back, all since the first day ever landed must have been landed. `rows` counts the built days of a
        mart, all rows of a working table, and the rows that failed a test; a view has none.

        If an earlier try of the same `run_id` failed, and days and landed files are the same, this try builds only
        what failed, what a failed test judged, what changed in the project since, and what depends on any of these;
        the other results are `kept`. `on_node` receives every result, even if the build fails. The days of a mart are
        recorded if all succeeded that it is made from, and all tests of these.

        Raises BuildFailed naming every failed node, LandingRefused, UpstreamMissing, LakeUnavailable,
        StorageFull, WarehouseBusy, and the errors that the database's implementation adds.
        """
        days = _named(first, last)
        with self._prepared(first, last, lacking), self._building():
            scope = self._scope(first, last, without, only) | ({"lacking": sorted(lacking)} if lacking else {})
            before = self._tries.load(run_id, scope)
            again = self._tries.again(before) if before else []
            run = self._invoke(first, last, again, without=without, only=only, lacking=lacking)
            error = self._complaint(run.messages) or self._full(run.messages, days) or self._failed(run, days)
            error = error or self._lost_lock()
            counted = error is None or isinstance(error, BuildFailed)
            results = run.results(self._rows(run, first, last) if counted else {})
            results = _with_kept(results, before.nodes if before else ())
            if counted:
                self._record_days(_sound(self._built_marts(run), results), first, last)
            for result in results:
                on_node(result)
            if isinstance(error, WarehouseBusy):
                # another build has replaced what this try built: the next try builds everything
                self._tries.forget(run_id)
            elif error is not None:
                self._tries.save(run_id, scope, results, self._target_folder)
            if error is not None:
                raise error from run.outcome.exception
            self._tries.forget(run_id)
            return results

    @abstractmethod
    def read(
        self, table: str, day: dt.date, order_by: Sequence[str], *, day_column: str = "ds"
    ) -> pa.RecordBatchReader:
        """See `contracts.Warehouse`."""

    @abstractmethod
    def schema(self, table: str) -> pa.Schema | None:
        """See `contracts.Warehouse`."""

    @abstractmethod
    def built(self, day: dt.date) -> Mapping[str, str] | None:
        """See `contracts.Warehouse`."""

    def record(self, first: dt.date, last: dt.date, only: Collection[str] = ()) -> None:
        """Record that these marts, or all of the project, were built for the days, when dbt ran outside of `build`."""
        nodes = json.loads(self.parse().read_text())["nodes"].values()
        read = [mart.table for mart in marts_of_the_project()]
        marts: dict[str, Mapping[str, Any]] = {}
        for node in nodes:
            name, table = node["name"], f"{node['schema']}.{node['alias']}"
            if node["resource_type"] != "model" or (only and not graph.called(name, table, only)):
                continue
            called = [mart for mart in read if graph.called(name, table, [mart])]
            called += [name] if node["config"]["materialized"] == MART else []
            marts |= dict.fromkeys(called, node["config"].get("meta", {}))
        self._record_days(marts, first, last)

    def _built_marts(self, run: DbtRun) -> dict[str, Mapping[str, Any]]:
        """The marts that were built, each with its `meta`: what is incremental, and what a pipeline reads."""
        return run.marts | run.made(marts_of_the_project())

    def _rows(self, run: DbtRun, first: dt.date, last: dt.date) -> Mapping[str, int]:
        """The row count of each built table: the days' rows for a mart, all rows for a working table or seed."""
        return self._count(run.counting(first, last))

    def _record_days(self, marts: Mapping[str, Mapping[str, Any]], first: dt.date, last: dt.date) -> None:
        """Record these marts' days, each with the reason why it may be empty; `marts` maps a mart to its `meta`."""
        if not marts:
            return
        landed = self._landing.empty(first, last)
        rows = [
            (mart, day, why_empty(meta, landed.get(day, ())))
            for mart, meta in sorted(marts.items())
            for day in span(first, last)
        ]
        self._record(rows)

    def sources(
        self, day: dt.date, first: dt.date | None = None, *, marts: Collection[str] = ()
    ) -> Mapping[dt.date, str]:
        """See `contracts.Warehouse`: the day and the days of its look-back."""
        found = self._landing.digests((first or day) - self._look_back, day)
        unread = self._unread(marts) if found and marts else frozenset()
        tables: dict[dt.date, list[tuple[str, str]]] = defaultdict(list)
        for (table, landed), digest in found.items():
            if table not in unread:
                tables[landed].append((table, digest))
        return {
            landed: hashlib.sha256(json.dumps(sorted(digests)).encode()).hexdigest()
            for landed, digests in sorted(tables.items())
        }

    def _unread(self, marts: Collection[str]) -> frozenset[str]:
        """The names of dbt's sources that none of the marts is made from; none if dbt makes none of the marts."""
        manifest = json.loads(self.parse().read_text())
        return graph.unread(marts, manifest)

    def prepare(self, first: dt.date, last: dt.date) -> Mapping[str, str]:
        """Do what a build does before dbt starts; returns the variables for a dbt run outside of `build`.

        Raises what `build` raises, except BuildFailed.
        """
        with self._prepared(first, last):
            return self.variables(first, last)

    def lacking(self, first: dt.date, last: dt.date) -> Mapping[str, Sequence[dt.date]]:
        """See `contracts.LandedWarehouse`."""
        found: Mapping[str, Sequence[dt.date]] = self._landing.lacking(first, last)  # type: ignore[attr-defined]
        return found

    def readers(self, tables: Collection[str]) -> Mapping[str, Collection[tuple[str, str]]] | None:
        """See `contracts.LandedWarehouse`. Nobody can tell of a table that is no source of the dbt project."""
        manifest = json.loads(self.parse().read_text())
        every = manifest["sources"].items()
        sources = {table: [key for key, each in every if each["name"] == table] for table in tables}
        if not all(sources.values()):
            return None
        models = {key: node for key, node in manifest["nodes"].items() if node["resource_type"] in graph.BUILT}
        return {
            table: [
                (models[key]["name"], graph.full_name(*(models[key][part] for part in ("database", "schema", "alias"))))
                for key in graph.reached(begin, manifest["child_map"])
                if key in models
            ]
            for table, begin in sources.items()
        }

    @contextmanager
    def _prepared(self, first: dt.date, last: dt.date, lacking: Collection[str] = ()) -> Iterator[None]:
        """Check that the days are landed and sound, and make the database ready for dbt; raises as `prepare` does."""
        if lacking:
            self._landing.check(first, last, lacking)  # type: ignore[call-arg]
        else:
            self._refuse_gaps(first, last)
            self._landing.check(first, last)
        self._work.mkdir(parents=True, exist_ok=True)
        with self._ready(first, last):
            yield

    def build_without_tests(self, first: dt.date, last: dt.date, only: Collection[str]) -> tuple[ModelResult, ...]:
        """Build these marts for the days first..last, and what they are made from, in one invocation of dbt.

        Nothing is tested, and no build is recorded.

        This is for throw-away copies. Raises what `build` raises.
        """
        with self._prepared(first, last), self._building():
            run = self._invoke(first, last, ["--exclude-resource-type", "test"], without=(), only=only)
            if error := self._complaint(run.messages) or self._full(run.messages, _named(first, last)):
                raise error from run.outcome.exception
            if error := self._failed(run, _named(first, last)):
                raise error from run.outcome.exception
            return run.results({})

    @property
    def landing(self) -> Landed:
        """What is landed for the project."""
        return self._landing

    @property
    def project(self) -> Path:
        """The folder of the dbt project."""
        return self._project

    @property
    def manifest(self) -> Path:
        """The path of the manifest that `parse` writes; before the first `parse` the file does not exist."""
        return self._work / "manifest" / self.target / "manifest.json"

    @property
    def run_results(self) -> Path:
        """What dbt wrote about its last build here; before the first build the file does not exist."""
        return self._target_folder / "run_results.json"

    @property
    def connection(self) -> DbtConnection:
        """What another process of dbt needs to reach the same database."""
        return DbtConnection(self.target, {**self._address(), **self._secrets()}, self._work)

    def parse(self) -> Path:
        """Have dbt parse the project if a file of it, or dbt itself, changed since the last time.

        Returns the manifest's path.

        It takes seconds. Raises BuildFailed if dbt cannot read the project.
        """
        if self.manifest.exists() and self._manifest_is_current():
            return self.manifest
        self.manifest.parent.mkdir(parents=True, exist_ok=True)
        # other processes may parse too: each writes its own file, and the last one stays
        with tempfile.TemporaryDirectory(dir=self.manifest.parent) as target:
            if self._parsed.exists():
                # with it, dbt reads only the files that changed
                shutil.copy(self._parsed, target)
            variables = {**self.variables(dt.date.min, dt.date.min), **self._secrets()}
            outcome = self._dbt(["parse"], variables, Path(target), lambda event: None)
            if not outcome.success:
                raise BuildFailed(f"dbt cannot read the project {self._project}: {in_one_line(outcome.exception)}.")
            if (Path(target) / self._parsed.name).exists():
                (Path(target) / self._parsed.name).replace(self._parsed)
            (Path(target) / self.manifest.name).replace(self.manifest)
        return self.manifest

    @property
    def _parsed(self) -> Path:
        """What dbt keeps of a parsed project."""
        return self.manifest.with_name("partial_parse.msgpack")

    def _manifest_is_current(self) -> bool:
        """Whether the installed dbt wrote the manifest, and nothing of the project changed since."""
        with self.manifest.open(encoding="utf-8") as file:
            by_this_dbt = json.dumps({"dbt_version": version("dbt-core")})[1:-1] in file.read(_HEAD)
        return by_this_dbt and self.manifest.stat().st_mtime >= self._changed_at()

    def _changed_at(self) -> float:
        """When a file of the project was last changed, in seconds since the epoch."""
        return max(file.stat().st_mtime for file in self._project.rglob("*") if file.suffix in _PROJECT_FILES)

    def variables(self, first: dt.date, last: dt.date) -> Mapping[str, str]:
        """The environment variables that dbt's profile, sources and models read, without secrets."""
        return {
            "DBT_TARGET": self.target,
            "TAILRACE_LANDING": self._landing.location,
            "BUILD_FIRST_DAY": first.isoformat(),
            "BUILD_LAST_DAY": last.isoformat(),
            **self._address(),
        }

    @property
    @abstractmethod
    def name(self) -> str:
        """The database's name in messages."""

    @abstractmethod
    def _address(self) -> Mapping[str, str]:
        """The environment variables with which dbt's profile finds the database."""

    def _secrets(self) -> Mapping[str, str]:
        """The secret ones among dbt's environment variables, which must not be shown."""
        return {}

    @abstractmethod
    def _ready(self, first: dt.date, last: dt.date) -> AbstractContextManager[None]:
        """Keeps the database ready for a build of the days, until the block ends."""

    def _lock_variables(self) -> Mapping[str, str]:
        """More environment variables for dbt while the build holds its lock; none if it needs none."""
        return {}

    def _lost_lock(self) -> WarehouseBusy | None:
        """The error if the build lost its lock before it ended."""
        return None

    @abstractmethod
    def _count(self, counts: Mapping[str, str]) -> Mapping[str, int]:
        """The results of these counting statements, by table."""

    @abstractmethod
    def _record(self, rows: Sequence[tuple[str, dt.date, str]]) -> None:
        """Write mart, day and reason of each row to the table `BUILDS`; a row for the same mart and day is replaced."""

    @abstractmethod
    def _complaint(self, messages: Sequence[str]) -> TailraceError | None:
        """The error if a message is about the database itself and not the fault of a model."""

    @abstractmethod
    def _release(self) -> None:
        """Release what dbt's adapter still holds after a run."""

    @property
    def _target_folder(self) -> Path:
        """Always the same folder: dbt caches the parsed project there."""
        return self._work / "target"

    def _scope(self, first: dt.date, last: dt.date, without: Collection[str], only: Collection[str]) -> dict[str, Any]:
        """Describes what a build builds: only a try with the same description is resumed."""
        marks = self._landing.marks(first - self._look_back, last)
        return {
            "database": self.name,
            "days": [str(first), str(last)],
            "without": sorted(without),
            "only": sorted(only),
            "landed": sorted([table, str(day), mark] for (table, day), mark in marks.items()),
        }

    def _refuse_gaps(self, first: dt.date, last: dt.date) -> None:
        """Raise UpstreamMissing if a day of the look-back was not landed: otherwise nobody would notice the gap."""
        missing = self._landing.gaps_before(first)
        if missing:
            named = ", ".join(str(day) for day in missing[:_NAMED_DAYS])
            more = f" and {len(missing) - _NAMED_DAYS} more" if len(missing) > _NAMED_DAYS else ""
            start = nights.missed(self._landing, first)[0]
            raise UpstreamMissing(
                f"The build of {first} looks back {self._look_back.days} days, and {len(missing)} of these days "
                f"were not landed: {named}{more}. Every later night is refused until they are. Catch up from the first "
                f"missed night on, with one command: tailrace warehouse --date {start} --to {last}; or in Airflow: use "
                "the button Catch up on the page Models, or trigger the DAG warehouse with First day "
                f"{start} and Day {last}."
            )

    @contextmanager
    def _building(self) -> Iterator[None]:
        """Take the lock for building: two builds at once would damage what dbt caches in its target folder.

        The operating system releases the lock when the process ends, however it ends.
        """
        with (self._work / "target.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise WarehouseBusy(
                    f"The warehouse {self.name} is being built by another process, which holds {lock.name}. "
                    "Wait for it to finish or end it, then try again."
                ) from error
            yield

    def _invoke(
        self,
        first: dt.date,
        last: dt.date,
        selection: Sequence[str],
        *,
        without: Collection[str],
        only: Collection[str],
        lacking: Collection[str] = (),
    ) -> DbtRun:
        logs: dict[str, list[str]] = defaultdict(list)
        variables = {**self.variables(first, last), **self._secrets(), **self._lock_variables()}
        manifest = None
        try:
            if lacking or self._needs_graph(without, only):
                parsed = self._graph(variables)
                if not parsed.success:
                    return DbtRun(parsed, (), logs)
                manifest = parsed.result
                selection = self._selection(manifest, selection, without=without, only=only)
                selection = _without_sources(selection, graph.sources_of(lacking, manifest.sources))
            # unit tests test the SQL, not the data: they run when the SQL changes; exposures build nothing
            others = [word for kind in ("unit_test", "exposure") for word in ("--exclude-resource-type", kind)]
            command = ["build", *others, *selection]
            outcome = self._dbt(
                command, variables, self._target_folder, lambda event: collect(event, logs), manifest=manifest
            )
        finally:
            self._release()
        return DbtRun(outcome, tuple(getattr(outcome.result, "results", None) or ()), logs)

    def _needs_graph(self, without: Collection[str], only: Collection[str]) -> bool:
        """Whether what to build depends on what is made from what."""
        return bool(without or only)

    def _graph(self, variables: Mapping[str, str]) -> Any:
        """dbt's outcome of reading the project; its result is the manifest."""
        return self._dbt(["parse"], variables, self._target_folder, lambda event: None)

    def _selection(
        self, manifest: Any, again: Sequence[str], *, without: Collection[str], only: Collection[str]
    ) -> list[str]:
        """The arguments that choose what dbt builds; `again` are those that repeat only what is necessary."""
        left_out = {*graph.only_for(without, manifest.nodes)}
        left_out |= {*graph.not_for(only, manifest.nodes, manifest.sources)} if only else set()
        return [*again, *(["--exclude", *sorted(left_out)] if left_out else [])]

    def _dbt(
        self,
        command: Sequence[str],
        variables: Mapping[str, str],
        target: Path,
        hear: Callable[[Any], None],
        *,
        manifest: Any = None,
    ) -> Any:
        """Run dbt in this process, quietly; returns its outcome. With a `manifest` dbt does not parse the project."""
        from dbt.cli.main import dbtRunner

        arguments = [
            *("--log-level", "none", "--log-level-file", "info"),
            "--no-send-anonymous-usage-stats",
            *("--log-path", str(self._work / "logs")),
            *command,
            *("--project-dir", str(self._project)),
            *("--profiles-dir", str(self._project)),
            *("--target-path", str(target)),
        ]
        # dbt changes into the project's folder
        with environment(variables), chdir(self._project):
            return dbtRunner(manifest=manifest, callbacks=[hear]).invoke(arguments)

    def _full(self, messages: Sequence[str], days: str) -> StorageFull | None:
        """The error if a message is about a full disk."""
        for message in messages:
            if FULL.search(message):
                return StorageFull(
                    f"The disk is full, so dbt could not build {days}: {' '.join(message.split())}. "
                    f"Free space for {self.name} and {self._work}, then build {days} again."
                )
        return None

    def _failed(self, run: DbtRun, days: str) -> BuildFailed | None:
        """The error that names every failed node, or says why dbt did not reach any node."""
        failures = [self._failure(node) for node in run.failed]
        if failures:
            listed = "\n".join(f"  - {failure}" for failure in failures)
            return BuildFailed(f"dbt failed on {len(failures)} of {len(run.nodes)} nodes for {days}:\n{listed}")
        if not run.outcome.success:
            log = self._work / "logs" / "dbt.log"
            return BuildFailed(f"dbt did not start building {days}: {in_one_line(run.outcome.exception)}.\nSee {log}.")
        return None

    def _failure(self, node: Any) -> str:
        """A sentence about a failed node: what it is, what happened, where to look."""
        kind, name = str(node.node.resource_type), node_name(node)
        if kind == "test" and node.failures is not None:
            look = f"to see them, run the query in {node.node.compiled_path} on {self.name}"
            return f"test {name}: {node.failures} rows fail; {look}"
        return f"{kind} {name}: {' '.join((node.message or 'no message').split())}"


def _without_sources(selection: Sequence[str], sources: Sequence[str]) -> list[str]:
    """The selection without all that is made from these sources, which dbt's selectors name."""
    if not sources:
        return [*selection]
    # `--exclude` is always the last one of our own options
    return [*selection, *([] if "--exclude" in selection else ["--exclude"]), *(f"{source}+" for source in sources)]


def marts_of_the_project() -> list[Mart]:
    """The marts of all pipelines whose specs are right."""
    specs, _ = registry.load(estimators=False)
    return [mart for spec in specs for mart in spec.marts]


def _sound(marts: Mapping[str, Mapping[str, Any]], results: Sequence[ModelResult]) -> dict[str, Mapping[str, Any]]:
    """Those of the marts whose nodes and tests all succeeded; each with its `meta`."""
    stopped = stopped_marts.stopped(results, {mart: (mart,) for mart in marts})
    return {mart: meta for mart, meta in marts.items() if mart not in stopped}


def why_empty(meta: Mapping[str, Any], landed_empty: Sequence[str] = ()) -> str:
    """Why a mart may have no rows for a day; empty if there is no reason.

    An empty landed table alone is no reason: a mart that joins it may have lost its rows in another way.
    """
    named = meta.get(ROWS_FROM, ())
    tables = {named} if isinstance(named, str) else set(named)
    if tables and tables <= set(landed_empty):
        return f"the landed files of {', '.join(sorted(tables))} have no rows"
    return "its dbt model declares that its days may be empty" if meta.get(MAY_BE_EMPTY) else ""


def _with_kept(results: tuple[ModelResult, ...], before: tuple[ModelResult, ...]) -> tuple[ModelResult, ...]:
    """The results of this try, preceded by those of earlier tries that it did not repeat."""
    repeated = {result.unique_id for result in results}
    return (*(node for node in before if node.unique_id not in repeated), *results)


def _named(first: dt.date, last: dt.date) -> str:
    return f"{first}" if first == last else f"{first}..{last}"
