"""Where things are and which implementations run: from the environment and the project's tailrace.toml."""

from tailrace.settings.fields import (
    ASSET,
    BUILD,
    BUILT_ELSEWHERE,
    DAG,
    ENGINES,
    HERE,
    MODELS,
    MOST_SEED,
    NAMES,
    NEVER,
    PODS,
    PROCESS,
    DbtSettings,
    PodSettings,
    Settings,
    SourceSettings,
    SparkSettings,
    UpkeepSettings,
)
from tailrace.settings.locations import NOT_IN_PATHS
from tailrace.settings.project import Project, find_project
from tailrace.settings.reading import load
from tailrace.settings.rights import unusable

__all__ = [
    "ASSET",
    "BUILD",
    "BUILT_ELSEWHERE",
    "DAG",
    "ENGINES",
    "HERE",
    "MODELS",
    "MOST_SEED",
    "NAMES",
    "NEVER",
    "NOT_IN_PATHS",
    "PODS",
    "PROCESS",
    "DbtSettings",
    "PodSettings",
    "Project",
    "Settings",
    "SourceSettings",
    "SparkSettings",
    "UpkeepSettings",
    "find_project",
    "load",
    "unusable",
]
