"""Estimators inside the parameters of others, named by their paths as a candidate is.

scikit-learn's own paths name their parameters: `estimator__C` is the parameter C of the estimator in the parameter
`estimator`, and `svm__C` that of the estimator named 'svm' in a list of names and estimators.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tailrace.spec.domains import Domain


@dataclass(frozen=True)
class Estimator:
    """An estimator, a transformer, a kernel or a way to split rows that stands in the parameters of another estimator.

    For example `{"estimator": Estimator("sklearn.svm.LinearSVC", {"C": 1.0})}`, or in a list with a name:
    `{"estimators": [("svm", Estimator("sklearn.svm.LinearSVC", search={"C": FloatRange(0.01, 1)}))]}`.
    """

    path: str
    """The import path of its class, such as `sklearn.svm.LinearSVC`."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Fixed parameters."""
    search: Mapping[str, Domain] = field(default_factory=dict)
    """Parameters to search, each with its `IntRange`, `FloatRange` or `Choice`."""


TRANSFORMERS = "transformers"
"""The start of the paths of what is searched in a candidate's transformers, such as transformers__hour__n_knots."""


def nested(parameters: Mapping[str, Any]) -> Iterator[tuple[str, Estimator]]:
    """Each estimator at any depth of these parameters, with its path; the path is empty if it has none."""
    for name, value in parameters.items():
        yield from _found(name, value)


def _found(path: str, value: Any) -> Iterator[tuple[str, Estimator]]:
    if isinstance(value, Estimator):
        yield path, value
        for inner, each in nested(value.parameters):
            yield (f"{path}__{inner}" if path and inner else ""), each
    elif isinstance(value, list | tuple):
        outer = path.rpartition("__")[0]
        for part in value:
            if isinstance(part, tuple) and len(part) > 1 and isinstance(part[0], str):
                named = f"{outer}__{part[0]}" if outer else part[0]
                for inside in part[1:]:
                    yield from _found(named, inside)
            else:
                yield from _found("", part)
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _found("", part)


def replaced(value: Any, make: Callable[[Estimator], Any]) -> Any:
    """The value with each outermost nested estimator in it replaced by what `make` makes of it."""
    if isinstance(value, Estimator):
        return make(value)
    if isinstance(value, list | tuple) and any(True for _ in _found("", value)):
        return type(value)(replaced(part, make) for part in value)
    if isinstance(value, dict) and any(True for _ in _found("", value)):
        return {name: replaced(part, make) for name, part in value.items()}
    return value


def made(each: Estimator) -> Any:
    """The object that it stands for, with its fixed parameters; what it searches is set later, by its path."""
    module, _, name = each.path.rpartition(".")
    kind = getattr(importlib.import_module(module), name)
    return kind(**{name: replaced(value, made) for name, value in each.parameters.items()})
