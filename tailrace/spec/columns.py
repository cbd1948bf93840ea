"""A pipeline's two tables: where they are in the warehouse, the features, what kind each is, and the outcome."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from tailrace.errors import did_you_mean
from tailrace.problems import Problem
from tailrace.problems.binary import Binary
from tailrace.spec.checks import LATER, MOST_DAYS, at_least, at_most, by_case
from tailrace.spec.marts import DAY, KNOWN_AT, table_problems

COLUMN_KINDS = ("numeric", "categorical", "text")
LABEL = "__label"
"""The column that holds the labels of training rows."""

TIME = "__time"
"""The column that holds the order of training rows in Spark."""

RESERVED = frozenset({DAY, LABEL, TIME})


@dataclass(frozen=True)
class Features:
    """The features: their table, and its columns, known when the prediction is due."""

    key: tuple[str, ...]
    """The columns that name one row, over all days. Outcomes are joined to features by them."""
    event_time: str
    """The column with the moment that a row is about. It orders the rows of a day; null is sorted last. A date stands
    for its first moment in the pipeline's time zone."""
    columns: Mapping[str, str]
    """Each model input with its kind: `numeric`, `categorical` or `text`."""
    known_at: str | None = KNOWN_AT
    """The column with the moment at which a row became known. None: the mart has no such column, so the moment of the
    snapshot is used."""
    weight: str | None = field(default=None, metadata=LATER, kw_only=True)
    """A column that says how much a row counts while models learn and trials are compared: a number of 0 or more. It
    is no model input unless `columns` has it too. The holdout and published days count every row once. None: all rows
    count the same."""
    table: str | None = field(default=None, metadata=LATER, kw_only=True)
    """The mart as dbt names it: `model`, `schema.name` or `database.schema.name`. None: `<pipeline>_features`."""
    day: str = field(default=DAY, metadata=LATER, kw_only=True)
    """The column of the mart that holds the day."""
    days_back: int = field(default=0, metadata=LATER, kw_only=True)
    """In days: a run reads the rows whose `day` is so many days before its own. 1 if the mart has the rows of a day
    only when that day is over."""

    @property
    def known_column(self) -> str:
        """The column of the lake's table with the moment at which a row became known."""
        return self.known_at or KNOWN_AT

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
        times = {self.event_time, self.known_column, outcome.known_column}
        others = by_case({*self.key, *times, outcome.label, *RESERVED})
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
        yield from _mart_problems("features", self)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The outcomes: their table, the label, and when it became known."""

    label: str
    """The column with the label. Null means that the outcome is not known yet."""
    known_at: str | None = KNOWN_AT
    """The column with the moment at which the outcome became known. None: the mart has no such column, so the moment
    of the snapshot is used."""
    description: str = ""
    """What the label means, in words; for reports and the model card."""
    lag_days: int = 1
    """In days, 1 or more: the outcomes of a day are known at the cutoff so many days later, most of them at least.
    The training window ends that many days before the day of training. A purchase that can be returned for 30 days
    has `lag_days=30`."""
    late_days: int = field(default=7, metadata=LATER)
    """In days: for so many days after `lag_days`, outcomes that come late or are corrected still count in
    monitoring."""
    problem: Problem = field(default=Binary(), metadata=LATER)
    """The kind of question: `Binary()` (is the label true?), `Multiclass(classes)` (which class is it?) or
    `Regression()` (how much is it?)."""
    table: str | None = field(default=None, metadata=LATER)
    """The mart as dbt names it: `model`, `schema.name` or `database.schema.name`. None: `<pipeline>_outcomes`."""
    day: str = field(default=DAY, metadata=LATER)
    """The column of the mart that holds the day on which the outcome became known."""
    days_back: int = field(default=0, metadata=LATER)
    """In days: a run reads the rows whose `day` is so many days before its own. If the mart has only the day that the
    outcome is about, set it to `lag_days`: its rows are then read when they have become known."""

    @property
    def known_column(self) -> str:
        """The column of the lake's table with the moment at which an outcome became known."""
        return self.known_at or KNOWN_AT

    @property
    def order_column(self) -> str:
        """The column of the lake's table that says which of a key's outcomes came last: a moment, else the day."""
        return self.known_at or DAY

    def problems(self) -> Iterator[str]:
        """A sentence for each thing that is wrong with the table: the rest has checks of its own."""
        yield from _mart_problems("outcome", self)

    @property
    def last_lag(self) -> int:
        """How many days after a day its last outcomes are expected."""
        return self.lag_days + self.late_days


def _mart_problems(where: str, part: Features | Outcome) -> Iterator[str]:
    if part.table is not None:
        yield from table_problems(f"{where}.table", part.table)
    yield from at_least(f"{where}.days_back", part.days_back, 0)
    yield from at_most(f"{where}.days_back", part.days_back, MOST_DAYS)
