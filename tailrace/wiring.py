"""Settings -> the objects the stages work with: the only module that chooses implementations.

`IMPLEMENTATIONS` is the table of those that Tailrace brings. A setting names one of them, or the import path of a
team's own. Each is made by its class method `from_settings`, which docs/settings.md describes.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tailrace import extras
from tailrace import settings as configuration
from tailrace.errors import BadInput, SettingsError, TailraceError, cause_of
from tailrace.settings import Settings, import_paths

if TYPE_CHECKING:
    from tailrace.contracts import Engine, Lake, LakeReader, Source, Tracker, Validator
    from tailrace.sources.landing import Landing
    from tailrace.warehouse.dbt import DbtWarehouse
    from tailrace.warehouse.reader import MartReader

IMPLEMENTATIONS: Mapping[str, Mapping[str, str]] = {
    "warehouse": {
        "duckdb": "tailrace.warehouse.duckdb:DuckDBWarehouse",
        "postgres": "tailrace.warehouse.postgres:PostgresWarehouse",
        "dbt": "tailrace.warehouse.dbt_project:DbtProjectWarehouse",
    },
    "lake": {"delta": "tailrace.lake.delta:DeltaLake"},
    "engine": {
        "local": "tailrace.engines.local:LocalEngine",
        "spark": "tailrace.engines.spark.engine:SparkEngine",
    },
    "tracker": {"mlflow": "tailrace.tracking.mlflow:MlflowTracker"},
    "validator": {"great_expectations": "tailrace.validation.great_expectations:GreatExpectationsValidator"},
}
"""The short names of each part, and the class that each stands for; `settings.NAMES` has the names alone."""
HEADING = "The settings are wrong:"


def open_services(engine: str | None = None, on_spark: Callable[[str], None] = lambda application: None) -> Wiring:
    """The configured services. `engine` overrides TAILRACE_ENGINE.

    `on_spark` is called with the id of the Spark application as soon as one runs. Raises SettingsError.
    """
    configured = configuration.load()
    return Wiring(replace(configured, engine=engine) if engine else configured, on_spark)


class Wiring:
    """The services, each made when it is first used: a stage pays only for the libraries it uses."""

    def __init__(self, settings: Settings, on_spark: Callable[[str], None] = lambda application: None) -> None:
        self.settings, self._on_spark = settings, on_spark

    def problems(self) -> list[str]:
        """A sentence for each part of a team's own that cannot be loaded, and for tables that two sources have."""
        found = []
        for part, name in _chosen(self.settings).items():
            if name not in IMPLEMENTATIONS[part]:
                found += _problems(functools.partial(self._class, part))
        return found + (_problems(lambda: self.source) if self.settings.sources else [])

    @cached_property
    def source(self) -> Source:
        """The project's source, or its sources as one. Raises BadInput if there is none, SettingsError."""
        settings = self.settings
        if not settings.sources:
            raise BadInput(
                f"There is nothing to ingest: {settings.project.file} names no sources. Name them there under "
                "`sources`, or build the warehouse from tables that others put there."
            )
        from tailrace.sources import declared

        made: dict[str, Source] = {}
        problems: list[str] = []
        for path in settings.sources:
            try:
                made[path] = self._source(path)
                problems += declared.problems(made[path], path)
            except SettingsError as error:
                problems += error.problems
        if problems:
            raise SettingsError(HEADING, problems)
        if len(made) == 1:
            return made[settings.sources[0]]
        from tailrace.sources.joined import JoinedSource

        return JoinedSource(made)

    def _source(self, path: str) -> Source:
        """The source of this import path, or of this name if it is made of files; as tailrace.toml has it."""
        own = self.settings.source_settings.get(path)
        label = f"sources.{own.name}" if own is not None else "sources"
        if own is not None and own.files:
            from tailrace.sources.configured import from_files

            made: Source = from_files(own, label)
        else:
            source: Callable[..., Source] = import_paths.resolve(f"{label} names", path, self.settings.project)
            made = _made(label, path, lambda: source(self.settings.work / "source"))
        if own is None:
            return made
        from tailrace.sources.configured import ConfiguredSource

        return ConfiguredSource(made, own, label)

    @cached_property
    def landing(self) -> Landing:
        from tailrace.sources import calendars, declared
        from tailrace.sources.landing import Landing

        if not self.settings.sources:
            return Landing(self.settings.landing, {})
        source = self.source
        return Landing(
            self.settings.landing,
            source.tables,
            calendars=calendars.by_table(source),
            look_back_days=declared.look_back_days(source),
            optional=declared.optional(source),
        )

    @cached_property
    def warehouse(self) -> DbtWarehouse:
        return self._open("warehouse", landing=self.landing)

    @cached_property
    def mart_reader(self) -> MartReader:
        """Reads any table of the warehouse's database, whatever built it. Raises what `MartReader` raises."""
        from tailrace.warehouse.any_table import reader_of

        return reader_of(self.warehouse, zone=self.settings.zone or "UTC")

    @cached_property
    def lake(self) -> Lake:
        return self._open("lake", keep_open=False)

    @cached_property
    def watched_lake(self) -> LakeReader:
        """The lake for a process that reads it again and again and writes nothing."""
        return self._open("lake", keep_open=True)

    @cached_property
    def engine(self) -> Engine:
        return self._open("engine", on_spark=self._on_spark)

    @cached_property
    def tracker(self) -> Tracker:
        return self._open("tracker")

    @cached_property
    def validator(self) -> Validator:
        return self._open("validator")

    def _open(self, part: str, **more: Any) -> Any:
        return self._class(part).from_settings(self.settings, **more)

    def _class(self, part: str) -> Any:
        """The class that the settings name for a part. Raises SettingsError, NotInstalled."""
        name, setting = _chosen(self.settings)[part], _setting(part)
        if ours := IMPLEMENTATIONS[part].get(name):
            extras.require_for(self.settings, part)
            module, _, attribute = ours.partition(":")
            return getattr(importlib.import_module(module), attribute)
        found = import_paths.resolve(f"{setting} is", name, self.settings.project)
        if not callable(getattr(found, "from_settings", None)):
            problem = f"{setting} is {name!r}, which has no class method from_settings: see docs/settings.md."
            raise SettingsError(HEADING, [problem])
        return found


def _chosen(settings: Settings) -> dict[str, str]:
    """The name of each part: a short one, or an import path."""
    use = settings.use
    return {
        "warehouse": use.warehouse or ("postgres" if settings.warehouse_is_postgres else "duckdb"),
        "lake": use.lake,
        "engine": settings.engine,
        "tracker": use.tracker,
        "validator": use.validator,
    }


def _setting(part: str) -> str:
    """The setting that names a part: its key in tailrace.toml."""
    return part if part == "engine" else f"use.{part}"


def _made(setting: str, path: str, make: Callable[[], Any]) -> Any:
    """What a team's own class makes. Raises SettingsError in place of an error that is not ours."""
    try:
        return make()
    except TailraceError:
        raise
    except Exception as error:  # whatever a team's own code raises
        said = f"{type(error).__name__}: {cause_of(error)}"
        raise SettingsError(HEADING, [f"{setting} names {path!r}, which cannot be made ({said})."]) from error


def _problems(use: Callable[[], object]) -> list[str]:
    try:
        use()
    except SettingsError as error:
        return list(error.problems)
    except TailraceError as error:
        return [str(error)]
    return []
