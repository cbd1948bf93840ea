"""What is in a table before there is a spec: every column, the days, the drift from week to week, and a label."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from tailrace.errors import BadInput, did_you_mean
from tailrace.problems import Problem
from tailrace.profiling import questions
from tailrace.profiling.associations import Association, associations, name_of
from tailrace.profiling.columns import ColumnProfile, profiled
from tailrace.profiling.weeks import Week, WeeklyDrift, drift, weeks_of


@dataclass(frozen=True, kw_only=True)
class LabelFindings:
    """What a label asks, and how well each column alone predicts it."""

    name: str
    problem: Problem
    why: str
    notes: tuple[str, ...]
    associations: Mapping[str, Association]

    @property
    def metric(self) -> str:
        return name_of(self.problem)


@dataclass(frozen=True, kw_only=True)
class Exploration:
    """What a sample says of a table. `rows` is sorted by `day`, if there is one; `days` has the rows of each day.

    `left_out` are sentences about rows that are not looked at; `unread` maps columns that cannot be read to the reason.
    """

    table: str
    words: str
    rows: pa.Table
    day: str | None
    days: Mapping[dt.date, int]
    left_out: Sequence[str]
    unread: Mapping[str, str]
    columns: tuple[ColumnProfile, ...]
    weeks: tuple[Week, ...] = ()
    drifts: Mapping[str, WeeklyDrift] = field(default_factory=dict)
    label: LabelFindings | None = None

    @property
    def ranked(self) -> list[ColumnProfile]:
        """The columns, those that say most about the label first, then those that drift most."""
        return sorted(self.columns, key=lambda column: (-self.strength(column.name), -self.worst(column.name)))

    def strength(self, column: str) -> float:
        """How strongly a column is associated with the label, from 0 to 1."""
        found = self.label.associations.get(column) if self.label else None
        return found.strength if found else 0.0

    def worst(self, column: str) -> float:
        """The highest population stability index of any week."""
        found = self.drifts.get(column)
        return found.highest[1] if found and found.highest else 0.0


def explore(
    table: str,
    rows: pa.Table,
    *,
    words: str = "",
    day: str | None = None,
    days: Mapping[dt.date, int] | None = None,
    left_out: Sequence[str] = (),
    unread: Mapping[str, str] | None = None,
    label: str = "",
    kind: str = "",
    progress: Callable[[str], None] = lambda name: None,
) -> Exploration:
    """Everything that is said of the rows. Raises BadInput if the label is not there, or cannot be read or predicted.

    `progress` is called with the name of each column.
    """
    if label and unread and label in unread:
        raise BadInput(f"--label: column {label!r} of {table} cannot be read: {unread[label]}.")
    if label and label not in rows.column_names:
        raise BadInput(f"--label: {table} has no column {label!r}.{did_you_mean(label, rows.column_names)}")
    rows = rows.sort_by(day) if day else rows
    columns = profiled(rows)
    weeks = weeks_of(rows[day]) if day and rows.num_rows else []
    others = [each.name for each in columns if each.name not in (day, label)]
    found = {name: drift(rows[name], weeks) for name in others}
    return Exploration(
        table=table,
        words=words,
        rows=rows,
        day=day,
        days=days or {},
        left_out=left_out,
        unread=unread or {},
        columns=columns,
        weeks=tuple(weeks),
        drifts={name: each for name, each in found.items() if each is not None},
        label=_label(rows, label, kind, others=others, progress=progress) if label and rows.num_rows else None,
    )


def _label(
    rows: pa.Table, label: str, kind: str, *, others: Sequence[str], progress: Callable[[str], None]
) -> LabelFindings:
    question = questions.question_of(label, rows[label], kind)
    return LabelFindings(
        name=label,
        problem=question.problem,
        why=question.why,
        notes=question.notes,
        associations=associations(rows, label, question.problem, names=others, progress=progress),
    )
