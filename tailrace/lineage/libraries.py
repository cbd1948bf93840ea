"""The installed version of a library, by the name under which versions are recorded."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

PACKAGES = {"xgboost": ("xgboost-cpu", "xgboost")}
"""Libraries that can come from more than one package."""


def installed_version(library: str) -> str:
    """'3.2.0' for 'xgboost'. Raises PackageNotFoundError if no package that provides it is installed."""
    for package in PACKAGES.get(library, (library,)):
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    raise PackageNotFoundError(library)
