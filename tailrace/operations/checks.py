"""`tailrace check`: finds before a night begins what is known to fail."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from tailrace.contracts import ColumnKind, DryRun, KnownColumns, Services
from tailrace.errors import ProblemList, SpecError, TailraceError
from tailrace.operations import exposures
from tailrace.operations.champion_checks import ChampionChecks
from tailrace.operations.mart_checks import MartChecks, known_columns
from tailrace.operations.parse_ahead import ParseAhead
from tailrace.operations.passed_checks import PassedChecks
from tailrace.settings import Settings, find_project
from tailrace.spec import PipelineSpec, content_of, parameters, problems_of, registry
from tailrace.spec.places import Places
from tailrace.spec.training import Candidate
from tailrace.warehouse.manifest import DbtManifest

log = logging.getLogger("tailrace")

SUITES = ("features", "outcomes", "predictions")
HEADING = "Tailrace is not ready to run:"
_PROJECT_FILE = "dbt_project.yml"


def check_all(
    services: Services,
    note: Callable[[str], None] = log.info,
    settings: Settings | None = None,
    parsing: ParseAhead | None = None,
) -> list[dict[str, object]]:
    """A row per pipeline; `note` receives a sentence for each thing that could not be checked here.

    With `settings`, what passed before with the same content is not repeated. `parsing` is what another process may be
    busy with: it is waited for before dbt's manifest is read. Raises SpecError with the problems of all
    specs, candidates, marts, suites and champions together.
    """
    return _Check(services, note, settings, parsing or ParseAhead()).run()


class _Check:
    """One run of all checks, which collects their problems."""

    def __init__(
        self, services: Services, note: Callable[[str], None], settings: Settings | None, parsing: ParseAhead
    ) -> None:
        self._services, self._note, self._settings, self._parsing = services, note, settings, parsing
        self._passed = PassedChecks(settings.work / "checks" if settings else None)
        self._problems: list[str] = []
        self._project = find_project()
        self._places: dict[str, Places] = {}

    def run(self) -> list[dict[str, object]]:
        specs = self._specs()
        for spec in specs:
            for sentence in spec.audit.deprecated():
                self._note(f"{spec.name}: {sentence}")
        self._candidates(specs)
        columns = self._marts(specs)
        self._suites({spec.name: spec for spec in specs}, columns)
        self._champions(specs, columns)
        if self._problems:
            raise SpecError(HEADING, self._problems)
        self._passed.prune()
        return [_row(spec, columns.get(spec.name)) for spec in specs]

    def _specs(self) -> tuple[PipelineSpec, ...]:
        """The specs without problems. What needs scikit-learn and others is checked where it did not pass before."""
        specs, wrong = registry.load(estimators=False)
        if wrong:
            specs, wrong = registry.load()
            self._problems += map(self._located, wrong)
            return specs
        sound = []
        for spec in specs:
            again = None if self._passed_before(spec) is not None else problems_of(spec)
            self._problems += map(self._located, again or ())
            sound += [] if again else [spec]
        return tuple(sound)

    def _candidates(self, specs: Sequence[PipelineSpec]) -> None:
        """Try the candidates in small, except for those that passed before."""
        before = {spec.name: self._passed_before(spec) for spec in specs}
        for spec in specs:
            notes = before[spec.name]
            tried = self._services.engine.dry_run([spec]) if notes is None else DryRun((), tuple(notes))
            for sentence in tried.notes:
                self._note(sentence)
            self._problems += map(self._located, tried.problems)
            if notes is None and not tried.problems and not self._own_estimators(spec):
                self._passed.passed(*self._learned(spec), notes=tried.notes)

    def _passed_before(self, spec: PipelineSpec) -> list[str] | None:
        return self._passed.notes_of(*self._learned(spec))

    def _learned(self, spec: PipelineSpec) -> tuple[object, ...]:
        """All of a spec that decides whether its candidates can be trained."""
        said = content_of(spec)
        parts = [said.get(part) for part in ("name", "features", "outcome", "candidates", "search", "baselines")]
        return (
            "candidates",
            self._settings.engine if self._settings else "",
            json.dumps(parts, sort_keys=True, default=parameters.described),
        )

    def _own_estimators(self, spec: PipelineSpec) -> bool:
        """Whether a candidate is made of the project's own code, which may change without any sign of it."""
        root = self._project.root
        libraries = {name.partition(".")[0] for each in spec.candidates for name in _classes(each)}
        return any((root / name).exists() or (root / f"{name}.py").exists() for name in libraries)

    def _marts(self, specs: Sequence[PipelineSpec]) -> dict[str, Mapping[str, Collection[str]]]:
        """Check marts and sources; the certain columns of each pipeline's marts."""
        manifest = self._manifest()
        if manifest is None:
            return {}
        warehouse = self._services.warehouse
        # Only a dbt project of the team's own reads tables that it does not make.
        own = bool(getattr(warehouse, "any_zone", False))
        look_up = warehouse.schema if own else None
        checks = MartChecks(manifest, self._shown(manifest.project), any_zone=own, look_up=look_up)
        known = {}
        for spec in specs:
            found = checks.of(spec, self._places_of(spec.name))
            self._problems += found.problems
            for sentence in found.notes:
                self._note(sentence)
            known[spec.name] = found.columns
        self._refuse_to_build_nothing(specs, manifest)
        if len(specs) == len(registry.names()):
            self._problems += exposures.problems(manifest, specs)
        if self._settings is not None and self._settings.sources:
            try:
                self._problems += checks.of_sources(self._services.source.tables)
            except TailraceError as error:
                self._problems.append(str(error))
        return known

    def _manifest(self) -> DbtManifest | None:
        """What dbt says of its project; None if the warehouse has no dbt project, or with a problem if it has none."""
        parse = getattr(self._services.warehouse, "parse", None)
        if parse is None:
            return None
        folder: Path = self._services.warehouse.project  # type: ignore[attr-defined]
        if not (folder / _PROJECT_FILE).exists():
            if registry.names():
                self._problems.append(f"There is no dbt project in {folder}: it has no {_PROJECT_FILE}.")
            return None
        if self._parsing.runs:
            # Suites have not been tried either, so its libraries are needed: importing them takes as long as dbt.
            _ = self._services.validator
        self._parsing.wait()
        try:
            return DbtManifest.read(parse(), folder)
        except ProblemList as error:
            self._problems += error.problems
            return None
        except TailraceError as error:
            self._problems.append(str(error))
            return None

    def _refuse_to_build_nothing(self, specs: Sequence[PipelineSpec], manifest: DbtManifest) -> None:
        """A build of a team's own dbt project fails every night if it makes none of the marts, or selects nothing."""
        settings = self._settings
        if settings is None or not settings.warehouse_is_dbt or settings.waits_for_marts:
            return
        if settings.dbt.select:
            selection_problem = getattr(self._services.warehouse, "selection_problem", str)
            if problem := selection_problem():
                self._problems.append(problem)
            return
        marts = list(dict.fromkeys(mart.table for spec in specs for mart in spec.marts))
        made = [mart for mart in marts if (table := manifest.find(mart)) is not None and table.kind != "source"]
        if marts and not made:
            self._problems.append(
                f"The dbt project {manifest.project} makes none of the pipelines' marts: {', '.join(marts)}. If "
                "something else fills them, set [dbt] build to 'elsewhere' in tailrace.toml; otherwise name them in "
                "the specs as dbt names them."
            )

    def _suites(self, specs: Mapping[str, PipelineSpec], columns: Mapping[str, Mapping[str, Collection[str]]]) -> None:
        for name in registry.names():
            for part in SUITES:
                known = known_columns(columns_of(specs.get(name), part), columns.get(name, {}).get(part))
                self._suite(f"{name}/{part}", known, name)

    def _suite(self, suite: str, known: KnownColumns, name: str) -> None:
        content = self._suite_content(suite)
        said = ("suite", suite, content, dict(known.kinds), known.complete)
        if content and self._passed.notes_of(*said) is not None:
            return
        try:
            self._services.validator.check(suite, known)
        except TailraceError as error:
            self._problems.append(f"{name}: expectations: {error}")
            return
        if content:
            self._passed.passed(*said)

    def _suite_content(self, suite: str) -> str:
        """The digest of a suite's file; empty if another validator than Tailrace's own judges it."""
        if self._settings is None or self._settings.use.validator != "great_expectations":
            return ""
        try:
            return hashlib.sha256((self._settings.suites / f"{suite}.json").read_bytes()).hexdigest()
        except OSError:
            return ""

    def _champions(self, specs: Sequence[PipelineSpec], columns: Mapping[str, Mapping[str, Collection[str]]]) -> None:
        """Check the champions in force; not without settings, as in trials of single parts."""
        if self._settings is None:
            return
        checks = ChampionChecks(self._services, self._passed, self._settings.tracking_uri)
        for spec in specs:
            place = self._places_of(spec.name).of("features", "columns")
            self._problems += (
                f"{place}: {problem}" for problem in checks.of(spec, columns.get(spec.name, {}).get("features"))
            )
        for sentence in checks.notes:
            self._note(sentence)

    def _located(self, problem: str) -> str:
        """A problem of a spec, after the file and line of the field that it begins with."""
        name, _, sentence = problem.partition(": ")
        return f"{self._places_of(name).of_sentence(sentence)}: {problem}" if name in registry.names() else problem

    def _places_of(self, pipeline: str) -> Places:
        if pipeline not in self._places:
            file = self._project.pipelines / f"{pipeline}.py"
            self._places[pipeline] = Places(file, self._shown(file))
        return self._places[pipeline]

    def _shown(self, path: Path) -> str:
        """A path as people type it: relative to the project, if it is in it."""
        root = self._project.root
        return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def _row(spec: PipelineSpec, columns: Mapping[str, Collection[str]] | None) -> dict[str, object]:
    """A line for a pipeline in which nothing is wrong: of how many of its marts the columns were looked up."""
    row: dict[str, object] = {"pipeline": spec.name, "features": len(spec.features.columns)}
    row["candidates"] = len(spec.candidates)
    if columns is not None:
        row["marts"] = f"{len(columns)} of 2"
    return {**row, "ok": True}


def _classes(candidate: Candidate) -> list[str]:
    return [candidate.estimator, *(each.path for _, each in candidate.nested)]


_KINDS: Mapping[str, ColumnKind] = {"numeric": "number", "categorical": "category", "text": "text"}

_TYPES: Mapping[str, ColumnKind] = {"bool": "flag", "string": "text"}
"""Kinds of published columns by their Arrow types; the others are numbers."""


def columns_of(spec: PipelineSpec | None, part: str) -> KnownColumns:
    """The spec's rules for the columns that a suite judges; empty if the spec itself is wrong."""
    if spec is None:
        return KnownColumns()
    shared: dict[str, ColumnKind] = {"ds": "day", **dict.fromkeys(spec.features.key, "unknown")}
    if part == "features":
        kinds = {name: _KINDS[kind] for name, kind in spec.features.columns.items()}
        kinds |= {spec.features.weight: "number"} if spec.features.weight else {}
        return KnownColumns({**shared, spec.features.event_time: "time", **_moment(spec, part), **kinds})
    if part == "outcomes":
        return KnownColumns({**shared, **_moment(spec, part), spec.outcome.label: spec.problem.label_kind})
    names = [name for _, name in spec.problem.published_names(spec.predictions)]
    types = spec.problem.published_types(spec.predictions)
    columns: dict[str, ColumnKind] = {
        name: _TYPES.get(str(type_), "number") for name, type_ in zip(names, types, strict=True)
    }
    return KnownColumns({**shared, spec.features.event_time: "time", **columns, "model_version": "text"}, complete=True)


def _moment(spec: PipelineSpec, part: str) -> dict[str, ColumnKind]:
    """The column with the moment at which a row became known, if the mart has one."""
    known_at = spec.mart(part).known_at
    return {known_at: "time"} if known_at else {}
