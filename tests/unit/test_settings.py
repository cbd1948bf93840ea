"""Settings come from the environment, and what is wrong with it is said at once."""

from __future__ import annotations

import pytest

from tailrace import settings
from tailrace.engines.spark import preflight
from tailrace.errors import BadInput, SettingsError
from tailrace.wiring import Wiring


def test_defaults_are_the_embedded_installation(tmp_path):
    loaded = settings.load({"TAILRACE_HOME": str(tmp_path)})
    assert loaded.lake == str(tmp_path / "lake")
    assert loaded.tracking_uri == f"sqlite:///{tmp_path / 'mlflow.db'}"
    assert loaded.engine == "local"


def test_every_wrong_variable_is_listed():
    with pytest.raises(SettingsError) as raised:
        settings.load(
            {
                "TAILRACE_LAK": "/lake",
                "TAILRACE_ENGINE": "loca",
                "TAILRACE_JAVA_HOME": "/usr",
                "TAILRACE_SEED": "one",
                "TAILRACE_STORAGE_OPTIONS": "[]",
            }
        )
    text = str(raised.value)
    assert "TAILRACE_LAK is not a setting. Did you mean 'TAILRACE_LAKE'?" in text
    assert "Did you mean 'local'?" in text
    assert len(raised.value.problems) == 5


@pytest.mark.parametrize("seed", ["²", "٣", "-1", "1e3", "4294967296", "9" * 5000])
def test_a_seed_is_what_numpy_takes(seed):
    with pytest.raises(SettingsError, match=r"TAILRACE_SEED is .* a whole number from 0 to 4294967295\."):
        settings.load({"TAILRACE_SEED": seed})
    assert [settings.load({"TAILRACE_SEED": text}).seed for text in ("0", "4294967295")] == [0, 4294967295]


@pytest.mark.parametrize("count", ["²", "٣", "9" * 5000])
def test_a_count_is_in_ascii_digits(count):
    with pytest.raises(SettingsError, match="TAILRACE_SPARK_EXECUTORS is"):
        settings.load({"TAILRACE_SPARK_EXECUTORS": count})


def test_a_missing_java_is_said_only_where_spark_is_asked_for(tmp_path):
    without_java = {"TAILRACE_HOME": str(tmp_path), "JAVA_HOME": str(tmp_path)}
    assert Wiring(settings.load(without_java)).engine.name == "local"
    with pytest.raises(BadInput, match=r"Spark needs Java 17.*apt-get install"):
        preflight.check(settings.load({**without_java, "TAILRACE_ENGINE": "spark"}).spark)


def test_spark_reads_its_own_variables(tmp_path):
    spark = settings.load(
        {
            "TAILRACE_HOME": str(tmp_path),
            "TAILRACE_SPARK_MASTER": "k8s://https://10.0.0.1:6443",
            "TAILRACE_SPARK_EXECUTOR_MEMORY": "4g",
            "TAILRACE_SPARK_EXECUTORS": "200",
            "TAILRACE_SPARK_DYNAMIC_ALLOCATION": "true",
            "TAILRACE_SPARK_CONF": '{"spark.ui.enabled": "true"}',
            "JAVA_HOME": "/java",
        }
    ).spark
    assert spark == settings.SparkSettings(
        master="k8s://https://10.0.0.1:6443",
        executor_memory="4g",
        executors=200,
        dynamic_allocation=True,
        conf={"spark.ui.enabled": "true"},
        log=str(tmp_path / "work" / "spark.log"),
        java_home="/java",
    )


@pytest.mark.parametrize("master", ["local[*]", "local[2]", "spark://a:7077,b:7077", "k8s://http://127.0.0.1:8080"])
def test_a_master_is_taken(master):
    assert settings.load({"TAILRACE_SPARK_MASTER": master}).spark.master == master


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("MASTER", "local[0]"),
        ("MASTER", "yarn"),
        ("MASTER", "spark://host"),
        ("DRIVER_MEMORY", "2"),
        ("EXECUTOR_MEMORY", "2gb"),
        ("EXECUTOR_MEMORY_OVERHEAD", "some"),
        ("NODE_MEMORY", "0g"),
        ("EXECUTOR_CORES", "0"),
        ("EXECUTORS", "-1"),
        ("EXECUTOR_WAIT_SECONDS", "1.5"),
        ("NODE_CORES", "many"),
        ("DYNAMIC_ALLOCATION", "perhaps"),
        ("NATIVE_READER", "iceberg"),
        ("CONF", '{"a": 1}'),
    ],
)
def test_a_wrong_spark_variable_is_said(variable, value):
    with pytest.raises(SettingsError) as raised:
        settings.load({f"TAILRACE_SPARK_{variable}": value})
    assert len(raised.value.problems) == 1
    assert f"TAILRACE_SPARK_{variable} is {value!r}; it must be " in raised.value.problems[0]


def test_a_misspelt_spark_variable_names_the_nearest():
    with pytest.raises(SettingsError, match="Did you mean 'TAILRACE_SPARK_MASTER'"):
        settings.load({"TAILRACE_SPARK_MASTR": "local[2]"})


def test_the_warehouse_is_a_file_or_a_postgres_database(tmp_path):
    home = {"TAILRACE_HOME": str(tmp_path)}
    assert settings.load(home).warehouse == str(tmp_path / "warehouse.duckdb")
    url = "postgresql://warehouse@db:5432/warehouse"
    loaded = settings.load({**home, "TAILRACE_WAREHOUSE": url, "PGPASSWORD": "hushed"})
    assert (loaded.warehouse, loaded.warehouse_is_postgres, loaded.warehouse_password) == (url, True, "hushed")
    assert "hushed" not in repr(loaded)
    own = {**home, "TAILRACE_WAREHOUSE": url, "PGPASSWORD": "hushed", "TAILRACE_WAREHOUSE_PASSWORD": "own"}
    assert settings.load(own).warehouse_password == own["TAILRACE_WAREHOUSE_PASSWORD"]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("postgresql://warehouse:hushed@db/warehouse", "belongs in TAILRACE_WAREHOUSE_PASSWORD"),
        ("postgresql://warehouse@db/warehouse?password=hushed", "belongs in TAILRACE_WAREHOUSE_PASSWORD"),
        ("postgresql://db:5432", "must name user and database"),
        ("mysql://warehouse:hushed@db/warehouse", "has the scheme 'mysql'"),
    ],
)
def test_a_wrong_warehouse_is_said_without_its_password(value, said):
    with pytest.raises(SettingsError, match=said) as refused:
        settings.load({"TAILRACE_WAREHOUSE": value})
    assert "hushed" not in str(refused.value)


def test_dbt_runs_as_one_task_or_one_per_model():
    assert settings.load({}).dbt_tasks == settings.BUILD
    with pytest.raises(SettingsError, match="TAILRACE_DBT_TASKS is 'model'; it must be 'build' or 'models'"):
        settings.load({"TAILRACE_DBT_TASKS": "model"})


@pytest.mark.parametrize(
    "uri",
    [
        "http://mlflow:5000",
        "https://user:word@mlflow/path?x",
        "sqlite:////tmp/a.db",
        "sqlite:///a.db?timeout=30&check_same_thread=false",
        "postgresql://user:word@db/mlflow?sslmode=require",
        "postgresql+psycopg2://db/mlflow",
        "mysql+pymysql://db/mlflow",
        "mssql+pyodbc://db/mlflow",
        "databricks",
        "databricks://profile",
        "file:///data/runs",
        "/data/runs",
        "runs",
    ],
)
def test_a_place_that_mlflow_takes_is_taken_as_it_is(uri):
    assert settings.load({"TAILRACE_TRACKING_URI": uri}).tracking_uri == uri


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("garbage://x", r"the scheme 'garbage', which MLflow does not know; it must be one of http, https, sqlite"),
        ("postgres://user:hushed@db/mlflow", r"Did you mean 'postgresql'\?"),
        ("htps://mlflow", r"Did you mean 'https'\?"),
        ("HTTP://mlflow", r"Did you mean 'http'\?"),
        ("localhost:5000", r"the scheme 'localhost'"),
        ("http+psycopg2://mlflow", r"the scheme 'http\+psycopg2'"),
        ("s3://bucket/runs", r"the scheme 's3'"),
        ("sqlite:////tmp/a?b.db", r"'/tmp/a\?b\.db'; \? must not be in a path"),
        ("sqlite+pysqlite:////tmp/a#b.db", r"'/tmp/a#b\.db'; # must not be in a path"),
    ],
)
def test_a_tracking_uri_that_leads_elsewhere_or_nowhere_is_refused(uri, said):
    with pytest.raises(SettingsError, match=f"TAILRACE_TRACKING_URI .*{said}") as refused:
        settings.load({"TAILRACE_TRACKING_URI": uri})
    assert len(refused.value.problems) == 1
    assert "hushed" not in str(refused.value)
