"""The installed version of a library, by the name under which versions are recorded."""

from __future__ import annotations

import contextlib
from importlib.metadata import PackageNotFoundError, version

PACKAGES = {"xgboost": ("xgboost-cpu", "xgboost")}
"""Libraries that can come from more than one package."""

OF_EXTRAS = ("lightgbm",)
"""Libraries of models that an extra brings."""


def installed_versions(*libraries: str) -> dict[str, str]:
    """The version of each library, and of those of extras that are installed."""
    versions = {name: installed_version(name) for name in libraries}
    for name in OF_EXTRAS:
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = installed_version(name)
    return versions


def installed_version(library: str) -> str:
    """'3.2.0' for 'xgboost'. Raises PackageNotFoundError if no package that provides it is installed."""
    for package in PACKAGES.get(library, (library,)):
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    raise PackageNotFoundError(library)
