"""`tailrace impact`: what an edit touches, from the git diff to the pipelines and the people who answer for them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from tailrace.contracts import Services, Warehouse
from tailrace.errors import BadInput, BuildFailed, TailraceError
from tailrace.impact import column_changes, costs, project_edits, usage
from tailrace.impact.column_changes import TableChange
from tailrace.impact.costs import Cost
from tailrace.impact.dbt_sides import DbtSide, PlainSide
from tailrace.impact.git_trees import Base, Repository
from tailrace.impact.meaning import ROWS
from tailrace.impact.project_edits import ProjectEdits, SpecEdit, SuiteEdit
from tailrace.impact.usage import TouchedColumn
from tailrace.operations.champion_checks import ChampionChecks
from tailrace.operations.passed_checks import PassedChecks
from tailrace.settings import Settings
from tailrace.spec import PipelineSpec, registry
from tailrace.warehouse.adapter import DbtAdapter
from tailrace.warehouse.dbt import DbtWarehouse
from tailrace.warehouse.dbt_project import DbtProjectWarehouse

_DAY = dt.date(2000, 1, 1)
"""The day for which templates are rendered; it is the same on both sides."""


@dataclass(frozen=True, kw_only=True)
class TouchedPipeline:
    """A pipeline that an edit touches.

    `columns` are those of its marts, `champion` the version in force (empty: none), `learned` the touched columns that
    the champion was trained with, None if that is not known. `tests` are the dbt tests that judge its tables otherwise.
    `retraining` says whether one is needed, and why. `publishes` are the lake tables whose days would be others.
    """

    pipeline: str
    owners: tuple[str, ...]
    columns: tuple[TouchedColumn, ...] = ()
    spec: SpecEdit | None = None
    suites: tuple[SuiteEdit, ...] = ()
    tests: tuple[str, ...] = ()
    champion: str = ""
    learned: tuple[str, ...] | None = None
    retrain: bool = False
    retraining: str = ""
    publishes: tuple[str, ...] = ()
    cost: Cost = field(default_factory=Cost)

    @property
    def rebuilds(self) -> bool:
        """Whether its marts have other values or rows."""
        return bool(self.columns)

    @property
    def rescores(self) -> bool:
        """Whether its predictions may be others without a training."""
        return self.rebuilds or (self.spec is not None and self.spec.asks_for("rebuild", "rescore", "retrain"))

    @property
    def comparable(self) -> bool:
        """Whether a night may say something else of it: other predictions, or another judgment by tests or audit."""
        audited = self.spec is not None and any(name.partition(".")[0] == "audit" for name in self.spec.fields)
        return self.rescores or bool(self.suites) or bool(self.tests) or audited


@dataclass(frozen=True, kw_only=True)
class Impact:
    """What the edits since `base` touch."""

    base: Base
    files: tuple[str, ...]
    tables: Mapping[str, TableChange]
    edits: ProjectEdits
    pipelines: tuple[TouchedPipeline, ...]
    untouched: tuple[str, ...]
    tests: Mapping[str, str]
    changed_tests: Mapping[str, str]
    """What was done to each dbt test that judges otherwise, by dbt's unique id; `tests` has them by name, in words."""
    notes: tuple[str, ...]

    @property
    def nothing(self) -> bool:
        """Whether nothing means something else."""
        return not self.pipelines and not self.tests and not any(change.touched for change in self.tables.values())


@dataclass(frozen=True, kw_only=True)
class Sides:
    """Both sides of an edit: the files of the base in a temporary folder, and the dbt projects."""

    repository: Repository
    base: Base
    checkout: Path
    files: tuple[str, ...]
    before: DbtSide
    after: DbtSide


@contextmanager
def sides(
    services: Services, settings: Settings, revision: str | None = None, under: Path | None = None
) -> Iterator[Sides]:
    """The base that `revision` names (None: see `Repository.base`) beside the working files.

    The base's files are in a temporary folder until the block ends. Raises BadInput for a base that does not exist or
    if there is no git; BuildFailed with the side that dbt cannot read.
    """
    root = settings.project.root.resolve()
    repository = Repository(root)
    base = repository.base(revision)
    files = repository.changed(base)
    warehouse = services.warehouse
    dbt = _dbt_folder(warehouse)
    with repository.checked_out(base, under=under) as checkout:
        if dbt is None or not isinstance(warehouse, DbtWarehouse):
            empty = PlainSide()
            yield Sides(repository=repository, base=base, checkout=checkout, files=files, before=empty, after=empty)
            return
        if not dbt.is_relative_to(root):
            raise BadInput(
                f"The dbt project {dbt} is not in the project's folder {root}, so one revision does not say what both "
                "were. Put them into one folder, or run the command with a tailrace.toml beside the dbt project."
            )
        old = checkout / dbt.relative_to(root)
        changed = any(Path(file).is_relative_to(dbt.relative_to(root)) for file in files)
        cache = settings.work / "impact"
        after = DbtSide(adapter_of(warehouse, settings, dbt, settings.work / "dbt"), cache=cache)
        before: DbtSide = after
        if changed and (old / "dbt_project.yml").is_file():
            _borrow_packages(dbt, old)
            parsed = after.partial_parse
            adapter = adapter_of(warehouse, settings, old, checkout / ".tailrace-dbt")
            before = DbtSide(adapter, cache=cache, before=parsed)
        elif changed:
            before = PlainSide()
        _read(after, "the working files")
        _read(before, f"the base {base.short}")
        try:
            yield Sides(repository=repository, base=base, checkout=checkout, files=files, before=before, after=after)
        finally:
            for side in (before, after):
                side.save()


def find(services: Services, settings: Settings, revision: str | None = None) -> Impact:
    """What the edits since a revision touch. Nothing is built or published. Raises what `sides` raises, SpecError."""
    with sides(services, settings, revision) as both:
        return of_sides(services, settings, both)


def of_sides(services: Services, settings: Settings, both: Sides) -> Impact:
    """What differs between these sides, and who uses it."""
    edits = project_edits.find(
        both.repository, both.base, checkout=both.checkout, settings=settings, changed=both.files
    )
    tables = column_changes.compare(both.before, both.after, edits.landed)
    return _Finding(services, settings, both=both, edits=edits, tables=tables).impact()


class _Finding:
    """Gathers what one edit touches."""

    def __init__(
        self,
        services: Services,
        settings: Settings,
        *,
        both: Sides,
        edits: ProjectEdits,
        tables: Mapping[str, TableChange],
    ) -> None:
        self._services, self._settings, self._both = services, settings, both
        self._edits, self._tables = edits, tables
        self._changed_tests = column_changes.changed_tests(both.before, both.after)
        self._notes: list[str] = []
        self._passed = PassedChecks(settings.work / "checks")
        self._champions = ChampionChecks(services, self._passed, settings.tracking_uri)

    def impact(self) -> Impact:
        specs, problems = registry.load(estimators=False)
        self._notes += [f"Not looked at: {problem}" for problem in problems]
        pipelines = [found for spec in specs if (found := self._pipeline(spec)) is not None]
        gone = [edit for edit in self._edits.specs if edit.kind in ("deleted", "wrong")]
        pipelines += [TouchedPipeline(pipeline=edit.pipeline, owners=(), spec=edit, retraining="") for edit in gone]
        touched = {each.pipeline for each in pipelines}
        return Impact(
            base=self._both.base,
            files=self._both.files,
            tables=self._tables,
            edits=self._edits,
            pipelines=tuple(pipelines),
            untouched=tuple(spec.name for spec in specs if spec.name not in touched),
            tests=usage.tests_of(self._both.before, self._both.after, self._changed_tests),
            changed_tests=self._changed_tests,
            notes=(*self._notes, *self._champions.notes),
        )

    def _pipeline(self, spec: PipelineSpec) -> TouchedPipeline | None:
        columns = usage.touched(spec, self._both.after, self._both.before, self._tables)
        edit = next((each for each in self._edits.specs if each.pipeline == spec.name), None)
        suites = tuple(each for each in self._edits.suites if each.pipeline == spec.name)
        tests = usage.tests_that_stop(spec, self._both.before, self._both.after, self._changed_tests)
        if not (columns or edit or suites or tests or spec.name in self._edits.training_code):
            return None
        champion = self._champions.champion(spec)
        learned = self._learned(spec, columns) if champion is not None else None
        found = TouchedPipeline(
            pipeline=spec.name,
            owners=usage.owners(spec, self._dbt_owner, [mart.table for mart in spec.marts]),
            columns=columns,
            spec=edit,
            suites=suites,
            tests=tests,
            champion=champion.version if champion is not None else "",
            learned=learned,
        )
        retrain, why = self._retraining(found)
        publishes = self._publishes(spec, found)
        return replace(found, retrain=retrain, retraining=why, publishes=publishes, cost=self._cost(spec, found))

    def _learned(self, spec: PipelineSpec, columns: Sequence[TouchedColumn]) -> tuple[str, ...] | None:
        """Which touched columns the champion has learned from; None if its signature is not known here."""
        champion = self._champions.champion(spec)
        described = self._champions.described(spec, champion) if champion is not None else None
        if described is None:
            return None
        features = tuple(described["features"])
        if any(each.column == ROWS for each in columns):
            return features
        return tuple(each.column for each in columns if each.part == "features" and each.column in features)

    def _retraining(self, found: TouchedPipeline) -> tuple[bool, str]:
        """Whether a training is needed, and why."""
        if not found.champion:
            return False, "it has no champion yet"
        who = f"the champion, version {found.champion},"
        gone = [each.column for each in found.columns if each.how == "removed" and each.role in ("feature", "label")]
        if gone:
            return True, f"{who} needs {_listed(gone)}, which its mart no longer has: tonight's night would stop"
        if found.spec is not None and found.spec.asks_for("retrain"):
            fields = [name for name, (need, _) in found.spec.needs.items() if need == "retrain"]
            return True, f"{who} was trained under another spec ({_listed(fields)})"
        if found.pipeline in self._edits.training_code:
            return True, f"the code of its estimator changed ({self._edits.training_code[found.pipeline]})"
        if any(each.role == "label" for each in found.columns):
            return True, f"{who} learned another label"
        if found.learned is None and found.columns:
            return True, f"{who} cannot be looked at here, so it counts as trained with what changed"
        if any(each.column == ROWS for each in found.columns):
            return True, f"which rows its marts have may change; `tailrace diff {found.pipeline}` says whether they do"
        if found.learned:
            return True, f"{who} learned from {_listed(found.learned)} as they were"
        return False, "no column that the champion learned from means something else"

    def _publishes(self, spec: PipelineSpec, found: TouchedPipeline) -> tuple[str, ...]:
        parts = {each.part for each in found.columns}
        if found.spec is not None and found.spec.asks_for("rebuild", "retrain"):
            parts |= {"features", "outcomes"}
        tables = [spec.features_table] if "features" in parts else []
        tables += [spec.outcomes_table] if "outcomes" in parts else []
        tables += [spec.predictions_table] if "features" in parts or found.rescores else []
        return (*tables, *([spec.performance_table] if tables else []))

    def _cost(self, spec: PipelineSpec, found: TouchedPipeline) -> Cost:
        if not found.rescores:
            return Cost()
        nodes = [id_ for id_, change in self._tables.items() if change.touched]
        results = getattr(self._services.warehouse, "run_results", None)
        try:
            return costs.of(
                self._services,
                spec,
                nodes=nodes,
                run_results=results,
                champion=self._champions.champion(spec),
                passed=self._passed,
            )
        except TailraceError as error:
            self._notes.append(f"{spec.name}: what it would cost is not known: {error}")
            return Cost()

    def _dbt_owner(self, mart: str) -> str:
        node = usage.node_of(self._both.after, mart)
        return node.owner if node is not None else ""


def adapter_of(warehouse: DbtWarehouse, settings: Settings, project: Path, work: Path) -> DbtAdapter:
    """dbt's adapter for a copy of the warehouse's dbt project, with the same profile and target."""
    variables = {**warehouse.variables(_DAY, _DAY)}
    target = settings.dbt.target
    if not isinstance(warehouse, DbtProjectWarehouse):
        connection = warehouse.connection
        variables |= connection.variables
        target = connection.target
    return DbtAdapter(project, work=work, profiles=_profiles(warehouse, settings), target=target, variables=variables)


def _profiles(warehouse: DbtWarehouse, settings: Settings) -> Path | None:
    own = warehouse.project
    if isinstance(warehouse, DbtProjectWarehouse):
        return settings.dbt_profiles
    return own if (own / "profiles.yml").exists() else None


def _dbt_folder(warehouse: Warehouse) -> Path | None:
    """The folder of the dbt project; None if the warehouse is not made by dbt."""
    if not isinstance(warehouse, DbtWarehouse):
        return None
    folder = warehouse.project.resolve()
    return folder if (folder / "dbt_project.yml").is_file() else None


def _borrow_packages(dbt: Path, old: Path) -> None:
    """git does not have dbt's packages: those that are installed serve both sides."""
    packages = dbt / "dbt_packages"
    if packages.is_dir() and not (old / "dbt_packages").exists():
        (old / "dbt_packages").symlink_to(packages)


def _read(side: DbtSide, where: str) -> None:
    """Have dbt read a side. Raises BuildFailed that says which."""
    try:
        _ = side.nodes
    except BuildFailed as error:
        raise BuildFailed(f"The dbt project of {where} cannot be compared: {error}") from error


def _listed(names: Sequence[str], most: int = 4) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
