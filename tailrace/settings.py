"""Where things are and which implementations run: the only reader of the environment."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tailrace.errors import SettingsError, did_you_mean

PROJECT = Path(__file__).resolve().parent.parent
"""The checkout: `dbt/`, `expectations/` and `dags/` stand beside the package."""

PREFIX = "TAILRACE_"
SPARK_PREFIX = "TAILRACE_SPARK_"
ENGINES = ("local", "spark")
NATIVE_READERS = ("", "delta")
POD_PREFIX = "TAILRACE_POD_"
PROCESS, PODS = "process", "pods"
BUILD, MODELS = "build", "models"
POSTGRES = ("postgresql://", "postgres://")
SQLITE = "sqlite:///"
TRACKING_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
TRACKING_SCHEMES = ("http", "https", *TRACKING_DATABASES, "databricks", "databricks-uc", "uc", "file")
"""What MLflow takes; a database may name its driver, as in postgresql+psycopg2://."""

MOST_SEED = 2**32 - 1
"""The largest seed that NumPy's generators take."""

NOT_IN_PATHS = "#?%*$\\'\"`{}[]"
"""Characters of a path that one of the lake, dbt, DuckDB, MLflow and Great Expectations takes for something else."""
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9.-]*)(\+[A-Za-z0-9_]+)?:")
_OPTIONS = re.compile(r"\w+=[^?&=]*(&\w+=[^?&=]*)*")
"""Options of an SQLite database, such as timeout=30."""


@dataclass(frozen=True)
class SparkSettings:
    """One field per `TAILRACE_SPARK_<FIELD>` variable, and JAVA_HOME; defaults are one machine, all cores."""

    master: str = "local[*]"
    """`local[N]`, `local[*]`, `spark://host:port` or `k8s://https://host:port`."""
    driver_memory: str = "2g"
    """Heap of the driver's JVM; with a local master also that of the tasks."""
    executor_memory: str = "2g"
    """Heap of an executor's JVM; its pod or process takes the overhead on top."""
    executor_memory_overhead: str = ""
    """An executor's memory beside the heap, where the Python workers live; empty: Spark's share of the heap."""
    executor_cores: int = 1
    """Tasks an executor runs at once."""
    executors: int = 2
    """Executors to ask for; with dynamic allocation, at most."""
    dynamic_allocation: bool = False
    """Executors come and go with the work."""
    executor_wait_seconds: int = 300
    """How long to wait for the first executor, and for all of them where a candidate trains on all at once."""
    node_cores: int = 0
    """Cores of the largest node; 0: not known, so not checked."""
    node_memory: str = ""
    """Memory of the largest node; empty: not known, so not checked."""
    image: str = ""
    """Container image of the executors."""
    namespace: str = ""
    """Kubernetes namespace of the executors."""
    service_account: str = ""
    """Service account the driver acts as; executors run as it where no pod template names theirs."""
    pod_template: str = ""
    """File with the executors' pod template."""
    driver_host: str = ""
    """Address at which executors reach the driver; in a pod, the pod's own."""
    driver_pod: str = ""
    """Name of the pod the driver runs in: its executors are owned by it and end with it."""
    python: str = ""
    """Python interpreter on the executors; empty: the driver's path."""
    native_reader: str = ""
    """What reads tables whose features need a native reader: empty (they are refused) or `delta`."""
    event_log: str = ""
    """Folder or URL of event logs for Spark's history server; empty: none."""
    history: str = ""
    """Address of Spark's history server, which tasks link to; empty: none runs."""
    log: str = "-"
    """File that takes what the JVM says; `-`: standard error."""
    conf: Mapping[str, str] = field(default_factory=dict)
    """Further Spark configuration; it wins."""
    java_home: str = ""
    """JAVA_HOME; empty: the `java` on PATH."""


@dataclass(frozen=True)
class PodSettings:
    """One field per `TAILRACE_POD_<FIELD>` variable: the pods that Airflow runs heavy stages in."""

    image: str = ""
    """Container image; empty: that of the executors."""
    namespace: str = ""
    """Kubernetes namespace; empty: that of the executors."""
    service_account: str = ""
    """Service account; empty: that of the executors' settings, else the template's."""
    template: Path = PROJECT / "deploy" / "kubernetes" / "base" / "pod-templates" / "driver.yaml"
    """File with the pod's template: security, resources, volumes, and where its settings come from."""
    memory: str = ""
    """Memory request and limit of the pod; empty: the template's."""
    connection: str = "kubernetes_default"
    """Airflow connection of the cluster; the default needs none: it takes the cluster Airflow runs in."""
    start_seconds: int = 600
    """How long a pod may wait for a node, and then for its image."""


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
    warehouse: str
    """The DuckDB file, or a Postgres database as postgresql://user@host:port/name, without the password."""
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
    airflow_url: str = ""
    """Address of Airflow, for `tailrace backfill`; empty: the one that runs on this home, if one does."""
    airflow_user: str = ""
    """Who logs in there; empty with the address."""
    airflow_password: str = field(default="", repr=False)
    """That user's password; never shown."""

    @property
    def warehouse_is_postgres(self) -> bool:
        return self.warehouse.startswith(POSTGRES)

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
    def airflow_login(self) -> Path:
        """Address and login of the Airflow that runs on this home, while it runs: JSON, for its owner's eyes."""
        return self.home / "airflow" / "login.json"

    @property
    def work(self) -> Path:
        """Scratch space: caches, dbt's target folders, downloaded models."""
        return self.home / "work"


def load(environment: Mapping[str, str] = os.environ) -> Settings:
    """Settings from the environment. Raises SettingsError listing every wrong variable."""
    known = {PREFIX + each.name.upper() for each in fields(Settings) if each.name not in ("java_home", "spark", "pods")}
    known |= {SPARK_PREFIX + each.name.upper() for each in fields(SparkSettings) if each.name != "java_home"}
    known |= {POD_PREFIX + each.name.upper() for each in fields(PodSettings)}
    given = {name: value for name, value in environment.items() if name.startswith(PREFIX) and value}
    problems = [f"{name} is not a setting.{did_you_mean(name, known)}" for name in sorted(given) if name not in known]
    home = Path(_location("TAILRACE_HOME", given.get("TAILRACE_HOME", str(PROJECT / ".tailrace")), problems)).resolve()
    if _URL.match(given.get("TAILRACE_HOME", "")):
        problems.append(f"TAILRACE_HOME is {given['TAILRACE_HOME']!r}; it must be a folder, not a URL.")
    # what lies below the home is not reported a second time
    lake, landing, artifacts = (
        _location(name, given[name], problems) if name in given else str(home / name.removeprefix(PREFIX).lower())
        for name in ("TAILRACE_LAKE", "TAILRACE_LANDING", "TAILRACE_ARTIFACTS")
    )
    tracking_uri = _tracking_uri(given.get("TAILRACE_TRACKING_URI", ""), home, problems)
    engine = given.get("TAILRACE_ENGINE", "local")
    if engine not in ENGINES:
        problems.append(
            f"TAILRACE_ENGINE is {engine!r}; it must be one of {', '.join(ENGINES)}.{did_you_mean(engine, ENGINES)}"
        )
    seed = given.get("TAILRACE_SEED", "20130301")
    if _whole_number(0, MOST_SEED)(seed) is None:
        problems.append(f"TAILRACE_SEED is {seed!r}; it must be a whole number from 0 to {MOST_SEED}.")
    storage_options = _json_object(given.get("TAILRACE_STORAGE_OPTIONS", "{}"))
    if storage_options is None:
        problems.append("TAILRACE_STORAGE_OPTIONS must be a JSON object of strings.")
    spark = _spark(given, home, environment.get("JAVA_HOME", ""), problems)
    tasks = given.get("TAILRACE_TASKS", PROCESS)
    if tasks not in (PROCESS, PODS):
        problems.append(f"TAILRACE_TASKS is {tasks!r}; it must be {PROCESS!r} or {PODS!r}.")
    pods = _pods(given, spark, problems, needed=tasks == PODS)
    dbt_tasks = given.get("TAILRACE_DBT_TASKS", BUILD)
    if dbt_tasks not in (BUILD, MODELS):
        problems.append(f"TAILRACE_DBT_TASKS is {dbt_tasks!r}; it must be {BUILD!r} or {MODELS!r}.")
    warehouse = str(home / "warehouse.duckdb")
    if "TAILRACE_WAREHOUSE" in given:
        warehouse = _warehouse(given["TAILRACE_WAREHOUSE"], problems)
    airflow_url = _server("TAILRACE_AIRFLOW_URL", given, problems)
    if problems:
        raise SettingsError("The environment's settings are wrong:", problems)
    return Settings(
        home=home,
        lake=lake,
        storage_options=storage_options or {},
        landing=landing,
        warehouse=warehouse,
        warehouse_password=given.get("TAILRACE_WAREHOUSE_PASSWORD") or environment.get("PGPASSWORD", ""),
        dbt_tasks=dbt_tasks,
        tracking_uri=tracking_uri,
        artifacts=artifacts,
        tracking_ui=given.get("TAILRACE_TRACKING_UI", ""),
        engine=engine,
        seed=_whole_number(0, MOST_SEED)(seed) or 0,
        java_home=environment.get("JAVA_HOME", ""),
        spark=spark,
        tasks=tasks,
        pods=pods,
        airflow_url=airflow_url,
        airflow_user=given.get("TAILRACE_AIRFLOW_USER", ""),
        airflow_password=given.get("TAILRACE_AIRFLOW_PASSWORD", ""),
    )


def unusable(settings: Settings) -> list[str]:
    """A sentence for each folder and file that the installation writes to and this process cannot; nothing is made."""
    found: dict[Path, str] = {}
    for name, place, folder in _folders(settings):
        # os.path: where this user may not look there is nothing, and no error
        there = next(path for path in (folder, *folder.parents) if os.path.exists(path))  # noqa: PTH110
        if not there.is_dir():
            found.setdefault(there, f"{name} is {place}, and {there} is no folder.")
        elif not os.access(there, os.W_OK | os.X_OK):
            found.setdefault(there, f"{name} is {place}, and this user has no right to write in {there}.")
    for name, file in _files(settings):
        if os.path.isdir(file):  # noqa: PTH112
            found.setdefault(file, f"{name} is {file}, which is a folder; it must be a file.")
        elif os.path.exists(file) and not os.access(file, os.W_OK):  # noqa: PTH110
            found.setdefault(file, f"{name} is {file}, and this user has no right to write to this file.")
    return list(found.values())


def _folders(settings: Settings) -> Iterator[tuple[str, str, Path]]:
    """What is written on this machine: the variable, its value, and the folder."""
    folders = {"HOME": str(settings.home), "LAKE": settings.lake, "LANDING": settings.landing}
    if not settings.tracking_uri.startswith("http"):
        folders["ARTIFACTS"] = settings.artifacts
    yield from ((PREFIX + name, place, Path(place)) for name, place in folders.items() if not _URL.match(place))
    yield from ((PREFIX + "HOME", str(settings.home), folder) for folder in (settings.work, settings.data_docs))
    yield from ((name, str(file), file.parent) for name, file in _files(settings))


def _files(settings: Settings) -> Iterator[tuple[str, Path]]:
    """Files that are written on this machine: the variable, and the file."""
    if settings.spark.log != "-":
        yield "TAILRACE_SPARK_LOG", Path(settings.spark.log).absolute()
    if not settings.warehouse_is_postgres:
        yield "TAILRACE_WAREHOUSE", Path(settings.warehouse).absolute()
    if file := _sqlite_file(settings.tracking_uri)[0]:
        yield "TAILRACE_TRACKING_URI", Path(file).absolute()


def _location(name: str, text: str, problems: list[str]) -> str:
    """A folder as an absolute path, or a URL as it is; what is wrong with it is added to problems."""
    wrong = sorted({letter for letter in text if letter in NOT_IN_PATHS or not letter.isprintable()})
    if wrong:
        problems.append(
            f"{name} is {text!r}; {_listed(wrong)} must not be in a path, since the lake, dbt or MLflow would write "
            "elsewhere or fail. Choose another folder."
        )
        return ""
    if _URL.match(text):
        return text
    try:
        return str(Path(os.path.abspath(Path(text).expanduser())))  # noqa: PTH100 - symbolic links stay as they are
    except (RuntimeError, OSError, ValueError) as error:
        problems.append(f"{name} is {text!r}, which is no path: {error}.")
        return ""


def _listed(letters: Sequence[str]) -> str:
    """The letters as a person reads them."""
    return " and ".join(letter if letter.isprintable() else repr(letter) for letter in letters)


def _tracking_uri(text: str, home: Path, problems: list[str]) -> str:
    """MLflow's server or database; an unknown scheme or a wrong path of an SQLite file is added to problems."""
    if not text:
        return f"{SQLITE}{home / 'mlflow.db'}"
    scheme = _SCHEME.match(text)
    known = TRACKING_DATABASES if scheme and scheme[2] else TRACKING_SCHEMES
    if scheme and scheme[1] not in known:
        # the text itself is not shown: it may hold a password
        problems.append(
            f"TAILRACE_TRACKING_URI has the scheme {scheme[0][:-1]!r}, which MLflow does not know; it must be one of "
            f"{', '.join(known)}.{did_you_mean(scheme[1].lower(), known)}"
        )
    file, options = _sqlite_file(text)
    no_options = options and not _OPTIONS.fullmatch(options)
    _location("TAILRACE_TRACKING_URI", f"{file}?{options}" if no_options else file, problems)
    return text


def _sqlite_file(uri: str) -> tuple[str, str]:
    """File and options of an SQLite database, each empty if there is none."""
    scheme, _, rest = uri.partition(":///")
    file, _, options = rest.partition("?") if scheme.split("+")[0] == "sqlite" else ("", "", "")
    return file, options


def _server(name: str, given: Mapping[str, str], problems: list[str]) -> str:
    """The address of a server without the last slash; empty if none is given."""
    text = given.get(name, "").rstrip("/")
    if text and not _is_address(text):
        problems.append(f"{name} is {text!r}; it must be an address such as http://localhost:8080.")
    return text


def _is_address(text: str) -> bool:
    try:
        url = urlsplit(text)
        url.port  # noqa: B018 - raises ValueError if it is none
    except ValueError:
        return False
    return url.scheme in ("http", "https") and bool(url.hostname) and text.isprintable() and " " not in text


def _warehouse(text: str, problems: list[str]) -> str:
    """The DuckDB file as an absolute path, or the Postgres URL; what is wrong with it is added to problems."""
    if not text.startswith(POSTGRES):
        if "://" in text:
            scheme = text.split("://")[0]
            problems.append(f"TAILRACE_WAREHOUSE has the scheme {scheme!r}; it must be a file or a postgresql:// URL.")
            return text
        file = _location("TAILRACE_WAREHOUSE", text, problems)
        if os.path.isdir(file):  # noqa: PTH112 - a name that is too long is no folder, and no error
            problems.append(
                f"TAILRACE_WAREHOUSE is {text!r}, which is a folder; it must be a file or a postgresql:// URL."
            )
        return file
    # the text itself is not shown: it may hold a password
    try:
        url = urlsplit(text)
        url.port  # noqa: B018 - raises ValueError if it is none
        password, name = url.password or parse_qs(url.query).get("password"), url.path.strip("/")
    except ValueError:
        problems.append("TAILRACE_WAREHOUSE is not a URL such as postgresql://user@host:5432/warehouse.")
        return ""
    if password:
        problems.append("TAILRACE_WAREHOUSE holds a password; it belongs in TAILRACE_WAREHOUSE_PASSWORD.")
    if not url.username or not name:
        problems.append("TAILRACE_WAREHOUSE must name user and database, as in postgresql://user@host:5432/warehouse.")
    return text


def _spark(given: Mapping[str, str], home: Path, java_home: str, problems: list[str]) -> SparkSettings:
    """The variables of the engine `spark`; what is wrong with them is added to problems."""
    values: dict[str, Any] = {"log": str(home / "work" / "spark.log"), "java_home": java_home}
    for each in fields(SparkSettings):
        name = SPARK_PREFIX + each.name.upper()
        if each.name == "java_home" or name not in given:
            continue
        read, wanted = _SPARK_READERS.get(each.name, (str, ""))
        values[each.name] = read(given[name])
        if values[each.name] is None:
            problems.append(f"{name} is {given[name]!r}; it must be {wanted}.")
    _location("TAILRACE_SPARK_EVENT_LOG", values.get("event_log", ""), problems)
    return SparkSettings(**values)


def _pods(given: Mapping[str, str], spark: SparkSettings, problems: list[str], *, needed: bool) -> PodSettings:
    """The variables of Airflow's pods; what is wrong with them, or missing where they are needed, goes to problems."""
    start_seconds = given.get("TAILRACE_POD_START_SECONDS", str(PodSettings.start_seconds))
    read, wanted = _COUNT
    if read(start_seconds) is None:
        problems.append(f"TAILRACE_POD_START_SECONDS is {start_seconds!r}; it must be {wanted}.")
    memory = given.get("TAILRACE_POD_MEMORY", "")
    if memory and not re.fullmatch(r"[1-9]\d*(Mi|Gi)", memory):
        problems.append(f"TAILRACE_POD_MEMORY is {memory!r}; it must be a whole number and Mi or Gi, such as '4Gi'.")
    template = PodSettings.template
    if "TAILRACE_POD_TEMPLATE" in given:
        template = Path(_location("TAILRACE_POD_TEMPLATE", given["TAILRACE_POD_TEMPLATE"], problems))
    pods = PodSettings(
        image=given.get("TAILRACE_POD_IMAGE", spark.image),
        namespace=given.get("TAILRACE_POD_NAMESPACE", spark.namespace),
        service_account=given.get("TAILRACE_POD_SERVICE_ACCOUNT", spark.service_account),
        template=template,
        memory=memory,
        connection=given.get("TAILRACE_POD_CONNECTION", PodSettings.connection),
        start_seconds=read(start_seconds) or PodSettings.start_seconds,
    )
    if needed:
        problems += [
            f"TAILRACE_TASKS is {PODS!r}, which needs TAILRACE_POD_{name} (or TAILRACE_SPARK_{name})."
            for name, value in (("IMAGE", pods.image), ("NAMESPACE", pods.namespace))
            if not value
        ]
        if not os.path.isfile(pods.template):  # noqa: PTH113 - a name that is too long is no file, and no error
            problems.append(f"TAILRACE_POD_TEMPLATE is {str(pods.template)!r}, and there is no such file.")
    return pods


def _matching(pattern: str) -> Callable[[str], str | None]:
    return lambda text: text if re.fullmatch(pattern, text) else None


def _whole_number(least: int, most: int = 2**63 - 1) -> Callable[[str], int | None]:
    """Reads ASCII digits: `int` also takes those of other scripts, and refuses some thousands of them."""
    return lambda text: int(text) if re.fullmatch("[0-9]{1,19}", text) and least <= int(text) <= most else None


def _switch(text: str) -> bool | None:
    return {"true": True, "1": True, "false": False, "0": False}.get(text.lower())


_MEMORY = (_matching(r"[1-9]\d*[kmgt]"), "a whole number and a unit k, m, g or t, such as '2g'")
_COUNT = (_whole_number(1), "a whole number of 1 or more")


def _json_object(text: str) -> dict[str, str] | None:
    """The object if text is a JSON object of strings, else None."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if isinstance(value, dict) and all(isinstance(v, str) for v in value.values()):
        return value
    return None


_SPARK_READERS: Mapping[str, tuple[Callable[[str], Any], str]] = {
    "master": (
        _matching(r"local\[([1-9]\d*|\*)(, ?[1-9]\d*)?\]|spark://[^\s/:]+:\d+(,[^\s/:]+:\d+)*|k8s://\S+"),
        "local[N], local[*], spark://host:port or k8s://https://host:port",
    ),
    "driver_memory": _MEMORY,
    "executor_memory": _MEMORY,
    "executor_memory_overhead": _MEMORY,
    "node_memory": _MEMORY,
    "executor_cores": _COUNT,
    "executors": _COUNT,
    "executor_wait_seconds": _COUNT,
    "node_cores": (_whole_number(0), "a whole number of 0 or more"),
    "dynamic_allocation": (_switch, "true or false"),
    "native_reader": (lambda text: text if text in NATIVE_READERS else None, "empty or 'delta'"),
    "conf": (_json_object, "a JSON object of strings"),
}
"""How a field is read from its variable (None: the text is wrong), and what it must be."""
