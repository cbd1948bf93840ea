"""The columns of a pipeline's two tables: the features, what kind each is, and the outcome."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from tailrace.errors import did_you_mean
from tailrace.problems import Problem
from tailrace.problems.binary import Binary
from tailrace.spec.checks import LATER, by_case

COLUMN_KINDS = ("numeric", "categorical", "text")
LABEL = "__label"
"""The column that holds the labels of training rows."""

TIME = "__time"
"""The column that holds the order of training rows in Spark."""

RESERVED = frozenset({"ds", LABEL, TIME})


@dataclass(frozen=True)
class Features:
    """The columns of `<pipeline>_features`, known when the prediction is due.

    `key` names one row over all days; `columns` maps each model input to its kind: numeric, categorical or text.
    `weight` is a column that says how much a row counts while models learn and trials are compared: a number of 0 or
    more. It is no model input unless `columns` has it too. The holdout and published days count every row once.
    """

    key: tuple[str, ...]
    event_time: str
    columns: Mapping[str, str]
    known_at: str = "known_at"
    weight: str | None = field(default=None, metadata=LATER, kw_only=True)

    @property
    def learned_from(self) -> tuple[str, ...]:
        """The columns that a training reads of each row, besides those that identify it."""
        extra = () if self.weight is None or self.weight in self.columns else (self.weight,)
        return (*self.columns, *extra)

    def of_kind(self, kind: str) -> tuple[str, ...]:
        return tuple(name for name, its_kind in self.columns.items() if its_kind == kind)

    def problems(self, outcome: Outcome) -> Iterator[str]:
        """A sentence for each thing that is wrong."""
        if not self.columns:
            yield "features.columns is empty; a model needs at least one input."
        if not self.key:
            yield f"features.key is {self.key!r}; it must be a tuple of the columns that identify a row."
        for column, kind in self.columns.items():
            if kind not in COLUMN_KINDS:
                yield (
                    f"features.columns[{column!r}] is of kind {kind!r}; it must be one of "
                    f"{', '.join(COLUMN_KINDS)}.{did_you_mean(kind, COLUMN_KINDS)}"
                )
        others = by_case({*self.key, self.event_time, self.known_at, outcome.known_at, outcome.label, *RESERVED})
        for column in sorted(name for name in self.columns if name.lower() in others):
            same = others[column.lower()]
            which = "" if column in same else f" (databases take it for {same[0]!r})"
            yield f"features.columns[{column!r}] is a key, a time or the label{which}; a model must not learn from it."
        if self.weight is not None and self.weight.lower() in others:
            yield f"features.weight is {self.weight!r}, which is a key, a time or the label; name another column."
        if self.columns.get(self.weight or "", "numeric") != "numeric":
            yield f"features.weight is {self.weight!r}, which features.columns says is no number; a weight is numeric."
        for column in sorted({name for name in self.key if self.key.count(name) > 1}):
            yield f"features.key names {column!r} {self.key.count(column)} times; once is enough."


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The columns of `<pipeline>_outcomes`: the label, and when it became known.

    `problem` is the kind of question: `Binary()` (is the label true?), `Multiclass(classes)` (which class is it?) or
    `Regression()` (how much is it?).
    `lag_days`: outcomes of a day are known at the cutoff so many days later, most of them at least;
    the training window ends that many days before the day of training. `late_days`: for so many days more, outcomes
    that come late or are corrected still count in monitoring.
    """

    label: str
    known_at: str = "known_at"
    description: str = ""
    lag_days: int = 1
    late_days: int = field(default=7, metadata=LATER)
    problem: Problem = field(default=Binary(), metadata=LATER)

    @property
    def last_lag(self) -> int:
        """How many days after a day its last outcomes are expected."""
        return self.lag_days + self.late_days
