"""Tailrace: batch ML pipelines from warehouse tables to audited predictions.

These are the names that a pipeline's file and a notebook need. Each is imported when it is first used, so that
`import tailrace` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tailrace.problems.binary import Binary
    from tailrace.problems.multiclass import Multiclass
    from tailrace.problems.regression import Regression
    from tailrace.spec import (
        Audit,
        Baseline,
        Candidate,
        Choice,
        Estimator,
        Features,
        FloatRange,
        Gate,
        IntRange,
        Monitor,
        Outcome,
        PipelineSpec,
        Predictions,
        Review,
        Schedule,
        SearchBudget,
        Window,
    )
    from tailrace.wiring import open_services

__version__ = "0.1.0"
__all__ = [
    "Audit",
    "Baseline",
    "Binary",
    "Candidate",
    "Choice",
    "Estimator",
    "Features",
    "FloatRange",
    "Gate",
    "IntRange",
    "Monitor",
    "Multiclass",
    "Outcome",
    "PipelineSpec",
    "Predictions",
    "Regression",
    "Review",
    "Schedule",
    "SearchBudget",
    "Window",
    "__version__",
    "open_services",
]


_ELSEWHERE = {
    "Binary": "tailrace.problems.binary",
    "Multiclass": "tailrace.problems.multiclass",
    "Regression": "tailrace.problems.regression",
    "open_services": "tailrace.wiring",
}
"""The module of each name that is not in tailrace.spec."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_ELSEWHERE.get(name, "tailrace.spec")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
