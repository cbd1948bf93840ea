"""A pipeline's whole spec, and every check on it.

A spec only records. `problems_of` lists everything that is wrong with one, so that a person corrects a file once; the
registry raises them together.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass, replace
from typing import Any
from zoneinfo import ZoneInfo

from tailrace import days
from tailrace.problems import Problem
from tailrace.spec.baselines import Baseline, baselines_problems
from tailrace.spec.checks import LATER, by_case
from tailrace.spec.columns import RESERVED, Features, Outcome
from tailrace.spec.estimators import estimator_problems
from tailrace.spec.field_types import wrong_fields
from tailrace.spec.marts import PARTS, Mart
from tailrace.spec.parameters import described
from tailrace.spec.policies import Audit, Gate, Monitor, Predictions, Review
from tailrace.spec.schedule import Schedule
from tailrace.spec.training import Candidate, SearchBudget, Window, candidate_problems

NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
WAREHOUSE = "warehouse"
"""The name of the warehouse's own DAG."""


@dataclass(frozen=True, kw_only=True)
class PipelineSpec:
    """One pipeline, from its warehouse tables to its published predictions."""

    name: str
    """The pipeline's name: lower-case letters, digits and underscores. Its tables, DAGs and models have it too."""
    owner: str
    """The team or person who answers for the predictions."""
    description: str
    """What is predicted, and for whom; usually the `__doc__` of the file."""
    features: Features
    """The columns that a model reads, and their table."""
    outcome: Outcome
    """The label, its table, and the kind of question."""
    candidates: tuple[Candidate, ...]
    """The estimators that a training tries."""
    window: Window
    """The days that a training learns from."""
    schedule: Schedule
    """When the pipeline trains and predicts, and its time zone."""
    search: SearchBudget = SearchBudget()
    """How long a training searches for parameters."""
    gate: Gate = Gate()
    """When a newly trained model becomes champion."""
    predictions: Predictions = Predictions()
    """The names of the published columns."""
    audit: Audit = Audit()
    """What a day of predictions must be like to be published."""
    monitor: Monitor = Monitor()
    """When a published day counts as drifted."""
    baselines: tuple[Baseline, ...] = field(default=(), metadata=LATER)
    """Rules that a person can make champion before there are any labels."""
    review: Review = field(default=Review(), metadata=LATER)
    """How far an edit may move the predictions before a review of it fails."""

    def __post_init__(self) -> None:
        """Fill in the problem's own metrics. Fields of a wrong type stay: `problems_of` says so."""
        if not (isinstance(self.outcome, Outcome) and isinstance(self.outcome.problem, Problem)):
            return
        if isinstance(self.gate, Gate) and isinstance(self.gate.metric, str):
            object.__setattr__(self, "gate", self.gate.completed(self.problem))
        if isinstance(self.search, SearchBudget) and isinstance(self.search.metric, str) and not self.search.metric:
            object.__setattr__(self, "search", replace(self.search, metric=self.problem.search_metric))

    @property
    def problem(self) -> Problem:
        """The kind of question."""
        return self.outcome.problem

    def mart(self, part: str) -> Mart:
        """The table of the warehouse with the pipeline's `features` or `outcomes`."""
        says = self.features if part == PARTS[0] else self.outcome
        return Mart(
            table=says.table or f"{self.name}_{part}", day=says.day, days_back=says.days_back, known_at=says.known_at
        )

    @property
    def marts(self) -> tuple[Mart, ...]:
        """All tables of the warehouse that the pipeline reads."""
        return tuple(self.mart(part) for part in PARTS)

    @property
    def features_table(self) -> str:
        return f"features/{self.name}"

    @property
    def outcomes_table(self) -> str:
        return f"outcomes/{self.name}"

    @property
    def predictions_table(self) -> str:
        return f"predictions/{self.name}"

    @property
    def performance_table(self) -> str:
        return f"performance/{self.name}"

    @property
    def refusals_table(self) -> str:
        return f"refusals/{self.name}"

    def digest(self) -> str:
        """SHA-256 of everything the spec says."""
        return hashlib.sha256(json.dumps(content_of(self), sort_keys=True, default=described).encode()).hexdigest()


def content_of(value: Any) -> Any:
    """What a part of a spec says, as dicts and lists for JSON."""
    if isinstance(value, Problem):
        return value.described()
    if is_dataclass(value):
        held = [(each, getattr(value, each.name)) for each in fields(value)]
        return {each.name: content_of(it) for each, it in held if not (each.metadata == LATER and it == _default(each))}
    if isinstance(value, Mapping):
        return {name: content_of(it) for name, it in value.items()}
    return [content_of(it) for it in value] if isinstance(value, list | tuple) else value


def _default(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def problems_of(spec: PipelineSpec, *, estimators: bool = True) -> list[str]:
    """A sentence for each thing that is wrong with a spec, naming pipeline and field.

    Types come first: a check reads a field only where its values have the right ones.
    `estimators=False` leaves out the checks that import scikit-learn, XGBoost and Spark (seconds).
    """
    wrong = list(wrong_fields(spec))
    unreadable = {re.split(r"[.\[]", where)[0] for where, _ in wrong}
    problems = [sentence for _, sentence in wrong]
    for check, needs in _CHECKS.items():
        if unreadable.isdisjoint(needs) and (estimators or check is not _estimators):
            problems += check(spec)
    return [f"{spec.name}: {problem}" for problem in problems]


def _names(spec: PipelineSpec) -> Iterator[str]:
    if not NAME.fullmatch(spec.name):
        yield f"name {spec.name!r} must be lower-case letters, digits and underscores, starting with a letter."
    if spec.name == WAREHOUSE:
        yield f"name {spec.name!r} is the name of the warehouse's own DAG; give the pipeline another one."
    if not spec.owner.strip():
        yield "owner is empty; name the team or person who answers for the predictions."


def zone(spec: PipelineSpec) -> ZoneInfo:
    """The time zone of the pipeline's days and schedule."""
    return ZoneInfo(spec.schedule.timezone)


def cutoff(spec: PipelineSpec, day: dt.date) -> dt.datetime:
    """The moment, in UTC, until when what the pipeline uses for the day has become known."""
    return days.cutoff(day, zone(spec), spec.schedule.cutoff_time)


def _columns(spec: PipelineSpec) -> Iterator[str]:
    """No two roles may share a column of a table, nor have names that databases take for one."""
    features, outcome, predictions = spec.features, spec.outcome, spec.predictions
    key = [("features.key", name) for name in dict.fromkeys(features.key)]
    event_time, label = ("features.event_time", features.event_time), ("outcome.label", outcome.label)
    published = spec.problem.published_names(predictions)
    needed = spec.problem.needed_columns(predictions)
    own = [("", name) for name in sorted(RESERVED)]
    tables = {
        "features": [*own, *key, event_time, ("features.known_at", features.known_column)],
        "outcomes": [*own, *key, ("outcome.known_at", outcome.known_column), label],
        "predictions": [*own, ("", "model_version"), *key, event_time, *published],
        "predictions with their outcomes": [*key, *(each for each in published if each[1] in needed), label],
    }
    said = set()
    for table, columns in tables.items():
        taken: dict[str, str] = {}
        for where, name in columns:
            other = taken.setdefault(name.lower(), where)
            if other != where and (other, where) not in said:
                said.add((other, where))
                yield _shared(where, name, other, table)
    inputs = [(f"features.columns[{name!r}]", name) for name in features.columns]
    inputs += [("features.weight", features.weight)] if features.weight is not None else []
    inputs += [("features.day", features.day), ("outcome.day", outcome.day)]
    for where, name in dict.fromkeys([*inputs, *(column for columns in tables.values() for column in columns)]):
        if not name or not name.isprintable():
            yield f"{where} is {name!r}; a column needs a name without line breaks or other control characters."
    for where, names in (("features.key", dict.fromkeys(features.key)), ("features.columns", features.columns)):
        for name, same in by_case(names).items():
            if len(same) > 1:
                yield f"{where} has {' and '.join(map(repr, same))}, which databases take for one column: {name}."


def _shared(where: str, name: str, other: str, table: str) -> str:
    if not other:
        return f"{where} has {name!r}, which is a column of Tailrace's own."
    return f"{where} is {name!r}, which is already a column of the {table}: {other}."


def _estimators(spec: PipelineSpec) -> Iterator[str]:
    return estimator_problems(spec.candidates, spec.search, spec.problem, spec.features)


_CHECKS: Mapping[Callable[[PipelineSpec], Iterator[str]], tuple[str, ...]] = {
    _names: ("name", "owner"),
    lambda spec: spec.features.problems(spec.outcome): ("features", "outcome"),
    lambda spec: spec.outcome.problems(): ("outcome",),
    _columns: ("features", "outcome", "predictions"),
    lambda spec: spec.window.problems(spec.outcome): ("window", "outcome"),
    lambda spec: spec.problem.problems(): ("outcome",),
    lambda spec: spec.search.problems(spec.problem): ("search", "outcome"),
    lambda spec: spec.gate.problems(spec.features, spec.problem): ("gate", "features", "outcome"),
    lambda spec: spec.schedule.problems(): ("schedule",),
    lambda spec: spec.problem.publication_problems(spec.predictions): ("predictions", "outcome"),
    lambda spec: spec.audit.problems(): ("audit",),
    lambda spec: spec.monitor.problems(): ("monitor",),
    lambda spec: spec.review.problems(): ("review",),
    lambda spec: candidate_problems(spec.candidates, spec.features): ("candidates", "features"),
    lambda spec: baselines_problems(spec.baselines, spec.candidates, spec.features, spec.problem): (
        *("baselines", "candidates"),
        *("features", "outcome"),
    ),
    _estimators: ("candidates", "search", "outcome", "features"),
}
"""Each check with the fields that it reads."""
