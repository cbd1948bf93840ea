"""Whatever stands in a field of a spec, the checks end in sentences, and what has another type is named."""

from __future__ import annotations

import datetime as dt
import decimal
import math
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tailrace.spec import Baseline, Candidate, Choice, Estimator, FloatRange, IntRange, PipelineSpec, problems_of


def number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return value < 1e300 if isinstance(value, int) else math.isfinite(value)


def whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def text(value: object) -> bool:
    return isinstance(value, str)


def day(value: object) -> bool:
    return isinstance(value, dt.date) and not isinstance(value, dt.datetime)


def option(value: object) -> bool:
    return value is None or isinstance(value, bool) or whole(value) or number(value) or text(value)


def tuple_of(inner: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, tuple) and all(map(inner, value))


def mapping_of(inner: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, Mapping) and all(map(text, value)) and all(map(inner, value.values()))


def or_none(inner: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: value is None or inner(value)


TYPES: dict[str, Callable[[object], bool]] = {
    "str": text,
    "int": whole,
    "float": number,
    "bool": lambda value: isinstance(value, bool),
    "str | None": or_none(text),
    "float | None": or_none(number),
    "dt.date | None": or_none(day),
    "tuple[str, ...]": tuple_of(text),
    "Mapping[str, str]": mapping_of(text),
    "Mapping[str, Any]": mapping_of(lambda value: True),
    "Mapping[str, Estimator]": mapping_of(lambda value: isinstance(value, Estimator)),
    "Mapping[str, Domain]": mapping_of(lambda value: isinstance(value, IntRange | FloatRange | Choice)),
    "Mapping[bool, float] | str | None": lambda value: (
        value is None
        or text(value)
        or (isinstance(value, Mapping) and all(isinstance(key, bool) and number(each) for key, each in value.items()))
    ),
    "tuple[Candidate, ...]": tuple_of(lambda value: isinstance(value, Candidate)),
    "tuple[Baseline, ...]": tuple_of(lambda value: isinstance(value, Baseline)),
    "float | str | bool | None": lambda value: value is None or isinstance(value, bool) or number(value) or text(value),
    "tuple[str | int | float | bool | None, ...]": tuple_of(option),
    "Literal['auto', 'human']": text,
    "Literal['sigmoid', 'isotonic'] | None": or_none(text),
}
"""What each annotation of a field lets in; a dataclass lets in itself."""

WRONG: list[Any] = [
    None,
    True,
    False,
    "",
    "16",
    "numeric",
    "a\x00b",
    "\ud800",
    b"16",
    0,
    -1,
    2.5,
    10**400,
    -(10**400),
    float("nan"),
    float("inf"),
    -float("inf"),
    1j,
    decimal.Decimal("2"),
    np.float64("nan"),
    np.int64(3),
    np.array([1, 2]),
    dt.date(2024, 1, 1),
    dt.datetime(2024, 1, 1),
    (),
    (None,),
    ([],),
    ("id", "id"),
    ["id"],
    {"id"},
    {},
    {"x": "numeric"},
    {1: "numeric"},
    {"x": None},
    {"x": []},
    {(): ()},
    {"x": IntRange("1", 2)},
    {"x": Choice(("a", float("nan")))},
    object(),
    type,
    len,
    ...,
    range(3),
]


def paths(value: Any, at: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every field of a spec and of the dataclasses in it."""
    found = []
    for field in fields(value):
        found.append((*at, field.name))
        inner = getattr(value, field.name)
        if is_dataclass(inner):
            found += paths(inner, (*at, field.name))
    return found


def changed(value: Any, path: tuple[str, ...], new: object) -> Any:
    name, *rest = path
    return replace(value, **{name: changed(getattr(value, name), tuple(rest), new) if rest else new})


def allows(value: Any, path: tuple[str, ...], new: object) -> bool:
    *outer, name = path
    for step in outer:
        value = getattr(value, step)
    annotation = next(field.type for field in fields(value) if field.name == name)
    own = getattr(value, name)
    return isinstance(new, type(own)) if is_dataclass(own) else TYPES[annotation](new)


def judge(spec: PipelineSpec, path: tuple[str, ...], value: object) -> None:
    problems = problems_of(changed(spec, path, value), estimators=False)
    assert all(isinstance(problem, str) and problem for problem in problems)
    if not allows(spec, path, value):
        assert any(".".join(path) in problem for problem in problems), (path, value, problems)


@pytest.fixture
def every_path(spec) -> list[tuple[str, ...]]:
    return paths(spec)


def test_values_of_another_type_are_named_in_every_field(spec, every_path):
    assert problems_of(spec, estimators=False) == []
    assert len(every_path) > 40
    for path in every_path:
        for value in WRONG:
            judge(spec, path, value)


@pytest.mark.parametrize("name", [field.name for field in fields(Candidate)])
def test_values_of_another_type_are_named_in_every_field_of_a_candidate(spec, name):
    trees = spec.candidates[2]
    for value in WRONG:
        wrong = replace(spec, candidates=(replace(trees, **{name: value}),))
        problems = problems_of(wrong, estimators=False)
        if not allows(trees, (name,), value):
            assert any(f"candidates[0].{name}" in problem for problem in problems), (name, value, problems)


@pytest.mark.parametrize("name", [field.name for field in fields(Baseline)])
def test_values_of_another_type_are_named_in_every_field_of_a_baseline(spec, name):
    rule = Baseline(name="rule", sql="age / 100", otherwise=0.5)
    assert problems_of(replace(spec, baselines=(rule,)), estimators=False) == []
    for value in WRONG:
        problems = problems_of(replace(spec, baselines=(replace(rule, **{name: value}),)), estimators=False)
        if not allows(rule, (name,), value):
            assert any(f"baselines[0].{name}" in problem for problem in problems), (name, value, problems)


@pytest.mark.parametrize("domain", [IntRange(1, 2), FloatRange(0.1, 0.2), Choice((1, 2))])
def test_values_of_another_type_are_named_in_every_field_of_a_search(spec, domain):
    trees = spec.candidates[2]
    for field in fields(domain):
        for value in WRONG:
            searched = replace(trees, search={"max_depth": replace(domain, **{field.name: value})})
            problems = problems_of(replace(spec, candidates=(searched,)), estimators=False)
            if not allows(domain, (field.name,), value):
                path = f"candidates[0].search['max_depth'].{field.name}"
                assert any(path in problem for problem in problems), (field.name, value, problems)


SIMPLE = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.binary(max_size=4), st.dates()
)
ANYTHING = st.recursive(
    SIMPLE,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.text(max_size=4), inner, max_size=3),
    ),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_value_at_all_is_a_traceback_or_passes_with_another_type(spec, every_path, data):
    judge(spec, data.draw(st.sampled_from(every_path)), data.draw(ANYTHING))
