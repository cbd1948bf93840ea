r"""The steps of a night, in the order data flows; each callable by itself, each idempotent.

ingest -> build -> validate -> snapshot -> train -> evaluate -> promote
                                       \-> score -> audit -> publish -> monitor

Each stage is a module with one entry point, `run`. The parameters of `run` say what the stage takes: the `work` or only
the `services`; `first` and `last`, a `day`, or a `training_run`; and those of the OPTIONS that it knows.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

STAGES = (
    "ingest",
    "build",
    "validate",
    "snapshot",
    "train",
    "evaluate",
    "promote",
    "score",
    "audit",
    "publish",
    "monitor",
)
OPTIONS: Mapping[str, str] = {
    "model": "--model",
    "trials": "--trials",
    "training_run": "--run",
    "force": "--force",
    "dry_run": "--dry-run",
}
"""What only some stages take: the parameter of their `run`, and the option of `tailrace run`."""


def entry(stage: str) -> Callable[..., Any]:
    """The stage's `run`."""
    function: Callable[..., Any] = importlib.import_module(f"{__name__}.{stage}").run
    return function


def options_of(stage: str) -> list[str]:
    """The OPTIONS that the stage takes, by parameter."""
    taken = inspect.signature(entry(stage)).parameters
    return [name for name in OPTIONS if name in taken]
