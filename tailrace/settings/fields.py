"""What can be set: a field for each setting, its default, and what it means."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tailrace.settings.project import Project

PREFIX = "TAILRACE_"
SPARK_PREFIX = "TAILRACE_SPARK_"
POD_PREFIX = "TAILRACE_POD_"
USE_PREFIX = "TAILRACE_USE_"
DBT_PREFIX = "TAILRACE_DBT_"
UPKEEP_PREFIX = "TAILRACE_UPKEEP_"
NATIVE_READERS = ("", "delta")
PROCESS, PODS = "process", "pods"
NEVER = "never"
BUILD, MODELS = "build", "models"
HERE, BUILT_ELSEWHERE = "here", "elsewhere"
ASSET, DAG = "asset", "dag"
DUCKDB_WAREHOUSE, POSTGRES_WAREHOUSE, DBT_WAREHOUSE = "duckdb", "postgres", "dbt"
ENGINES = ("local", "spark")
NAMES: Mapping[str, tuple[str, ...]] = {
    "warehouse": (DUCKDB_WAREHOUSE, POSTGRES_WAREHOUSE, DBT_WAREHOUSE),
    "lake": ("delta",),
    "engine": ENGINES,
    "tracker": ("mlflow",),
    "validator": ("great_expectations",),
}
"""The short names that the implementations of each part have; which class each stands for, `wiring` knows."""
POSTGRES = ("postgresql://", "postgres://")
MOST_SEED = 2**32 - 1
"""The largest seed that NumPy's generators take."""
DEFAULT_SEED = 20130301


@dataclass(frozen=True, kw_only=True)
class Implementations:
    """One field per `TAILRACE_USE_<FIELD>` variable: a short name of wiring's table, or an import path."""

    warehouse: str = ""
    """Empty: `postgres` where the warehouse is a postgresql:// URL, else `duckdb`; `dbt` if a DbtSettings is set."""
    lake: str = "delta"
    tracker: str = "mlflow"
    validator: str = "great_expectations"


@dataclass(frozen=True, kw_only=True)
class DbtSettings:
    """One field per `TAILRACE_DBT_<FIELD>` variable: a dbt project of the team's own, which fills the warehouse."""

    project: Path | None = None
    """Folder of the dbt project; None: the folder dbt/ of the project."""
    profiles: Path | None = None
    """Folder of profiles.yml; None: that of the dbt project if it has the file, else ~/.dbt."""
    target: str = ""
    """Output of the profile; empty: the profile's own target."""
    select: str = ""
    """What to build, as `dbt build --select` takes it; empty: the pipelines' marts and what these are made from."""
    build: str = HERE
    """Who builds: Tailrace (`here`), or somebody else, so that it only waits for the marts (`elsewhere`)."""
    wait_minutes: int = 120
    """How long to wait for marts that are built elsewhere; 0: not at all."""
    wait_for: tuple[str, ...] = ()
    """What Airflow waits for: `asset:<name or URI>`, `dag:<id>`; none: the newest day of the marts."""


@dataclass(frozen=True, kw_only=True)
class SourceSettings:
    """A table `[sources.<name>]` of tailrace.toml. What is None or empty is as the source's class says it."""

    name: str
    path: str = ""
    """Import path of the class, or of a function that makes the source; empty: it is made of files."""
    files: str = ""
    """Path or URL of the files of a day, with `{table}` and `{day}`."""
    columns: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """The columns of each table of these files, with their types."""
    tables: tuple[str, ...] = ()
    """The tables to land; none: all that the source has."""
    since: dt.date | Mapping[str, dt.date] | None = None
    """The first day of all tables, or of each."""
    look_back_days: int | Mapping[str, int] | None = None
    """How many days before its own day a build reads, of all tables or of each."""
    optional: bool | tuple[str, ...] | None = None
    """Whether a day of a table may be absent; or the tables of which one may."""
    may_be_empty: bool | tuple[str, ...] | None = None
    """Whether a day of a table may have no rows; or the tables of which one may."""

    @property
    def label(self) -> str:
        """The source in `Settings.sources`."""
        return self.path or self.name


@dataclass(frozen=True, kw_only=True)
class SparkSettings:
    """One field per `TAILRACE_SPARK_<FIELD>` variable, and JAVA_HOME; defaults are one machine, all cores."""

    master: str = "local[*]"
    """`local[N]`, `local[*]`, `spark://host:port` or `k8s://https://host:port`."""
    driver_memory: str = "2g"
    """Heap of the driver's JVM; with a local master also that of the tasks."""
    executor_memory: str = "2g"
    """Heap of an executor's JVM; its pod or process takes the overhead on top."""
    executor_memory_overhead: str = ""
    """Memory of an executor outside the heap, for its Python workers; empty: Spark's default share of the heap."""
    executor_cores: int = 1
    """Tasks an executor runs at once."""
    executors: int = 2
    """Executors to ask for; with dynamic allocation, at most."""
    dynamic_allocation: bool = False
    """Start and stop executors as there is work for them."""
    executor_wait_seconds: int = 300
    """How long to wait for the first executor; and for all of them, if a candidate trains on all at once."""
    node_cores: int = 0
    """Cores of the largest node; 0: unknown, so nothing is checked."""
    node_memory: str = ""
    """Memory of the largest node; empty: unknown, so nothing is checked."""
    image: str = ""
    """Container image of the executors."""
    namespace: str = ""
    """Kubernetes namespace of the executors."""
    service_account: str = ""
    """Service account of the driver; executors use it too, unless their pod template names another."""
    pod_template: str = ""
    """File with the executors' pod template."""
    driver_host: str = ""
    """Address at which executors reach the driver; in a pod, the pod's address."""
    driver_pod: str = ""
    """Name of the driver's pod, which owns the executors: they end with it."""
    python: str = ""
    """Python interpreter on the executors; empty: the driver's path."""
    native_reader: str = ""
    """The reader of tables that need a native reader: `delta`, or empty: such tables are refused."""
    event_log: str = ""
    """Folder or URL of event logs for Spark's history server; empty: none."""
    history: str = ""
    """Address of Spark's history server, which tasks link to; empty: none runs."""
    log: str = "-"
    """File for the JVM's output; `-`: standard error."""
    conf: Mapping[str, str] = field(default_factory=dict)
    """Extra Spark configuration; overrides everything above."""
    java_home: str = ""
    """JAVA_HOME; empty: the `java` on PATH."""


@dataclass(frozen=True, kw_only=True)
class PodSettings:
    """One field per `TAILRACE_POD_<FIELD>` variable: the pods that Airflow runs heavy stages in."""

    image: str = ""
    """Container image; empty: that of the executors."""
    namespace: str = ""
    """Kubernetes namespace; empty: that of the executors."""
    service_account: str = ""
    """Service account; empty: that of the executors' settings, else the template's."""
    template: Path | None = None
    """File with the pod's template: security, resources, volumes, source of settings; None: Tailrace's own."""
    memory: str = ""
    """Memory request and limit of the pod; empty: the template's."""
    connection: str = "kubernetes_default"
    """Airflow connection to the cluster; the default needs no connection if Airflow runs in that cluster."""
    start_seconds: int = 600
    """How long a pod may wait for a node, and then for its image."""


@dataclass(frozen=True, kw_only=True)
class UpkeepSettings:
    """One field per `TAILRACE_UPKEEP_<FIELD>` variable: how long what is no longer needed is kept. 0 days: forever."""

    dag: str = "upkeep"
    """Name of the DAG that deletes it."""
    schedule: str = "30 5 * * 0"
    """When the DAG runs: a cron expression in the project's zone, or `never`."""
    lake_days: int = 30
    """Days for which versions of the lake's tables stay readable that no pin refers to."""
    data_docs_days: int = 180
    """Days after which a page of the Data Docs is deleted."""
    models_days: int = 365
    """Days after which a version that never was champion loses its trials and the files of its model."""
    landing_days: int = 0
    """Days after which a landed extract is deleted."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One field per `TAILRACE_<FIELD>` variable, and JAVA_HOME; by default everything is embedded, on this machine."""

    project: Project
    """The folder of pipelines/, dbt/ and expectations/."""
    home: Path
    """Everything that is written and not configured elsewhere."""
    lake: str
    """Root of the lake: a folder or an object store's URL."""
    storage_options: Mapping[str, str]
    """Options of the object store; put credentials into its own variables instead."""
    landing: str
    """Root of the landed extracts: a folder or an fsspec URL."""
    warehouse: str
    """The DuckDB file, or a Postgres database as postgresql://user@host:port/name, without the password."""
    tracking_uri: str
    """MLflow's backend or server."""
    artifacts: str
    """Where MLflow keeps artefacts; unused when tracking_uri is a server."""
    tracking_ui: str
    """Address of MLflow's pages, for links; empty if none runs."""
    engine: str
    """Where models learn and score: a short name, or an import path."""
    seed: int
    """Seed of everything random."""
    env: str = ""
    """The environment whose section of tailrace.toml is in force, from TAILRACE_ENV; empty: none is."""
    zone: str = ""
    """Time zone of the warehouse's days; empty: the pipelines' own, if all have the same."""
    sources: tuple[str, ...] = ()
    """The sources that are landed, by import path, or by name if made of files; none: this project lands nothing."""
    source_settings: Mapping[str, SourceSettings] = field(default_factory=dict)
    """What tailrace.toml says of these sources in tables of their own."""
    use: Implementations = field(default_factory=Implementations)
    """Implementations of warehouse, lake, tracker and validator, from `TAILRACE_USE_<FIELD>`."""
    dbt: DbtSettings = field(default_factory=DbtSettings)
    """The team's own dbt project, from `TAILRACE_DBT_<FIELD>`."""
    java_home: str = ""
    """JAVA_HOME, for Spark; empty: the `java` on PATH."""
    spark: SparkSettings = field(default_factory=SparkSettings)
    """The engine `spark`, from `TAILRACE_SPARK_<FIELD>`."""
    tasks: str = PROCESS
    """Where Airflow runs heavy stages: in the task's own process, or in pods."""
    pods: PodSettings = field(default_factory=PodSettings)
    """Those pods, from `TAILRACE_POD_<FIELD>`."""
    warehouse_password: str = field(default="", repr=False)
    """Password of a Postgres warehouse, else that of PGPASSWORD or what libpq finds; never shown."""
    dbt_tasks: str = BUILD
    """How Airflow runs dbt: one task for the whole build, or one for each of its models."""
    upkeep: UpkeepSettings = field(default_factory=UpkeepSettings)
    """What `tailrace maintain` and its DAG delete, from `TAILRACE_UPKEEP_<FIELD>`."""
    airflow_url: str = ""
    """Address of Airflow, for `tailrace backfill`; empty: the one that runs on this home, if one does."""
    airflow_user: str = ""
    """User name for that Airflow; empty if the address is."""
    airflow_password: str = field(default="", repr=False)
    """That user's password; never shown."""
    openlineage_url: str = ""
    """Address of an OpenLineage server; empty: no events are sent."""
    openlineage_namespace: str = "tailrace"
    """Namespace of this installation's jobs there."""
    openlineage_api_key: str = field(default="", repr=False)
    """Its API key; never shown."""

    @property
    def warehouse_is_postgres(self) -> bool:
        return self.warehouse.startswith(POSTGRES) and self.use.warehouse in ("", POSTGRES_WAREHOUSE)

    @property
    def warehouse_is_a_file(self) -> bool:
        return not self.warehouse_is_postgres and self.use.warehouse in ("", DUCKDB_WAREHOUSE)

    @property
    def warehouse_is_dbt(self) -> bool:
        """Whether the warehouse is wherever the profile of a dbt project says."""
        return self.use.warehouse == DBT_WAREHOUSE

    @property
    def waits_for_marts(self) -> bool:
        """Whether somebody else builds the marts."""
        return self.warehouse_is_dbt and self.dbt.build == BUILT_ELSEWHERE

    @property
    def dbt_project(self) -> Path:
        return self.dbt.project or self.project.dbt

    @property
    def dbt_profiles(self) -> Path:
        """The folder of profiles.yml, as dbt itself finds it."""
        own = self.dbt_project
        return self.dbt.profiles or (own if (own / "profiles.yml").is_file() else Path.home() / ".dbt")

    @property
    def suites(self) -> Path:
        return self.project.expectations

    @property
    def data_docs(self) -> Path:
        return self.home / "data_docs"

    @property
    def airflow_login(self) -> Path:
        """Address and login of the Airflow that runs on this home, while it runs: JSON, for its owner's eyes."""
        return self.home / "airflow" / "login.json"

    @property
    def work(self) -> Path:
        """Scratch space: caches, dbt's target folders, downloaded models."""
        return self.home / "work"
