"""What a dbt project that exists needs of the project that reads it: the package with its adapter."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tailrace.extras import EXTRAS

_IN_THE_CORE = "duckdb"


def requirements(project: Path, target: str = "", version: str = "") -> list[str]:
    """What pip must install so that the adapter of the project's target is there, besides the core.

    Empty if the adapter is in the core, or if the profile does not say which one it is without dbt.
    """
    adapter = _adapter(project, target)
    if not adapter or adapter == _IN_THE_CORE:
        return []
    extras = [extra for extra, brought in EXTRAS.items() if f"dbt.adapters.{adapter}" in brought]
    return [f"tailrace[{extras[0]}]{version}"] if extras else [f"dbt-{adapter}"]


def _adapter(project: Path, target: str) -> str:
    """The type of the target in the profile: read as it stands, without dbt's templates."""
    name = _part(_yaml(project / "dbt_project.yml"), "profile")
    folders = (project, Path(os.environ.get("DBT_PROFILES_DIR") or Path.home() / ".dbt"))
    profiles: Any = next((found for folder in folders if (found := _yaml(folder / "profiles.yml"))), {})
    profile = _part(profiles, name)
    outputs = _part(profile, "outputs")
    known = [str(_part(output, "type") or "") for output in outputs.values()] if isinstance(outputs, dict) else []
    chosen = _part(_part(outputs, target or _part(profile, "target")), "type") or (known[0] if known else "")
    return str(chosen) if str(chosen).isidentifier() else ""


def _part(content: Any, key: Any) -> Any:
    return content.get(key) if isinstance(content, dict) else None


def _yaml(file: Path) -> Any:
    """The file's content; nothing if it cannot be read: `tailrace check` says what is wrong with it."""
    import yaml

    try:
        return yaml.safe_load(file.read_text()) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}
