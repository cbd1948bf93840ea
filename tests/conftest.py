"""Specs and rows shared by the suites."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib.abc import MetaPathFinder
from types import ModuleType
from typing import Any

import pyarrow as pa
import pytest

from tailrace.spec import (
    Candidate,
    Features,
    FloatRange,
    Gate,
    IntRange,
    Outcome,
    PipelineSpec,
    Schedule,
    SearchBudget,
    Window,
)
from tests.support import churn_rows


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first: what several processes share should not end with one of them alone."""
    items.sort(key=lambda item: item.path.parent.name not in ("e2e", "releases", "packaging"))


class Hidden(MetaPathFinder):
    """Makes modules look as if they were not installed."""

    names: tuple[str, ...] = ()

    def hides(self, module: str) -> bool:
        return any(module == name or module.startswith(f"{name}.") for name in self.names)

    def find_spec(self, fullname: str, path: Any = None, target: ModuleType | None = None) -> None:
        if self.hides(fullname):
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)


@pytest.fixture
def hide(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """hide("pyspark") takes a package away for the test."""
    hidden = Hidden()
    # the list stays the same: libraries add finders of their own while they are imported
    sys.meta_path.insert(0, hidden)

    def away(*names: str) -> None:
        hidden.names = names
        for module in list(sys.modules):
            if hidden.hides(module):
                monkeypatch.delitem(sys.modules, module)

    yield away
    sys.meta_path.remove(hidden)


@pytest.fixture
def spec() -> PipelineSpec:
    """A small pipeline that trains in a second."""
    return PipelineSpec(
        name="churn",
        owner="growth",
        description="Who leaves?",
        features=Features(
            key=("customer",),
            event_time="event_time",
            columns={"plan": "categorical", "age": "numeric", "visits": "numeric"},
        ),
        outcome=Outcome(label="left"),
        candidates=(
            Candidate("baseline", "sklearn.dummy.DummyClassifier", {"strategy": "prior"}),
            Candidate(
                "logistic", "sklearn.linear_model.LogisticRegression", {}, {"C": FloatRange(0.01, 10.0, log=True)}
            ),
            Candidate("trees", "xgboost.XGBClassifier", {"n_estimators": 40}, {"max_depth": IntRange(2, 4)}),
        ),
        window=Window(days=6, holdout_days=2),
        schedule=Schedule(train="0 1 * * 1", predict="30 0 * * *", timezone="America/New_York"),
        search=SearchBudget(trials=3),
        gate=Gate(metric="roc_auc", floor=0.55, slices=("plan",), slice_rows=20),
    )


@pytest.fixture
def rows() -> tuple[pa.Table, pa.Array]:
    return churn_rows(1500)
