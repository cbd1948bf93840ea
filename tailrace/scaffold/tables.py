"""The tables of a new pipeline: the sampled rows of its features, with the labels, and the columns' roles."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from tailrace.errors import BadInput, ProblemList, did_you_mean
from tailrace.scaffold import samples
from tailrace.scaffold.requests import NewPipeline
from tailrace.scaffold.samples import TableSample
from tailrace.spec import DAY, KNOWN_AT
from tailrace.warehouse.adapter_types import Column
from tailrace.warehouse.reader import MartReader

HEADING = "No pipeline can be proposed:"
OF_OUTCOME = "__outcome_"
"""How the names of the outcomes' day and moment begin beside the features' columns."""
_ROW = "__row"
"""The column that numbers rows while they are joined."""


@dataclass(frozen=True, kw_only=True)
class PipelineTables:
    """What was read for a new pipeline.

    `outcomes` is `features` if one table has both. `known_at` columns say when a row became known; None: none does.
    `labelled` are the rows of the features whose outcome was found: with the label, and if the outcomes have a table of
    their own, with their day and moment under names that begin with `OF_OUTCOME`.
    """

    features: TableSample
    outcomes: TableSample
    known_at: str | None
    outcome_known_at: str | None
    labelled: pa.Table

    @property
    def day(self) -> str:
        return str(self.features.day)

    @property
    def samples(self) -> tuple[TableSample, ...]:
        """The sample of each table."""
        return (self.features,) if self.one_table else (self.features, self.outcomes)

    @property
    def one_table(self) -> bool:
        return self.outcomes is self.features


def read(request: NewPipeline, reader: MartReader, *, today: dt.date, rows: int) -> PipelineTables:
    """The rows of both tables. Raises BadInput with all columns that do not fit, and what `MartReader` raises."""
    columns = reader.columns(request.table)
    others = reader.columns(request.outcomes_table) if request.outcomes_table else columns
    problems = [
        *_absent(request.table, columns, request.named_columns()),
        *_absent(request.label_table, others, request.named_outcome_columns()),
        *_no_moments(request, columns, others),
    ]
    if problems:
        raise ProblemList(HEADING, list(dict.fromkeys(problems)))
    features = _sample(reader, request.table, columns, request.day, option="--day", rows=rows, today=today)
    if not request.outcomes_table:
        return of_samples(request, features, features)
    outcomes = _sample(
        reader, request.outcomes_table, others, request.outcome_day, option="--outcome-day", rows=rows, today=today
    )
    return of_samples(request, features, outcomes)


def of_samples(request: NewPipeline, features: TableSample, outcomes: TableSample) -> PipelineTables:
    """Both samples, with the roles of their columns. Raises BadInput if no row of the features has an outcome."""
    known_at = _known_at(features.columns, request.known_at)
    outcome_known_at = _known_at(outcomes.columns, request.outcome_known_at)
    one = outcomes is features
    return PipelineTables(
        features=features,
        outcomes=outcomes,
        known_at=known_at,
        outcome_known_at=outcome_known_at,
        labelled=features.rows if one else _joined(request, features, outcomes, outcome_known_at),
    )


def _sample(
    reader: MartReader,
    table: str,
    columns: Sequence[Column],
    wanted: str,
    *,
    option: str,
    rows: int,
    today: dt.date,
) -> TableSample:
    day = samples.day_column(columns, wanted, table=table)
    if day is None:
        dates = [column.name for column in columns if column.kind is not None and pa.types.is_date(column.kind)]
        if dates:
            raise BadInput(f"{table} has {len(dates)} dates: {', '.join(dates)}. Say with {option} which is the day.")
        raise BadInput(
            f"{table} has no date that says to which day a row belongs; add one in the mart, such as "
            f"cast(created_at as date) as {DAY}."
        )
    return samples.read(reader, table, day=day, rows=rows, today=today)


def _absent(table: str, columns: Sequence[Column], named: Iterable[tuple[str, str]]) -> Iterator[str]:
    """A sentence for each column that is named, and is not there or cannot be read."""
    by_name = {column.name: column for column in columns}
    for option, name in named:
        if not name:
            continue
        if name not in by_name:
            yield f"{option}: {table} has no column {name!r}.{did_you_mean(name, by_name)}"
        elif by_name[name].problem:
            found = by_name[name]
            yield f"{option}: column {name!r} of {table} has the type {found.declared}: {found.problem}."
        elif option == "--key" and by_name[name].key_problem:
            found = by_name[name]
            yield f"{option}: column {name!r} of {table} has the type {found.declared}: {found.key_problem}."


def _no_moments(request: NewPipeline, columns: Sequence[Column], others: Sequence[Column]) -> Iterator[str]:
    """A sentence for each column that must be a moment, and is none."""
    named = [
        ("--time", request.time, columns),
        ("--known-at", request.known_at, columns),
        ("--outcome-known-at", request.outcome_known_at, others),
    ]
    for option, name, those in named:
        found = next((column for column in those if column.name == name), None)
        if found is None or found.kind is None or pa.types.is_timestamp(found.kind):
            continue
        if pa.types.is_date(found.kind) and (request.marts or option == "--time"):
            continue
        yield (
            f"{option}: column {name!r} is {found.declared}, and it must be a moment. Cast it in the mart to a "
            "timestamp with a time zone."
        )


def _known_at(columns: Sequence[Column], wanted: str) -> str | None:
    return wanted or (KNOWN_AT if _has(columns, KNOWN_AT) else None)


def _has(columns: Sequence[Column], moment: str) -> bool:
    return any(each.name == moment and each.kind is not None and pa.types.is_timestamp(each.kind) for each in columns)


def _joined(request: NewPipeline, features: TableSample, outcomes: TableSample, known_at: str | None) -> pa.Table:
    """The rows of the features that have an outcome: of several outcomes of a key the last one."""
    key = list(dict.fromkeys(request.key))
    kept = dict.fromkeys([str(outcomes.day), *([known_at] if known_at else [])])
    theirs = outcomes.rows.select([*key, request.label])
    for name in kept:
        theirs = theirs.append_column(f"{OF_OUTCOME}{name}", outcomes.rows[name])
    last = _last_of_each(theirs, key)
    ours = features.rows.drop_columns([name for name in (request.label,) if name in features.rows.column_names])
    numbered = _numbered(ours.select(key))
    _refuse_other_types(request, numbered, last, key)
    found = numbered.join(last, key, join_type="inner").sort_by(_ROW)
    if not found.num_rows:
        raise BadInput(
            f"No row of {request.outcomes_table} has a key ({', '.join(key)}) of the rows of {request.table} that were "
            "read. Is the key the same in both?"
        )
    joined = ours.take(found[_ROW])
    for name in last.column_names:
        joined = joined if name in key else joined.append_column(name, found[name])
    return joined


def _last_of_each(rows: pa.Table, key: Sequence[str]) -> pa.Table:
    """Of the rows with the same key the last one. Rows are chosen by number: Arrow has no last value of each type."""
    chosen = _numbered(rows.select(key)).group_by(key).aggregate([(_ROW, "max")])
    return rows.take(chosen[f"{_ROW}_max"])


def _numbered(rows: pa.Table) -> pa.Table:
    return rows.append_column(_ROW, pa.array(range(rows.num_rows), pa.int64()))


def _refuse_other_types(request: NewPipeline, ours: pa.Table, theirs: pa.Table, key: Sequence[str]) -> None:
    problems = [
        f"Key {name!r} is {ours[name].type} in {request.table} and {theirs[name].type} in {request.outcomes_table}; "
        "cast one of them in its mart."
        for name in key
        if ours[name].type != theirs[name].type
    ]
    if problems:
        raise ProblemList(HEADING, problems)


def repeated(rows: pa.Table, key: Sequence[str]) -> int:
    """How many keys appear in more than one row."""
    counted = rows.select(list(key)).group_by(list(key)).aggregate([([], "count_all")])
    return counted.filter(pc.greater(counted["count_all"], 1)).num_rows
