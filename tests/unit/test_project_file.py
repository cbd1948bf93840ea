"""What tailrace.toml may say, and that each mistake in it is said in a sentence, all at once."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path

import pytest

from tailrace import settings
from tailrace.errors import SettingsError
from tailrace.settings import fields, keys
from tests.support import new_project

EVERYTHING = """
zone = "Europe/Berlin"
sources = ["pipelines.sources.orders:Orders", "company.sources:Weather"]
home = "written"
lake = "s3://bucket/lake"
landing = "~/landed"
tracking_uri = "sqlite:///registry/mlflow.db?timeout=30"
engine = "spark"
seed = 7
dbt_tasks = "models"
storage_options = { AWS_REGION = "eu-central-1" }

[use]
warehouse = "company.warehouse:Warehouse"

[spark]
master = "local[2]"
executors = 8
dynamic_allocation = true
log = "-"
conf = { "spark.ui.enabled" = "true" }

[pods]
template = "deploy/driver.yaml"
start_seconds = 60
"""


@pytest.fixture
def loaded(tmp_path, monkeypatch):
    """Loads the settings of a project with this tailrace.toml."""

    def load(text: str, **environment: str) -> settings.Settings:
        if not (tmp_path / "pipelines").exists():
            new_project(tmp_path, monkeypatch)
        (tmp_path / "tailrace.toml").write_text(text)
        return settings.load({"TAILRACE_PROJECT": str(tmp_path), **environment})

    return load


@pytest.fixture
def refused(loaded):
    """The problems of a project with this tailrace.toml."""

    def problems(text: str, **environment: str) -> tuple[str, ...]:
        with pytest.raises(SettingsError) as raised:
            loaded(text, **environment)
        assert all(problem.endswith((".", "?")) for problem in raised.value.problems)
        return raised.value.problems

    return problems


def test_every_kind_of_value_is_read(loaded, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    found = loaded(EVERYTHING)
    assert (found.zone, found.engine, found.seed, found.dbt_tasks) == ("Europe/Berlin", "spark", 7, "models")
    assert found.sources == ("pipelines.sources.orders:Orders", "company.sources:Weather")
    assert found.use == fields.Implementations(warehouse="company.warehouse:Warehouse")
    assert found.storage_options == {"AWS_REGION": "eu-central-1"}
    assert (found.spark.executors, found.spark.dynamic_allocation, found.spark.log) == (8, True, "-")
    assert found.spark.conf == {"spark.ui.enabled": "true"}
    assert found.pods.start_seconds == 60


def test_a_path_is_below_the_project_whatever_the_working_folder(loaded, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    found = loaded(EVERYTHING)
    assert (found.home, found.lake, found.landing) == (tmp_path / "written", "s3://bucket/lake", "/home/me/landed")
    assert found.tracking_uri == f"sqlite:///{tmp_path}/registry/mlflow.db?timeout=30"
    assert found.pods.template == tmp_path / "deploy" / "driver.yaml"
    assert loaded('tracking_uri = "databricks"').tracking_uri == "databricks"
    assert loaded('tracking_uri = "postgresql+psycopg2://db/mlflow"').tracking_uri == "postgresql+psycopg2://db/mlflow"


def test_a_variable_overrides_the_file(loaded, tmp_path):
    overridden = loaded(EVERYTHING, TAILRACE_SEED="9", TAILRACE_SPARK_CONF='{"a": "b"}', TAILRACE_SOURCES="a.b:C")
    assert (overridden.seed, overridden.spark.conf, overridden.sources) == (9, {"a": "b"}, ("a.b:C",))
    assert loaded("seed = 7", TAILRACE_SEED="").seed == 7, "an empty variable is not set"
    assert loaded('zone = ""').zone == "", "nor is an empty text"


ENVIRONMENTS = """
seed = 7
home = "dev"

[spark]
executors = 2
conf = { "spark.ui.enabled" = "true" }

[env.staging]
home = "staging"

[env.prod]
home = "/srv/prod"
lake = "s3://bucket/lake"

[env.prod.spark]
executors = 16
conf = { "spark.speculation" = "true" }
"""


def test_the_section_of_an_environment_overrides_the_file(loaded, tmp_path):
    plain = loaded(ENVIRONMENTS)
    assert (plain.env, plain.seed, plain.home, plain.spark.executors) == ("", 7, tmp_path / "dev", 2)
    staging = loaded(ENVIRONMENTS, TAILRACE_ENV="staging")
    assert (staging.env, staging.home, staging.lake) == ("staging", tmp_path / "staging", f"{tmp_path}/staging/lake")
    prod = loaded(ENVIRONMENTS, TAILRACE_ENV="prod", TAILRACE_SEED="9")
    assert (str(prod.home), prod.lake, prod.seed, prod.spark.executors) == ("/srv/prod", "s3://bucket/lake", 9, 16)
    assert prod.spark.conf == {"spark.speculation": "true"}, "a table of texts is replaced as a whole"


def test_every_section_is_checked_whichever_is_in_force(refused):
    found = refused(
        "sed = 1\n[env.dev]\nenv = 'x'\n[env.prod]\nlak = 'x'\nwarehouse_password = 'hushed'\n"
        "[env.prod.spark]\nexecutor = 8\n",
        TAILRACE_ENV="prd",
    )
    assert found == (
        "tailrace.toml: sed is not a setting. Did you mean 'seed'?",
        "TAILRACE_ENV is 'prd'; tailrace.toml has no such section of [env]. Did you mean 'prod'? Known: dev, prod.",
        "tailrace.toml: env.dev.env is not a setting.",
        "tailrace.toml: env.prod.lak is not a setting. Did you mean 'lake'?",
        "tailrace.toml: env.prod.warehouse_password is a secret, which must not stand in this file; "
        "set TAILRACE_WAREHOUSE_PASSWORD.",
        "tailrace.toml: env.prod.spark.executor is not a setting. Did you mean 'spark.executors'?",
    )


@pytest.mark.parametrize(
    ("text", "environment", "said"),
    [
        ("", "prod", "TAILRACE_ENV is 'prod'; tailrace.toml has no such section of [env]. Known: none yet."),
        ("env = 'prod'", "", "tailrace.toml: env is a text; it must be a section for each environment: [env.prod]."),
        (
            "[env]\nseed = 7",
            "",
            "tailrace.toml: env.seed is a whole number; [env] holds a section for each environment",
        ),
        (
            "[env.prod]\nspark = 1",
            "",
            "tailrace.toml: env.prod.spark is a whole number; it must be a table: [env.prod.s",
        ),
        ("[env.prod]\nseed = 'x'", "", "tailrace.toml: env.prod.seed is a text; it must be a whole number"),
        (
            "[env.prod]\nzone = 'Europe/Berln'",
            "prod",
            "tailrace.toml: env.prod.zone is 'Europe/Berln'; it must be a time",
        ),
        ("[envs.prod]\nseed = 7", "", "tailrace.toml: envs is not a setting. Did you mean 'env'?"),
    ],
)
def test_a_mistake_in_a_section_is_named_with_it(refused, text, environment, said):
    (problem,) = refused(text, TAILRACE_ENV=environment)
    assert problem.startswith(said)


def test_all_mistakes_are_said_at_once_and_where_each_stands(refused):
    own = "or an import path such as 'pipelines.sources.orders:Orders'."
    found = refused(
        "lak = '/lake'\nTAILRACE_LAKE = '/lake'\nseed = 'one'\nexecutors = 2\nengine = 'sprak'\n"
        "[spark]\nexecutors = 0\n[pod]\nimage = 'x'\n[use]\nengine = 'spark'\nlake = 'detla'\nwarehouse = 'postgre'\n",
        TAILRACE_TASKS="pod",
    )
    assert found == (
        "tailrace.toml: lak is not a setting. Did you mean 'lake'?",
        "tailrace.toml: TAILRACE_LAKE is not a setting. Did you mean 'lake'?",
        "tailrace.toml: seed is a text; it must be a whole number, without quotes.",
        "tailrace.toml: executors is not a setting. Did you mean 'spark.executors'?",
        "tailrace.toml: pod is not a setting. Did you mean 'pods'?",
        "tailrace.toml: use.engine is not a setting. Did you mean 'engine'?",
        "tailrace.toml: spark.executors is '0'; it must be a whole number of 1 or more.",
        "tailrace.toml: use.warehouse is 'postgre'; it must be 'duckdb', 'postgres' or 'dbt', "
        f"{own} Did you mean 'postgres'?",
        f"tailrace.toml: use.lake is 'detla'; it must be 'delta', {own} Did you mean 'delta'?",
        "TAILRACE_TASKS is 'pod'; it must be 'process' or 'pods'. Did you mean 'pods'?",
        f"tailrace.toml: engine is 'sprak'; it must be 'local' or 'spark', {own} Did you mean 'spark'?",
    )


def test_import_paths_that_lead_nowhere_are_said_with_all_other_mistakes(refused, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "reads_settings.py").write_text("from tailrace import settings\nsettings.load()\nLake = 1\n")
    found = refused(
        "sed = 1\nengine = 'no_such:Engine'\nsources = ['no_such.orders:Orders']\n"
        "[use]\ntracker = 'os.path:nothing'\nlake = 'reads_settings:Lake'\nvalidator = 'pathlib:Path'\n"
    )
    missing = "no_such does not import (ModuleNotFoundError: No module named 'no_such')."
    assert found == (
        "tailrace.toml: sed is not a setting. Did you mean 'seed'?",
        "tailrace.toml: use.tracker is 'os.path:nothing', and os.path has no nothing.",
        f"tailrace.toml: engine is 'no_such:Engine', and {missing}",
        f"tailrace.toml: sources names 'no_such.orders:Orders', and {missing.replace('no_such', 'no_such.orders', 1)}",
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seed = 1.5", "seed is a number; it must be a whole number, without quotes."),
        ("seed = true", "seed is true or false; it must be a whole number, without quotes."),
        ("seed = 2013-03-01", "seed is a date or time; it must be a whole number, without quotes."),
        ("lake = 1", "lake is a whole number; it must be a text, in quotes."),
        ("spark.dynamic_allocation = 1", "spark.dynamic_allocation is a whole number; it must be true or false, wit"),
        ("spark.conf = {a = 1}", "spark.conf is a table of more than texts; it must be a table of texts."),
        ("storage_options = 'x'", "storage_options is a text; it must be a table of texts."),
        ("sources = 'a:B'", "sources is a text; it must be a list of texts."),
        ("sources = ['a:B', 1]", "sources is a list of more than texts; it must be a list of texts."),
        ("spark = 'local'", "spark is a text; it must be a table: [spark]."),
        (
            "zone = 'Europe/Berln'",
            "zone is 'Europe/Berln'; it must be a time zone such as 'Europe/Berlin'. Did",
        ),
        (
            "sources = ['orders']",
            "sources names 'orders'; it must be an import path such as 'pipelines",
        ),
        ("sources = ['pathlib:Path', 'pathlib:Path']", "sources names 'pathlib:Path' 2 times; name it once."),
        ("use.lake = 'a.b:'", "use.lake is 'a.b:'; it must be 'delta', or an import path such as"),
        ("engine = ':Engine'", "engine is ':Engine'; it must be 'local' or 'spark', or an import path such as"),
        ("lake = 'a?b'", "lake is '"),
    ],
)
def test_a_wrong_value_is_named_by_its_key(refused, text, said):
    (problem,) = refused(text)
    assert problem.startswith(f"tailrace.toml: {said}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seed =\n", r"tailrace\.toml, line 1, is not TOML: Invalid value\."),
        ("seed = 1\nzone = 'x", r"tailrace\.toml, line 2, is not TOML: \w"),
        ("seed = 1\nseed = 2", r"tailrace\.toml, line 2: seed is set a second time; remove one of the two\."),
        ("a = " + "[" * 9999, r"tailrace\.toml"),
    ],
)
def test_a_file_that_is_no_toml_is_said_with_its_line(refused, text, said):
    problems = refused(text, TAILRACE_SEED="one")
    assert len(problems) == 2, "and what is wrong in the environment"
    assert re.search(said, problems[0])


def test_a_file_in_another_encoding_is_said(refused, loaded, tmp_path):
    loaded("")
    (tmp_path / "tailrace.toml").write_bytes("# ja\n# Größe".encode("latin-1"))
    with pytest.raises(SettingsError, match=r"tailrace\.toml, line 2, is not TOML: it is not in UTF-8\."):
        settings.load({"TAILRACE_PROJECT": str(tmp_path)})


@pytest.mark.parametrize(
    ("text", "instead"),
    [
        ("warehouse_password = 'hushed'", "TAILRACE_WAREHOUSE_PASSWORD"),
        ("airflow_password = 1", "TAILRACE_AIRFLOW_PASSWORD"),
        ("warehouse = 'postgresql://me:hushed@db/warehouse'", "TAILRACE_WAREHOUSE_PASSWORD"),
        ("tracking_uri = 'postgresql://me:hushed@db/mlflow'", "TAILRACE_TRACKING_URI"),
        ("storage_options.AWS_SECRET_ACCESS_KEY = 'hushed'", "TAILRACE_STORAGE_OPTIONS"),
        ("spark.conf = {'spark.authenticate.secret' = 'hushed'}", "TAILRACE_SPARK_CONF"),
    ],
)
def test_a_secret_belongs_in_its_variable(refused, text, instead):
    (problem,) = refused(text)
    assert problem.endswith(f"which must not stand in this file; set {instead}.")
    assert "hushed" not in problem


def test_a_warehouse_of_another_kind_than_its_place_is_refused(refused, loaded):
    assert refused("use.warehouse = 'postgres'") == (
        "tailrace.toml: use.warehouse is 'postgres', and TAILRACE_WAREHOUSE is no postgresql:// URL; change either.",
    )
    assert len(refused("use.warehouse = 'duckdb'\nwarehouse = 'postgresql://me@db/warehouse'")) == 1
    own = loaded("use.warehouse = 'company:Snow'\nwarehouse = 'snowflake://account/database'")
    assert own.warehouse == "snowflake://account/database"
    assert not [said for said in settings.unusable(own) if "WAREHOUSE" in said]


def test_a_setting_of_dbt_chooses_the_warehouse_of_that_project(tmp_path, loaded):
    found = loaded('[dbt]\nproject = "../shop"\ntarget = "prod"\nbuild = "elsewhere"\nwait_minutes = 5')
    assert (found.use.warehouse, found.waits_for_marts, found.warehouse_is_a_file) == ("dbt", True, False)
    assert found.dbt_project == (found.project.root / "../shop").resolve()
    assert found.dbt_profiles == Path.home() / ".dbt"
    assert found.dbt == settings.DbtSettings(
        project=found.dbt_project, target="prod", build="elsewhere", wait_minutes=5
    )
    assert not loaded("").warehouse_is_dbt
    # a project in the usual folder, with its own profile
    found = loaded("use.warehouse = 'dbt'")
    found.dbt_project.mkdir()
    (found.dbt_project / "profiles.yml").touch()
    assert (found.dbt_profiles, found.dbt.build) == (found.project.dbt, "here")


def test_the_settings_of_dbt_do_not_go_with_those_of_another_warehouse(refused):
    target = '[dbt]\ntarget = "prod"\n'
    assert refused(f"use.warehouse = 'postgres'\nwarehouse = 'postgresql://me@db/warehouse'\n{target}") == (
        "tailrace.toml: use.warehouse is 'postgres', which does not read tailrace.toml: dbt.target; remove one of the "
        "two.",
    )
    assert refused(f"warehouse = 'warehouse.duckdb'\ndbt_tasks = 'models'\n{target}") == (
        "tailrace.toml: warehouse is set, and so is tailrace.toml: dbt.target: dbt's profile says where the warehouse "
        "is; remove one.",
        "tailrace.toml: dbt_tasks is 'models', which is not possible with a dbt project of your own ([dbt] is set); "
        "set it to 'build'.",
    )
    assert refused('[dbt]\nselect = "+orders --full-refresh"\nbuild = "there"\nprofiles = "s3://bucket/x"') == (
        "tailrace.toml: dbt.select is '+orders --full-refresh'; write only what follows --select, such as "
        "'tag:ml +orders'.",
        "tailrace.toml: dbt.profiles is 's3://bucket/x'; it must be a folder, not a URL.",
        "tailrace.toml: dbt.build is 'there'; it must be 'here' or 'elsewhere'. Did you mean 'here'?",
    )


def test_upkeep_is_set_in_its_own_table_and_wrong_values_are_named(loaded, refused):
    found = loaded('[upkeep]\nschedule = "never"\nlanding_days = 400', TAILRACE_UPKEEP_LAKE_DAYS="7").upkeep
    assert found == fields.UpkeepSettings(schedule="never", landing_days=400, lake_days=7)
    assert loaded("").upkeep == fields.UpkeepSettings()
    wrong = '[upkeep]\nschedule = "weekly"\ndag = "warehouse"\nlake_days = 0\nmodels_days = 99999'
    problems = "\n".join(refused(wrong))
    for said in (
        "upkeep.schedule is 'weekly'; it must be a cron expression of five fields",
        "upkeep.dag is 'warehouse'; it must be the id of a DAG that no other DAG has",
        "upkeep.lake_days is '0'; it must be a whole number of days from 1 to 36525",
        "upkeep.models_days is '99999'; it must be a whole number of days up to 36525, or 0 to keep it forever",
    ):
        assert said in problems
    assert "0 5 31 2 *" in str(refused('[upkeep]\nschedule = "0 5 31 2 *"'))


def test_the_documented_settings_are_those_there_are():
    text = (settings.find_project().root / "docs" / "settings.md").read_text()
    rows = re.findall(r"^\|(?: `([\w.]+)`| never)? \| `(TAILRACE_\w+)` \| (.*?) ?\| ", text, re.M)
    expected = {setting.variable: "" if setting.secret else setting.key for setting in keys.every_setting()}
    assert {variable: key for key, variable, _ in rows} == {"TAILRACE_PROJECT": "", "TAILRACE_ENV": "", **expected}
    assert len(rows) == len(expected) + 2, "each stands there once"
    defaults = {
        "spark": fields.SparkSettings(),
        "pods": fields.PodSettings(),
        "use": fields.Implementations(),
        "dbt": fields.DbtSettings(),
        "upkeep": fields.UpkeepSettings(),
    }
    for key, _, documented in rows:
        table, _, name = key.partition(".")
        if re.fullmatch(r"`[\w*\[\]]+`", documented) and name and not documented.startswith("`TAILRACE"):
            assert documented.strip("`") == str(getattr(defaults[table], name)).lower(), key


def test_an_edited_file_is_read_again(tmp_path, monkeypatch):
    project = new_project(tmp_path, monkeypatch, 'zone = "Europe/Berlin"\n')
    assert settings.load() is settings.load()
    project.file.write_text('zone = "Asia/Tokyo"\n')
    assert settings.load().zone == "Asia/Tokyo"
    monkeypatch.setenv("TAILRACE_ZONE", "Europe/Paris")
    assert settings.load().zone == "Europe/Paris"


def test_a_removed_working_folder_is_no_error_where_the_project_is_named(tmp_path, monkeypatch):
    new_project(tmp_path / "project", monkeypatch, 'zone = "Europe/Berlin"\n')
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert settings.load().zone == "Europe/Berlin"


def test_what_the_marts_are_waited_for_is_an_asset_or_a_dag(loaded, refused):
    found = loaded('[dbt]\nbuild = "elsewhere"\nwait_for = ["dag:company_dbt", "asset:s3://company/marts"]')
    assert found.dbt.wait_for == ("dag:company_dbt", "asset:s3://company/marts")

    wrong = refused('[dbt]\nwait_for = ["dagg:company_dbt", "dag:company dbt", "asset:marts"]')
    assert len(wrong) == 3
    assert wrong[0] == (
        "tailrace.toml: dbt.wait_for names 'dagg:company_dbt'; it must be 'asset:' and the asset's name or URI, or "
        "'dag:' and the DAG's id, such as 'asset:ml_marts' or 'dag:company_dbt'. Did you mean 'dag'?"
    )
    assert wrong[2] == (
        "tailrace.toml: dbt.wait_for is set, but Tailrace builds the marts itself; set TAILRACE_DBT_BUILD to "
        "'elsewhere', or remove it."
    )


def test_what_is_selected_are_words_as_dbt_takes_them(loaded, refused):
    assert loaded("[dbt]\nselect = \"tag:ml '+path:models/of us'\"").dbt.select == "tag:ml '+path:models/of us'"
    (wrong,) = refused('[dbt]\nselect = "tag:\'ml"')
    assert wrong == 'tailrace.toml: dbt.select is "tag:\'ml"; it has a quotation mark that is never closed.'
    (wrong,) = refused('[dbt]\nselect = "--select tag:ml"')
    assert "write only what follows --select" in wrong


TABLES = """
[sources.shop]
class = "shop:database"
tables = ["orders", "customers"]
since = { customers = 2024-06-01 }
look_back_days = 7
optional = ["customers"]
may_be_empty = ["orders"]

[sources.weather]
files = "s3://weather/{table}/{day}.csv"
columns.stations = { station = "string", rain = "float64" }
since = 2024-01-01
"""


def test_each_source_may_have_a_table(loaded):
    found = loaded(TABLES)
    assert found.sources == ("shop:database", "weather")
    shop, weather = found.source_settings.values()
    assert (shop.tables, shop.look_back_days, shop.optional) == (("orders", "customers"), 7, ("customers",))
    assert (shop.may_be_empty, weather.may_be_empty) == (("orders",), None)
    assert (shop.since, weather.since) == ({"customers": dt.date(2024, 6, 1)}, dt.date(2024, 1, 1))
    assert (weather.files, weather.columns) == (
        "s3://weather/{table}/{day}.csv",
        {"stations": {"station": "string", "rain": "float64"}},
    )
    near = loaded(TABLES.replace("s3://weather/", ""))
    assert near.source_settings["weather"].files == f"{near.project.root}/{{table}}/{{day}}.csv"
    replaced = loaded(TABLES, TAILRACE_SOURCES='{"shop": {"class": "a.b:C", "optional": true}}')
    assert (replaced.sources, replaced.source_settings["a.b:C"].optional) == (("a.b:C",), True)


def test_what_is_wrong_with_a_source_is_said_with_its_key(refused):
    wrong = refused("""
[sources]
orders = "a.b:C"
[sources.shop]
class = "database"
optinal = true
since = "yesterday"
look_back_days = -1
may_be_empty = "orders"
tables = "orders"
[sources.files]
files = "{day}.csv"
[sources.nothing]
""")
    assert wrong == (
        "tailrace.toml: sources.orders must be a table: [sources.orders] with the key 'class'.",
        "tailrace.toml: sources.shop.optinal is not a setting. Did you mean 'optional'?",
        "tailrace.toml: sources.shop.class is 'database'; it must be an import path such as "
        "'pipelines.sources.orders:Orders'.",
        "tailrace.toml: sources.shop.tables must be a list of the names of tables.",
        "tailrace.toml: sources.shop.since must be a day such as 2024-01-31, or one for each table: "
        "{orders = 2024-01-31}.",
        "tailrace.toml: sources.shop.look_back_days must be a whole number, 0 or more, or one for each table: "
        "{orders = 7}.",
        "tailrace.toml: sources.shop.may_be_empty must be true or false for all tables, or a list of the names of "
        "tables.",
        "tailrace.toml: sources.files.columns and 'files' go together: a class says the columns of its tables itself.",
        "tailrace.toml: sources.nothing must have either 'class', an import path such as "
        "'pipelines.sources.orders:Orders', or 'files', the files of each day.",
    )
