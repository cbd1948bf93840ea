"""Where things are and which implementations run: the only reader of the environment."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from pipelines.errors import SettingsError, did_you_mean

PROJECT = Path(__file__).resolve().parent.parent
"""The checkout: `dbt/`, `expectations/` and `dags/` stand beside the package."""

PREFIX = "TAILRACE_"
ENGINES = ("local", "spark")


@dataclass(frozen=True)
class Settings:
    """One field per `TAILRACE_<FIELD>` variable, and JAVA_HOME; defaults are the embedded installation."""

    home: Path
    """Everything that is written and not configured elsewhere."""
    lake: str
    """Root of the lake: a folder or an object store's URL."""
    storage_options: Mapping[str, str]
    """The object store's options, as JSON; credentials are better left to its own variables."""
    landing: str
    """Root of the landed extracts: a folder or an fsspec URL."""
    warehouse: Path
    """The DuckDB file."""
    tracking_uri: str
    """MLflow's backend or server."""
    artifacts: str
    """Where MLflow keeps artefacts; unused when tracking_uri is a server."""
    tracking_ui: str
    """Address of MLflow's pages, for links; empty if none runs."""
    engine: str
    """Where models learn and score."""
    seed: int
    """Seed of everything random."""
    java_home: str = ""
    """JAVA_HOME, for Spark; empty: the `java` on PATH."""

    @property
    def dbt_project(self) -> Path:
        return PROJECT / "dbt"

    @property
    def suites(self) -> Path:
        return PROJECT / "expectations"

    @property
    def data_docs(self) -> Path:
        return self.home / "data_docs"

    @property
    def work(self) -> Path:
        """Scratch space: caches, dbt's target folders, downloaded models."""
        return self.home / "work"


def load(environment: Mapping[str, str] = os.environ) -> Settings:
    """Settings from the environment. Raises SettingsError listing every wrong variable."""
    known = {PREFIX + field.name.upper() for field in fields(Settings) if field.name != "java_home"}
    given = {name: value for name, value in environment.items() if name.startswith(PREFIX) and value}
    problems = [f"{name} is not a setting.{did_you_mean(name, known)}" for name in sorted(given) if name not in known]
    home = Path(given.get("TAILRACE_HOME", PROJECT / ".tailrace")).expanduser().resolve()
    tracking_uri = given.get("TAILRACE_TRACKING_URI", f"sqlite:///{home / 'mlflow.db'}")
    engine = given.get("TAILRACE_ENGINE", "local")
    if engine not in ENGINES:
        problems.append(
            f"TAILRACE_ENGINE is {engine!r}; it must be one of {', '.join(ENGINES)}.{did_you_mean(engine, ENGINES)}"
        )
    seed = given.get("TAILRACE_SEED", "20130301")
    if not seed.isdigit():
        problems.append(f"TAILRACE_SEED is {seed!r}; it must be a whole number of 0 or more.")
    storage_options = _json_object(given.get("TAILRACE_STORAGE_OPTIONS", "{}"))
    if storage_options is None:
        problems.append("TAILRACE_STORAGE_OPTIONS must be a JSON object of strings.")
    if problems:
        raise SettingsError("The environment's settings are wrong:", problems)
    return Settings(
        home=home,
        lake=given.get("TAILRACE_LAKE", str(home / "lake")),
        storage_options=storage_options or {},
        landing=given.get("TAILRACE_LANDING", str(home / "landing")),
        warehouse=Path(given.get("TAILRACE_WAREHOUSE", home / "warehouse.duckdb")).expanduser().resolve(),
        tracking_uri=tracking_uri,
        artifacts=given.get("TAILRACE_ARTIFACTS", str(home / "artifacts")),
        tracking_ui=given.get("TAILRACE_TRACKING_UI", ""),
        engine=engine,
        seed=int(seed),
        java_home=environment.get("JAVA_HOME", ""),
    )


def _json_object(text: str) -> dict[str, str] | None:
    """The object if text is a JSON object of strings, else None."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return None
    if isinstance(value, dict) and all(isinstance(v, str) for v in value.values()):
        return value
    return None
