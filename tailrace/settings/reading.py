"""Reads the settings and lists everything that is wrong with them: the only reader of the environment."""

from __future__ import annotations

import functools
import json
import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any
from zoneinfo import available_timezones

from tailrace.errors import SettingsError, did_you_mean
from tailrace.settings import import_paths, project_file, source_tables, values
from tailrace.settings.fields import (
    ASSET,
    BUILD,
    BUILT_ELSEWHERE,
    DAG,
    DBT_PREFIX,
    DBT_WAREHOUSE,
    DEFAULT_SEED,
    DUCKDB_WAREHOUSE,
    HERE,
    MODELS,
    NAMES,
    POD_PREFIX,
    PODS,
    POSTGRES,
    POSTGRES_WAREHOUSE,
    PREFIX,
    PROCESS,
    SPARK_PREFIX,
    UPKEEP_PREFIX,
    USE_PREFIX,
    DbtSettings,
    Implementations,
    PodSettings,
    Settings,
    SourceSettings,
    SparkSettings,
    UpkeepSettings,
)
from tailrace.settings.given import Given
from tailrace.settings.keys import variables
from tailrace.settings.locations import SQLITE, URL, location, server, tracking_uri, warehouse
from tailrace.settings.project import Project, find_project

OTHER_VARIABLES = ("JAVA_HOME", "PGPASSWORD", "HOME")
"""What the settings depend on besides our own variables; HOME for paths that begin with `~`."""


def load(environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings of the project. Raises SettingsError listing everything that is wrong.

    They are read again only if a variable, the working folder or tailrace.toml has changed: a DAG file asks for them
    several times for each pipeline.
    """
    problems: list[str] = []
    project = _project(environment, problems)
    relevant = {name: text for name, text in environment.items() if name.startswith(PREFIX) or name in OTHER_VARIABLES}
    if problems:
        return _read(relevant, project, problems)
    return _unchanged(tuple(sorted(relevant.items())), project, _stamp(project), _folder())


def _folder() -> str:
    """The working folder; empty if it was removed, which matters only to a relative path."""
    try:
        return os.getcwd()  # noqa: PTH109 - faster
    except OSError:
        return ""


def _stamp(project: Project) -> tuple[int, int]:
    """What changes when the project's file does."""
    status = os.stat(project.file)  # noqa: PTH116
    return status.st_mtime_ns, status.st_size


@functools.lru_cache(maxsize=8)
def _unchanged(environment: tuple[tuple[str, str], ...], project: Project, stamp: object, folder: str) -> Settings:
    return _read(dict(environment), project, [])


def _read(environment: Mapping[str, str], project: Project, problems: list[str]) -> Settings:
    chosen = environment.get("TAILRACE_ENV", "")
    in_file = project_file.FileSettings() if problems else project_file.read(project, problems, chosen)
    given = Given(_set(environment, problems), in_file, problems)
    home, java_home = _home(given, project), environment.get("JAVA_HOME", "")
    spark = _spark(given, home, java_home)
    use = _use(given)
    tasks = given.choice("TAILRACE_TASKS", (PROCESS, PODS), PROCESS)
    sources, source_settings = _sources(given)
    settings = Settings(
        project=project,
        home=home,
        lake=_below(given, "TAILRACE_LAKE", home),
        storage_options=_storage_options(given),
        landing=_below(given, "TAILRACE_LANDING", home),
        warehouse=_warehouse(given, home, use),
        warehouse_password=given.text("TAILRACE_WAREHOUSE_PASSWORD") or environment.get("PGPASSWORD", ""),
        dbt=_dbt(given),
        dbt_tasks=_dbt_tasks(given, use),
        tracking_uri=_tracking_uri(given, home),
        artifacts=_below(given, "TAILRACE_ARTIFACTS", home),
        tracking_ui=given.text("TAILRACE_TRACKING_UI"),
        engine=_implementation(given, "TAILRACE_ENGINE", "engine", "local"),
        seed=given.read("TAILRACE_SEED", values.SEED, DEFAULT_SEED),
        env=chosen,
        zone=_zone(given),
        sources=sources,
        source_settings=source_settings,
        use=use,
        java_home=java_home,
        spark=spark,
        tasks=tasks,
        pods=_pods(given, spark, needed=tasks == PODS),
        upkeep=_upkeep(given),
        airflow_url=server(given.label("TAILRACE_AIRFLOW_URL"), given.text("TAILRACE_AIRFLOW_URL"), problems),
        airflow_user=given.text("TAILRACE_AIRFLOW_USER"),
        airflow_password=given.text("TAILRACE_AIRFLOW_PASSWORD"),
        openlineage_url=server(
            given.label("TAILRACE_OPENLINEAGE_URL"), given.text("TAILRACE_OPENLINEAGE_URL"), problems
        ),
        openlineage_namespace=given.text("TAILRACE_OPENLINEAGE_NAMESPACE", "tailrace"),
        openlineage_api_key=given.text("TAILRACE_OPENLINEAGE_API_KEY"),
    )
    if problems:
        raise SettingsError("The settings are wrong:", problems + _not_importable(given, settings))
    return settings


def _not_importable(given: Given, settings: Settings) -> list[str]:
    """A sentence for each import path that leads nowhere: asked only where the settings are wrong already.

    Where they are right, a part is imported when it is first used, by `wiring`.
    """
    variables = [USE_PREFIX + each.name.upper() for each in fields(Implementations)] + ["TAILRACE_ENGINE"]
    chosen = [(f"{given.label(variable)} is", given.text(variable)) for variable in variables]
    chosen += [(f"{given.label('TAILRACE_SOURCES')} names", path) for path in dict.fromkeys(settings.sources)]
    found: list[str] = []
    for setting, path in chosen:
        if import_paths.FORM.fullmatch(path):
            try:
                import_paths.resolve(setting, path, settings.project)
            except SettingsError as error:
                # A module that reads the settings itself fails for what is said already.
                found += [] if isinstance(error.__cause__, SettingsError) else error.problems
    return found


def _project(environment: Mapping[str, str], problems: list[str]) -> Project:
    """The project; where there is none, that is a problem, and the root folder stands for it until all are listed."""
    try:
        return find_project(environment)
    except SettingsError as error:
        problems.extend(error.problems)
        return Project(Path("/"))


def _set(environment: Mapping[str, str], problems: list[str]) -> dict[str, str]:
    """The environment's variables of ours; those that are no settings are problems."""
    given, known = {name: text for name, text in environment.items() if name.startswith(PREFIX) and text}, variables()
    problems += [f"{name} is not a setting.{did_you_mean(name, known)}" for name in sorted(given) if name not in known]
    return given


def _home(given: Given, project: Project) -> Path:
    text = given.text("TAILRACE_HOME", str(project.home))
    if URL.match(text):
        given.wrong("TAILRACE_HOME", f"is {text!r}; it must be a folder, not a URL.")
    return Path(location(given.label("TAILRACE_HOME"), text, given.problems)).resolve()


def _below(given: Given, variable: str, home: Path) -> str:
    """A folder or URL. What lies in the home by default is not checked a second time."""
    if variable not in given:
        return str(home / variable.removeprefix(PREFIX).lower())
    return location(given.label(variable), given.text(variable), given.problems)


def _storage_options(given: Given) -> Mapping[str, str]:
    options = values.json_object(given.text("TAILRACE_STORAGE_OPTIONS", "{}"))
    if options is None:
        # the text itself is not shown: it may hold a password
        given.wrong("TAILRACE_STORAGE_OPTIONS", f"must be {values.OBJECT.wanted}.")
    return options or {}


def _use(given: Given) -> Implementations:
    chosen = {
        each.name: _implementation(given, USE_PREFIX + each.name.upper(), each.name, str(each.default))
        for each in fields(Implementations)
    }
    of_dbt = _of_dbt(given)
    if of_dbt and chosen["warehouse"] in (DUCKDB_WAREHOUSE, POSTGRES_WAREHOUSE):
        given.wrong(
            "TAILRACE_USE_WAREHOUSE",
            f"is {chosen['warehouse']!r}, which does not read {given.label(of_dbt[0])}; remove one of the two.",
        )
    return Implementations(**{**chosen, "warehouse": chosen["warehouse"] or (DBT_WAREHOUSE if of_dbt else "")})


def _of_dbt(given: Given) -> list[str]:
    """The variables that say something of a dbt project of the team's own: one of them is enough to use it."""
    variables = (DBT_PREFIX + each.name.upper() for each in fields(DbtSettings))
    return [variable for variable in variables if variable in given]


def _dbt(given: Given) -> DbtSettings:
    """The team's own dbt project."""
    select = given.text(f"{DBT_PREFIX}SELECT")
    if any(word.startswith("-") for word in select.split()):
        given.wrong(
            f"{DBT_PREFIX}SELECT", f"is {select!r}; write only what follows --select, such as 'tag:ml +orders'."
        )
    try:
        shlex.split(select)
    except ValueError:
        given.wrong(f"{DBT_PREFIX}SELECT", f"is {select!r}; it has a quotation mark that is never closed.")
    return DbtSettings(
        project=_folder_of(given, f"{DBT_PREFIX}PROJECT"),
        profiles=_folder_of(given, f"{DBT_PREFIX}PROFILES"),
        target=given.text(f"{DBT_PREFIX}TARGET"),
        select=select,
        build=given.choice(f"{DBT_PREFIX}BUILD", (HERE, BUILT_ELSEWHERE), HERE),
        wait_minutes=given.read(f"{DBT_PREFIX}WAIT_MINUTES", values.MINUTES, DbtSettings.wait_minutes),
        wait_for=_wait_for(given),
    )


def _wait_for(given: Given) -> tuple[str, ...]:
    """The assets and DAGs that say that the marts were built elsewhere."""
    variable = f"{DBT_PREFIX}WAIT_FOR"
    named = tuple(dict.fromkeys(name.strip() for name in given.text(variable).split(",") if name.strip()))
    for name in named:
        kind, _, rest = name.partition(":")
        if kind not in (ASSET, DAG) or not re.fullmatch(r"\S+" if kind == ASSET else r"[\w.~-]+", rest):
            near = did_you_mean(kind, (ASSET, DAG)) if rest else ""
            given.wrong(
                variable,
                f"names {name!r}; it must be 'asset:' and the asset's name or URI, or 'dag:' and the DAG's id, such as "
                f"'asset:ml_marts' or 'dag:company_dbt'.{near}",
            )
    if named and given.text(f"{DBT_PREFIX}BUILD", HERE) == HERE:
        given.wrong(
            variable,
            f"is set, but Tailrace builds the marts itself; set {given.label(f'{DBT_PREFIX}BUILD')} to "
            f"{BUILT_ELSEWHERE!r}, or remove it.",
        )
    return named


def _folder_of(given: Given, variable: str) -> Path | None:
    """A folder of this machine; None if it is not set."""
    if variable not in given:
        return None
    text = given.text(variable)
    if URL.match(text):
        given.wrong(variable, f"is {text!r}; it must be a folder, not a URL.")
        return None
    return Path(location(given.label(variable), text, given.problems))


def _dbt_tasks(given: Given, use: Implementations) -> str:
    tasks = given.choice("TAILRACE_DBT_TASKS", (BUILD, MODELS), BUILD)
    if tasks == MODELS and use.warehouse == DBT_WAREHOUSE:
        given.wrong(
            "TAILRACE_DBT_TASKS",
            f"is {MODELS!r}, which is not possible with a dbt project of your own ([dbt] is set); set it to {BUILD!r}.",
        )
    return tasks


def _implementation(given: Given, variable: str, part: str, default: str) -> str:
    """The short name of one of the part's implementations, or an import path."""
    text, known = given.text(variable), NAMES[part]
    if text and text not in known and not import_paths.FORM.fullmatch(text):
        wanted = f"{values.listed([repr(name) for name in known], 'or')}, or {import_paths.WANTED}"
        given.wrong(variable, f"is {text!r}; it must be {wanted}.{did_you_mean(text, known)}")
    return text or default


def _zone(given: Given) -> str:
    zone = given.text("TAILRACE_ZONE")
    if zone and not values.is_time_zone(zone):
        near = did_you_mean(zone, available_timezones())
        given.wrong("TAILRACE_ZONE", f"is {zone!r}; it must be a time zone such as 'Europe/Berlin'.{near}")
    return zone


def _sources(given: Given) -> tuple[tuple[str, ...], Mapping[str, SourceSettings]]:
    """The sources, and what is said of those that have a table of their own."""
    text = given.text("TAILRACE_SOURCES")
    if text.startswith("{"):
        return _source_tables(given, text)
    paths = tuple(path.strip() for path in text.split(",") if path.strip())
    for path in dict.fromkeys(paths):
        if not import_paths.FORM.fullmatch(path):
            given.wrong("TAILRACE_SOURCES", f"names {path!r}; it must be {import_paths.WANTED}.")
        if paths.count(path) > 1:
            given.wrong("TAILRACE_SOURCES", f"names {path!r} {paths.count(path)} times; name it once.")
    return paths, {}


def _source_tables(given: Given, text: str) -> tuple[tuple[str, ...], Mapping[str, SourceSettings]]:
    try:
        tables = json.loads(text)
    except (ValueError, RecursionError):
        given.wrong("TAILRACE_SOURCES", "begins with { and is no JSON object of sources.")
        return (), {}
    found = source_tables.read(tables, given.label("TAILRACE_SOURCES"), given.problems)
    return tuple(one.label for one in found), {one.label: one for one in found}


def _warehouse(given: Given, home: Path, use: Implementations) -> str:
    """The warehouse's place; that of a warehouse of a team's own is not for us to judge."""
    text = given.text("TAILRACE_WAREHOUSE", str(home / "warehouse.duckdb"))
    if use.warehouse == DBT_WAREHOUSE and "TAILRACE_WAREHOUSE" in given:
        set_too = ", ".join(map(given.label, _of_dbt(given))) or given.label("TAILRACE_USE_WAREHOUSE")
        given.wrong(
            "TAILRACE_WAREHOUSE", f"is set, and so is {set_too}: dbt's profile says where the warehouse is; remove one."
        )
        return text
    if "TAILRACE_WAREHOUSE" not in given or ":" in use.warehouse:
        place = text
    else:
        place = warehouse(given.label("TAILRACE_WAREHOUSE"), text, given.problems)
    is_postgres = place.startswith(POSTGRES)
    if use.warehouse == (DUCKDB_WAREHOUSE if is_postgres else POSTGRES_WAREHOUSE):
        where = "is a Postgres database" if is_postgres else "is no postgresql:// URL"
        given.wrong("TAILRACE_USE_WAREHOUSE", f"is {use.warehouse!r}, and TAILRACE_WAREHOUSE {where}; change either.")
    return place


def _tracking_uri(given: Given, home: Path) -> str:
    if "TAILRACE_TRACKING_URI" not in given:
        return f"{SQLITE}{home / 'mlflow.db'}"
    return tracking_uri(given.label("TAILRACE_TRACKING_URI"), given.text("TAILRACE_TRACKING_URI"), given.problems)


def _spark(given: Given, home: Path, java_home: str) -> SparkSettings:
    """The settings of the engine `spark`."""
    found: dict[str, Any] = {"log": str(home / "work" / "spark.log"), "java_home": java_home}
    for each in fields(SparkSettings):
        variable = SPARK_PREFIX + each.name.upper()
        if each.name != "java_home" and variable in given:
            found[each.name] = given.read(variable, values.SPARK.get(each.name, values.TEXT), "")
    if "event_log" in found:
        location(given.label("TAILRACE_SPARK_EVENT_LOG"), found["event_log"], given.problems)
    return SparkSettings(**found)


def _upkeep(given: Given) -> UpkeepSettings:
    """What is kept for how long."""
    found = {
        each.name: given.read(UPKEEP_PREFIX + each.name.upper(), values.UPKEEP[each.name], each.default)
        for each in fields(UpkeepSettings)
    }
    return UpkeepSettings(**found)


def _pods(given: Given, spark: SparkSettings, *, needed: bool) -> PodSettings:
    """The settings of Airflow's pods; what is missing is a problem where they are needed."""
    template = None
    if "TAILRACE_POD_TEMPLATE" in given:
        label, text = given.label("TAILRACE_POD_TEMPLATE"), given.text("TAILRACE_POD_TEMPLATE")
        template = Path(location(label, text, given.problems))
        if needed and not os.path.isfile(template):  # noqa: PTH113 - a name that is too long is no file, and no error
            given.wrong("TAILRACE_POD_TEMPLATE", f"is {str(template)!r}, and there is no such file.")
    pods = PodSettings(
        image=given.text("TAILRACE_POD_IMAGE", spark.image),
        namespace=given.text("TAILRACE_POD_NAMESPACE", spark.namespace),
        service_account=given.text("TAILRACE_POD_SERVICE_ACCOUNT", spark.service_account),
        template=template,
        memory=given.read(POD_PREFIX + "MEMORY", values.POD_MEMORY, ""),
        connection=given.text("TAILRACE_POD_CONNECTION", PodSettings.connection),
        start_seconds=given.read(POD_PREFIX + "START_SECONDS", values.COUNT, PodSettings.start_seconds),
    )
    for name, value in (("IMAGE", pods.image), ("NAMESPACE", pods.namespace)):
        if needed and not value:
            given.wrong("TAILRACE_TASKS", f"is {PODS!r}, which needs TAILRACE_POD_{name} (or TAILRACE_SPARK_{name}).")
    return pods
