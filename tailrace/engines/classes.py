"""The class that a path such as 'sklearn.linear_model.Ridge' names."""

from __future__ import annotations

import importlib
from typing import Any


def estimator_class(path: str) -> Any:
    """The class. Raises ImportError or AttributeError; `tailrace check` names both before anything is fitted."""
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)
