"""Settings -> the objects the stages work with: the only module that imports implementations."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from tailrace import extras
from tailrace import settings as configuration
from tailrace.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipelines.sources.nycflights13 import NycFlights
    from tailrace.contracts import Engine, Lake, Tracker, Validator
    from tailrace.sources.landing import Landing
    from tailrace.warehouse.dbt import DbtWarehouse


def open_services(engine: str | None = None, on_spark: Callable[[str], None] = lambda application: None) -> Wiring:
    """The installation's services; with another engine than its setting's, where one is named.

    `on_spark` is given the id of the Spark application as soon as one runs. Raises SettingsError.
    """
    configured = configuration.load()
    return Wiring(replace(configured, engine=engine) if engine else configured, on_spark)


class Wiring:
    """Services built when they are first asked for: a stage pays only for the libraries it uses."""

    def __init__(self, settings: Settings, on_spark: Callable[[str], None] = lambda application: None) -> None:
        self.settings, self._on_spark = settings, on_spark

    @cached_property
    def source(self) -> NycFlights:
        from pipelines.sources.nycflights13 import NycFlights

        return NycFlights(self.settings.work / "source")

    @cached_property
    def landing(self) -> Landing:
        from tailrace.sources.landing import Landing

        return Landing(self.settings.landing, self.source.tables)

    @cached_property
    def warehouse(self) -> DbtWarehouse:
        settings = self.settings
        project, work = settings.dbt_project, settings.work / "dbt"
        if settings.warehouse_is_postgres:
            extras.require_for(settings, "warehouse")
            from tailrace.warehouse.postgres import PostgresWarehouse

            return PostgresWarehouse(settings.warehouse, settings.warehouse_password, project, self.landing, work)
        from tailrace.warehouse.duckdb import DuckDBWarehouse

        return DuckDBWarehouse(Path(settings.warehouse), project, self.landing, work)

    @cached_property
    def lake(self) -> Lake:
        return self._lake(keep_open=False)

    @cached_property
    def watched_lake(self) -> Lake:
        """The lake for a process that looks at it again and again, and writes nothing."""
        return self._lake(keep_open=True)

    def _lake(self, *, keep_open: bool) -> Lake:
        from tailrace.lake.delta import DeltaLake

        settings = self.settings
        native = settings.engine == "spark" and settings.spark.native_reader != ""
        return DeltaLake(settings.lake, settings.storage_options, native_reader=native, keep_open=keep_open)

    @cached_property
    def engine(self) -> Engine:
        if self.settings.engine == "spark":
            extras.require_for(self.settings, "engine")
            from tailrace.engines.spark.engine import SparkEngine

            return SparkEngine(self.settings.spark, on_start=self._on_spark)
        from tailrace.engines.local import LocalEngine

        return LocalEngine()

    @cached_property
    def tracker(self) -> Tracker:
        settings = self.settings
        extras.require_for(settings, "tracker")
        from tailrace.tracking.mlflow import MlflowTracker

        artifacts = None if settings.tracking_uri.startswith("http") else settings.artifacts
        return MlflowTracker(settings.tracking_uri, artifacts, settings.tracking_ui or None)

    @cached_property
    def validator(self) -> Validator:
        from tailrace.validation.great_expectations import GreatExpectationsValidator

        return GreatExpectationsValidator(self.settings.suites, self.settings.data_docs)
