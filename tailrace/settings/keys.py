"""How settings are named: the key in tailrace.toml and the variable of each field."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import fields
from typing import NamedTuple

from tailrace.settings.fields import (
    DBT_PREFIX,
    POD_PREFIX,
    PREFIX,
    SPARK_PREFIX,
    UPKEEP_PREFIX,
    USE_PREFIX,
    DbtSettings,
    Implementations,
    PodSettings,
    Settings,
    SparkSettings,
    UpkeepSettings,
)


class Setting(NamedTuple):
    """One setting: its variable, its key in tailrace.toml, and what stands there."""

    variable: str
    key: str
    type: type
    """As TOML has them: str, int, bool, list or dict."""
    place: bool
    """Whether a text is a path, which may be relative."""
    secret: bool
    """Whether tailrace.toml must not hold it."""


TABLES: Mapping[str, tuple[str, type]] = {
    "use": (USE_PREFIX, Implementations),
    "dbt": (DBT_PREFIX, DbtSettings),
    "spark": (SPARK_PREFIX, SparkSettings),
    "pods": (POD_PREFIX, PodSettings),
    "upkeep": (UPKEEP_PREFIX, UpkeepSettings),
}
"""The tables of tailrace.toml, each with the prefix of its variables."""
ENV = "env"
"""The table of tailrace.toml with a section of settings for each environment; TAILRACE_ENV names the one in force."""
_ELSEWHERE = {"project", ENV, "source_settings", "java_home", "spark.java_home", *TABLES}
"""Fields that no key of the file sets: TAILRACE_PROJECT says where the file is, JAVA_HOME is not ours."""
_PLACES = {
    *("home", "lake", "landing", "warehouse", "tracking_uri", "artifacts"),
    *("dbt.project", "dbt.profiles"),
    *("spark.pod_template", "spark.event_log", "spark.log", "pods.template"),
}
_SECRETS = {"warehouse_password", "airflow_password", "openlineage_api_key"}
SOURCES = "sources"
"""The one key that may be a list or a table of tables."""
_TYPES = {"int": int, "bool": bool, "Mapping[str, str]": dict, "tuple[str, ...]": list}


@functools.cache
def every_setting() -> tuple[Setting, ...]:
    """All settings that have a key in tailrace.toml, in the order of the fields."""
    groups = (("", PREFIX, Settings), *((f"{table}.", prefix, group) for table, (prefix, group) in TABLES.items()))
    return tuple(
        _setting(table + each.name, prefix + each.name.upper(), str(each.type))
        for table, prefix, group in groups
        for each in fields(group)
        if table + each.name not in _ELSEWHERE
    )


@functools.cache
def by_key() -> Mapping[str, Setting]:
    return {setting.key: setting for setting in every_setting()}


def _setting(key: str, variable: str, annotation: str) -> Setting:
    return Setting(variable, key, _TYPES.get(annotation, str), key in _PLACES, key in _SECRETS)


@functools.cache
def variables() -> tuple[str, ...]:
    """The names of all variables that set something."""
    return (f"{PREFIX}PROJECT", f"{PREFIX}ENV", *(setting.variable for setting in every_setting()))
