"""Which pipelines a failed node stops: those that need it, and no others."""

from __future__ import annotations

import pytest

from tailrace.contracts import ModelResult
from tailrace.warehouse.stopped_marts import stopped

MADE_FROM = {
    "airports": (),
    "flights": (),
    "texts": (),
    "delay_features": ("flights", "airports"),
    "delay_outcomes": ("flights",),
    "mood_features": ("texts", "airports"),
    "mood_outcomes": ("texts",),
    "report": ("delay_features",),
}
PIPELINES = {name: [f"{name}_features", f"{name}_outcomes"] for name in ("delay", "mood")}
BOTH, NOBODY = ["delay", "mood"], []


def model(name: str, status: str = "success") -> ModelResult:
    return ModelResult(
        name=name,
        kind="model",
        status=status,
        seconds=0.1,
        unique_id=f"model.tiny.{name}",
        depends_on=tuple(f"model.tiny.{parent}" for parent in MADE_FROM[name]),
    )


def test(*read: str, status: str, judges: str = "") -> ModelResult:
    judged = [judges] if judges else read
    return ModelResult(
        name="a_test",
        kind="test",
        status=status,
        seconds=0.1,
        unique_id="test.tiny.a_test",
        depends_on=tuple(f"model.tiny.{name}" for name in read),
        judges=tuple(f"model.tiny.{name}" for name in judged),
    )


test.__test__ = False  # type: ignore[attr-defined]


def found(*changed: ModelResult) -> dict[str, list[str]]:
    results = {name: model(name) for name in MADE_FROM} | {each.name: each for each in changed}
    return {owner: [node.name for node in nodes] for owner, nodes in stopped([*results.values()], PIPELINES).items()}


def test_a_build_without_failures_stops_nobody() -> None:
    assert found() == {}
    assert found(test("airports", status="warn")) == {}


@pytest.mark.parametrize(
    ("broken", "who"),
    [
        ("flights", ["delay"]),
        ("airports", BOTH),
        ("texts", ["mood"]),
        ("mood_outcomes", ["mood"]),
        ("report", NOBODY),
    ],
)
def test_a_failed_model_stops_those_that_need_it(broken: str, who: list[str]) -> None:
    assert found(model(broken, "error")) == {pipeline: [broken] for pipeline in who}
    assert list(found(test(broken, status="fail"))) == who, "a test of it that fails does the same"


def test_the_node_that_failed_is_named_and_not_those_that_were_skipped() -> None:
    skipped = (model("delay_features", "skipped"), model("report", "skipped"))
    assert found(model("flights", "runtime error"), *skipped) == {"delay": ["flights"]}
    assert found(*skipped) == {"delay": ["delay_features"]}, "nothing failed, and still it was not built"


def test_a_hook_that_failed_is_named_if_its_models_were_skipped() -> None:
    hook = ModelResult(
        name="on-run-start-0", kind="operation", status="error", seconds=0.1, unique_id="operation.tiny.0"
    )
    assert found(hook) == {}, "all models were built"
    assert found(hook, model("texts", "skipped")) == {"mood": ["on-run-start-0"]}


@pytest.mark.parametrize(
    ("read", "judges", "who"),
    [
        (("mood_features", "airports"), "", ["mood"]),
        (("delay_features", "airports"), "delay_features", ["delay"]),
        (("delay_outcomes", "mood_outcomes"), "mood_outcomes", ["mood"]),
        (("delay_outcomes", "mood_outcomes"), "", BOTH),
        (("airports", "report"), "report", NOBODY),
    ],
    ids=["all that it reads", "of a node that others use", "of another's mart", "nobody needs both", "nobody's"],
)
def test_a_test_of_several_nodes_stops_those_that_need_what_it_judges(
    read: tuple[str, ...], judges: str, who: list[str]
) -> None:
    assert list(found(test(*read, status="error", judges=judges))) == who
