"""Which values a column may have in its role in the spec, checked when rows enter the lake.

docs/roles.md lists these contracts. The snapshot checks rows as they pass with `PassingRows`, and `refuse` raises what
is wrong with both tables before anything is published; `check` does the same with tables. The other functions are for
rows that an earlier release accepted: code that reads them refuses bad rows with a message.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tailrace.errors import ContractBroken, KeysRepeated, LookAhead, TailraceError, did_you_mean
from tailrace.rows import refusals, role_values
from tailrace.rows.row_checks import Known, Labels, LateRows, Repeated, RowCheck, WrongRows
from tailrace.spec import PipelineSpec


class PassingRows:
    """The rows of a day of `features` or `outcomes`, looked at while they pass: they are sorted by key."""

    def __init__(self, spec: PipelineSpec, part: str, schema: pa.Schema) -> None:
        self.schema = role_values.as_stored(schema.empty_table()).schema
        """The columns in the types that the lake stores."""
        self.rows = 0
        of_part = _of_features if part == "features" else _of_outcomes
        self._checks = of_part(spec, spec.mart(part).table, self.schema)

    def see(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Look at the next rows; returns them in the types that the lake stores."""
        rows = role_values.as_stored(pa.Table.from_batches([batch]))
        for check in self._checks:
            check.see(rows)
        self.rows += rows.num_rows
        return rows

    def problems(self) -> Iterator[TailraceError]:
        """Everything that is wrong with the rows seen."""
        for check in self._checks:
            yield from check.problems()


def check(spec: PipelineSpec, day: dt.date, features: pa.Table, outcomes: pa.Table) -> None:
    """Raise what `refuse` raises for the day's rows of both tables, which are sorted by key."""
    seen = []
    for part, rows in (("features", features), ("outcomes", outcomes)):
        seen.append(PassingRows(spec, part, rows.schema))
        for batch in rows.to_batches():
            seen[-1].see(batch)
    refuse(spec, day, *seen)


def refuse(spec: PipelineSpec, day: dt.date, features: PassingRows, outcomes: PassingRows) -> None:
    """Raise one error that lists every problem in the day's rows of both tables.

    It is KeysRepeated or LookAhead if all problems are of that kind, else ContractBroken.
    """
    problems = [*features.problems(), *outcomes.problems(), *_key_types(spec, features.schema, outcomes.schema)]
    _raise(f"{spec.name}: the warehouse's rows of {day} are refused; the lake stays as it was.", problems)


def check_joinable(spec: PipelineSpec, features: pa.Table, outcomes: pa.Table) -> None:
    """The same check for rows of many days before a join; without labels, look-ahead and repeated keys."""
    at_features, at_outcomes = spec.features_table, spec.outcomes_table
    labelled = outcomes.filter(pc.is_valid(outcomes[spec.outcome.label]))
    problems = [
        *_key_types(spec, features.schema, outcomes.schema),
        *_found(_missing_keys(spec, at_features), features),
        *_found(_missing_keys(spec, at_outcomes), outcomes),
        *_found(_known_at(spec, "features", at_features, features.schema), features),
        *_found(_known_at(spec, "outcomes", at_outcomes, labelled.schema), labelled),
        *_found(_numbers(spec, at_features, features.schema), features),
        *_found(_weights(spec, at_features, features.schema), features),
    ]
    _raise(f"{spec.name}: rows of the lake cannot be used for training.", problems)


def labels(spec: PipelineSpec, where: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The labels as `Problem.encoded` gives them, null if the outcome is unknown. Raises ContractBroken."""
    only_labels = pa.table({spec.outcome.label: column})
    problems = _found([Labels(spec, where, only_labels.schema)], only_labels)
    _raise(f"{spec.name}: labels of the lake cannot be used.", list(problems))
    return spec.problem.encoded(column)


def look_ahead(spec: PipelineSpec, rows: pa.Table) -> Iterator[LookAhead]:
    """The error for rows of features that contain values unknown at their day's cutoff, if there are any.

    Without a `known_at` of the mart's nothing says what was known: `taken` names such days.
    """
    if spec.features.known_at is not None:
        yield from _found([LateRows(spec)], rows)


def _found(checks: Sequence[RowCheck], rows: pa.Table) -> Iterator[Any]:
    """What the checks find in all rows at once."""
    for check in checks:
        check.see(rows)
        yield from check.problems()


def _of_features(spec: PipelineSpec, where: str, schema: pa.Schema) -> list[RowCheck]:
    features = spec.features
    roles = {
        **dict.fromkeys(features.key, "a key"),
        features.event_time: "the event time",
        **({features.known_at: "known_at"} if features.known_at else {}),
        **({features.weight: "the weight"} if features.weight else {}),
        **{name: f"a {kind} feature" for name, kind in features.columns.items()},
    }
    if absent := tuple(_absent(where, schema, roles)):
        return [Known(absent)]
    # Rows without this time are reported together with those that are too late.
    known_at = _known_at(spec, "features", where, schema)
    if features.known_at is not None and not known_at:
        known_at = [LateRows(spec)]
    return [
        *_keys(spec, where, schema, refusals.repeated_keys),
        *_moments(spec, where, schema=schema, role="the event time", name=features.event_time, nulls=True),
        *known_at,
        Known(tuple(_unfit(where, schema, features.columns))),
        *_numbers(spec, where, schema),
        *_weights(spec, where, schema),
    ]


def _of_outcomes(spec: PipelineSpec, where: str, schema: pa.Schema) -> list[RowCheck]:
    label, known_at = spec.outcome.label, spec.outcome.known_at
    roles = {**dict.fromkeys(spec.features.key, "a key"), label: "the label"}
    roles |= {known_at: "known_at"} if known_at else {}
    if absent := tuple(_absent(where, schema, roles)):
        return [Known(absent)]
    return [
        # A corrected outcome has the same key and a later known_at.
        *_keys(spec, where, schema, refusals.repeated_outcomes, spec.outcome.order_column),
        *_known_at(spec, "outcomes", where, schema),
        Labels(spec, where, schema),
    ]


def _absent(where: str, schema: pa.Schema, roles: Mapping[str, str]) -> Iterator[ContractBroken]:
    for name, role in roles.items():
        if schema.names.count(name) != 1:
            problem = "is missing" if name not in schema.names else "appears twice"
            yield ContractBroken(
                f"{where}: column {name!r} {problem}; the spec says it is {role}."
                f"{did_you_mean(name, set(schema.names) - set(roles))} Correct the dbt model or the spec."
            )


def _unfit(where: str, schema: pa.Schema, kinds: Mapping[str, str]) -> Iterator[ContractBroken]:
    for name, kind in kinds.items():
        type_ = schema.field(name).type
        if not role_values.fits(type_, kind):
            yield ContractBroken(f"{where}: feature {name!r} is {type_}, the spec says {kind}. Cast it in dbt.")


def _keys(
    spec: PipelineSpec, where: str, schema: pa.Schema, repeat: Callable[..., KeysRepeated], *also: str
) -> list[RowCheck]:
    unfit = [
        ContractBroken(
            f"{where}: key {name!r} is {schema.field(name).type}; a key is a text, an integer, a decimal, a "
            "date, a timestamp with a time zone, a boolean, bytes or a floating-point number. Cast it in dbt."
        )
        for name in spec.features.key
        if not role_values.is_key(schema.field(name).type)
    ]
    if unfit:
        return [Known(tuple(unfit))]
    return [*_missing_keys(spec, where), Repeated(spec, repeat, *also)]


def _missing_keys(spec: PipelineSpec, where: str) -> list[RowCheck]:
    def said(_: str, rows: str) -> ContractBroken:
        return ContractBroken(
            f"{where}: {rows}; "
            "a row without its key can never be found again. Give it a key in dbt, or leave the row out."
        )

    return [
        WrongRows(column=name, shown=["ds"], wrong=role_values.missing, sentence=said, without=f" without {name!r}")
        for name in spec.features.key
    ]


def _key_types(spec: PipelineSpec, features: pa.Schema, outcomes: pa.Schema) -> Iterator[ContractBroken]:
    for name in spec.features.key:
        if name not in features.names or name not in outcomes.names:
            continue
        one, other = features.field(name).type, outcomes.field(name).type
        if one != other:
            yield ContractBroken(
                f"key {name!r} is {one} in {spec.mart('features').table} and {other} in "
                f"{spec.mart('outcomes').table}, so that rows cannot be matched. Cast one of them in dbt."
            )


def _moments(
    spec: PipelineSpec, where: str, *, schema: pa.Schema, role: str, name: str, nulls: bool = False
) -> list[RowCheck]:
    type_ = schema.field(name).type
    if not pa.types.is_timestamp(type_) or type_.tz is None:
        problem = "a date has no time of day; add one" if pa.types.is_date(type_) else "cast it in dbt"
        wrong = f"{where}: {name!r} is {type_}; {role} must be a timestamp with a time zone: {problem}."
        return [Known((ContractBroken(wrong),))]
    if nulls:
        return []

    def said(_: str, rows: str) -> ContractBroken:
        return ContractBroken(
            f"{where}: {rows}; a row without this time is never used. "
            "Set in dbt when it became known, or leave the row out."
        )

    without = f" without {name!r}"
    return [WrongRows(column=name, shown=spec.features.key, wrong=role_values.null, sentence=said, without=without)]


def _known_at(spec: PipelineSpec, part: str, where: str, schema: pa.Schema) -> list[RowCheck]:
    """What is wrong with the moments at which rows became known; those of features are looked at by `look_ahead`."""
    name = spec.mart(part).known_at
    if name is None:
        return []
    return _moments(spec, where, schema=schema, role="known_at", name=name, nulls=part == "features")


def _numbers(spec: PipelineSpec, where: str, schema: pa.Schema) -> list[RowCheck]:
    return [
        _number(spec, where, name, schema.field(name).type)
        for name in spec.features.of_kind("numeric")
        if name in schema.names
    ]


def _number(spec: PipelineSpec, where: str, name: str, type_: pa.DataType) -> RowCheck:
    def said(values: str, rows: str) -> ContractBroken:
        return ContractBroken(
            f"{where}: feature {name!r} is {values} in {rows}; {role_values.limit(type_)}. Correct it in "
            "dbt, or make it null if the value is unknown."
        )

    return WrongRows(column=name, shown=spec.features.key, wrong=role_values.beyond, sentence=said)


def _weights(spec: PipelineSpec, where: str, schema: pa.Schema) -> list[RowCheck]:
    name = spec.features.weight
    if name is None:
        return []
    type_ = schema.field(name).type
    if not (pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_decimal(type_)):
        wrong = f"{where}: weight {name!r} is {type_}; a weight is a number. Cast it in dbt."
        return [Known((ContractBroken(wrong),))]

    def said(values: str, rows: str) -> ContractBroken:
        return ContractBroken(
            f"{where}: weight {name!r} is {values} in {rows}; a weight is a finite number of 0 or more, for every row. "
            "Correct it in dbt."
        )

    return [WrongRows(column=name, shown=spec.features.key, wrong=role_values.no_weight, sentence=said)]


def _raise(heading: str, problems: Sequence[TailraceError]) -> None:
    """One error for all problems; its class is theirs if all problems have the same class."""
    if not problems:
        return
    kinds = {type(problem) for problem in problems}
    kind = kinds.pop() if len(kinds) == 1 else ContractBroken
    raise kind("\n".join([heading, *(f"  - {problem}" for problem in problems)])) from None
