"""What the parameters of an estimator may be: values whose content alone says what they are, in every process."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tailrace.spec.domains import Choice, Domain
from tailrace.spec.nested import Estimator

LIBRARIES = ("sklearn.", "xgboost.")


def described(value: Any) -> Any:
    """What stands for a value that JSON does not know, for `json.dumps(default=described)`.

    Estimators are described by their class and all of their parameters: their text leaves out those that are long
    or have their default.
    """
    if is_estimator(value):
        return {"class": _class_name(value), "parameters": value.get_params(deep=False)}
    if is_splitter(value):
        return {"class": _class_name(value), "parameters": vars(value)}
    if isinstance(value, Estimator | Domain):
        return vars(value)
    if isinstance(value, set | frozenset):
        return sorted(value, key=repr)
    if _of_numpy(value) and value.ndim:
        return {"type": str(value.dtype), "values": value.tolist()}
    return str(value)


def unrecordable(value: Any) -> Iterator[str]:
    """What each part of a parameter is, in words, that has no content to record: functions, classes, other objects."""
    if isinstance(value, Mapping):
        parts: list[Any] = list(value.values())
        yield from _unsortable(value)
    elif isinstance(value, list | tuple | set | frozenset):
        parts = list(value)
    elif is_estimator(value):
        parts = list(value.get_params(deep=False).values())
    elif is_splitter(value):
        parts = list(vars(value).values())
    elif isinstance(value, Estimator):
        options = {name: domain.options for name, domain in value.search.items() if isinstance(domain, Choice)}
        parts = [value.parameters, options]
    else:
        parts = []
        yield from _object(value)
    for part in parts:
        yield from unrecordable(part)


def is_estimator(value: Any) -> bool:
    """Whether it is an estimator, a transformer or a kernel of scikit-learn or XGBoost (an object, not its class)."""
    return hasattr(value, "get_params") and not isinstance(value, type) and _module(value).startswith(LIBRARIES)


def is_splitter(value: Any) -> bool:
    """Whether it is one of scikit-learn's ways to split rows for cross-validation, such as TimeSeriesSplit."""
    return hasattr(value, "split") and _module(value).startswith("sklearn.model_selection.")


def _object(value: Any) -> Iterator[str]:
    if isinstance(value, type):
        yield f"the class {value.__name__}"
    elif callable(value):
        yield f"the function {getattr(value, '__qualname__', type(value).__qualname__)}"
    elif not (value is None or isinstance(value, str | int | float) or _of_numpy(value)):
        yield f"an object of class {_class_name(value)}"


def _unsortable(values: Mapping[Any, Any]) -> Iterator[str]:
    try:
        json.dumps(dict.fromkeys(values), sort_keys=True)
    except TypeError:
        yield f"a dict with the keys {', '.join(map(repr, values))}, which are not all texts or all numbers"


def _of_numpy(value: Any) -> bool:
    return _module(value) == "numpy" and hasattr(value, "tolist")


def _module(value: Any) -> str:
    return str(type(value).__module__)


def _class_name(value: Any) -> str:
    return f"{_module(value)}.{type(value).__qualname__}"
