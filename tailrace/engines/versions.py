"""The libraries with which a model was stored, compared with the libraries that load it."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pyarrow as pa

from tailrace.contracts import Model
from tailrace.engines.library_errors import error_text
from tailrace.errors import SignatureMismatch, TailraceError
from tailrace.lineage.libraries import installed_version

log = logging.getLogger("tailrace")

NEEDED = {
    "sklearn": ("scikit-learn", "skops"),
    "xgboost": ("xgboost",),
    "lightgbm": ("lightgbm",),
    "baseline": ("duckdb",),
}
"""For each kind of model, the libraries whose versions decide whether it can be loaded."""

RECORDED = "libraries"
"""The key of the versions in a model's description. Releases up to 0.1 did not write it."""

MISSING = "not installed"


def installed(kind: str) -> dict[str, str]:
    """The installed versions of the libraries that this kind of model needs."""
    return {name: _version(name) for name in NEEDED.get(kind, ())}


def load(folder: Path, description: Mapping[str, Any], read: Callable[[], Model]) -> Model:
    """The model that `read` returns.

    If the libraries differ from those at storing, or if those are unknown, the model must also make a prediction,
    because some differences show only then. Raises SignatureMismatch, which says what to install, or to train again.
    """
    here = installed(description["kind"])
    stored = description.get(RECORDED, {})
    other = {name: version for name, version in stored.items() if here.get(name) != version}
    try:
        # scikit-learn warns about another version for each part of a pipeline; the message below warns once.
        with warnings.catch_warnings(action="ignore"):
            model = read()
            if other or (here and not stored):
                model.predict(_rows(model.features))
    except TailraceError:
        raise
    except Exception as error:
        raise SignatureMismatch(_sentence(folder, here=here, stored=stored, other=other, error=error)) from error
    if other:
        log.warning(
            "The model in %s was stored with %s; %s is installed here. It still loads and predicts. Train it again.",
            folder,
            _listed(other),
            _listed({name: here.get(name, MISSING) for name in other}),
        )
    return model


def _sentence(
    folder: Path, *, here: Mapping[str, str], stored: Mapping[str, str], other: Mapping[str, str], error: Exception
) -> str:
    what = error_text(error)
    if other:
        pins = " ".join(f"{name}=={version}" for name, version in other.items())
        return (
            f"The model in {folder} was stored with {_listed(other)} and does not work with "
            f"{_listed({name: here.get(name, MISSING) for name in other})}, which are installed here ({what}). "
            f"Install {pins}, or train again with what is installed (tailrace train)."
        )
    if here and not stored:
        return (
            f"The model in {folder} does not work with {_listed(here)} ({what}). It was stored by a release that did "
            "not record its libraries; the tags library.* of its version in MLflow name them: install those, or train "
            "again with what is installed (tailrace train)."
        )
    return (
        f"The model in {folder} cannot be loaded, although its libraries are the ones it was stored with ({what}). "
        "Restore its files from a backup, or train again (tailrace train)."
    )


def _rows(features: Mapping[str, str]) -> pa.RecordBatch:
    """Two rows, the second without values."""
    return pa.record_batch(
        {
            name: pa.array([0.0, None], pa.float64()) if kind == "numeric" else pa.array(["a", None], pa.string())
            for name, kind in features.items()
        }
    )


def _version(library: str) -> str:
    try:
        return installed_version(library)
    except PackageNotFoundError:
        return MISSING


def _listed(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())
