"""Which values a column may have in its role in the spec, checked when rows enter the lake.

docs/roles.md lists these contracts. The snapshot checks rows as they pass with `PassingRows`, and `refuse` raises what
is wrong with both tables before anything is published; `check` does the same with tables. The other functions are for
rows that an earlier release accepted: code that reads them refuses bad rows with a message.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from tailrace.errors import ContractBroken, KeysRepeated, LookAhead, TailraceError, did_you_mean
from tailrace.rows import refusals
from tailrace.spec import PipelineSpec, cutoff

LARGEST = 3.4028234663852886e38
"""The largest number that a feature may have: float32's. XGBoost and scikit-learn's trees compute in float32."""

LARGEST_WHOLE = 2**53
"""The largest integer that a feature may have: models compute in float64, which cannot represent all larger ones."""


class PassingRows:
    """The rows of a day of `features` or `outcomes`, looked at while they pass: they are sorted by key."""

    def __init__(self, spec: PipelineSpec, part: str, schema: pa.Schema) -> None:
        self.schema = _plain(schema.empty_table()).schema
        """The columns in the types that the lake stores."""
        self.rows = 0
        of_part = _of_features if part == "features" else _of_outcomes
        self._checks = of_part(spec, spec.mart(part).table, self.schema)

    def see(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Look at the next rows; returns them in the types that the lake stores."""
        rows = _plain(pa.Table.from_batches([batch]))
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
    problems = _found([_Labels(spec, where, only_labels.schema)], only_labels)
    _raise(f"{spec.name}: labels of the lake cannot be used.", list(problems))
    return spec.problem.encoded(column)


def as_text(column: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """A category as text, null if it is missing. NaN counts as missing, like a null, whatever the column's type."""
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    return column.cast(pa.string())


def fits(type_: pa.DataType, kind: str) -> bool:
    """Whether a column of this Arrow type may be a feature of this kind."""
    if pa.types.is_null(type_):
        return True
    number = pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_boolean(type_)
    number = number or pa.types.is_decimal(type_)
    text = pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_dictionary(type_)
    # A category may be stored as a number (a store id); a number never as text.
    return number if kind == "numeric" else text or (kind == "categorical" and number)


def beyond(column: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray | None:
    """A mask of the values that no model accepts; None if there are none. Null and NaN are missing values."""
    limit = _largest(column.type)
    if limit is None:
        return None
    ends = pc.min_max(column).as_py()
    # A comparison with NaN is false: a column with only NaN has only missing values.
    if ends["min"] is None or not (ends["min"] < -limit or ends["max"] > limit):
        return None
    too_large = pc.greater(column, pa.scalar(limit, column.type))
    if not pa.types.is_unsigned_integer(column.type):
        too_large = pc.or_(too_large, pc.less(column, pa.scalar(-limit, column.type)))
    return pc.fill_null(too_large, False)


def _largest(type_: pa.DataType) -> int | float | Decimal | None:
    """The largest number of this type that a model accepts; None if it accepts all of them."""
    if pa.types.is_floating(type_):
        return 65504.0 if pa.types.is_float16(type_) else LARGEST
    if pa.types.is_integer(type_):
        return LARGEST_WHOLE if type_.bit_width == 64 else None
    if pa.types.is_decimal(type_):
        # With fewer digits before the decimal point, the type has no larger numbers.
        return Decimal(LARGEST_WHOLE) if type_.precision - type_.scale >= len(str(LARGEST_WHOLE)) else None
    return None


def look_ahead(spec: PipelineSpec, rows: pa.Table) -> Iterator[LookAhead]:
    """The error for rows of features that contain values unknown at their day's cutoff, if there are any.

    Without a `known_at` of the mart's nothing says what was known: `taken` names such days.
    """
    if spec.features.known_at is not None:
        yield from _found([_LookAhead(spec)], rows)


def repeated(key: Sequence[str], rows: pa.Table, *also: str) -> tuple[int, list[dict[str, object]]]:
    """How many keys appear in several rows with the same `also`, and some of these keys; the rows are sorted by key.

    Neighbouring rows are compared, which takes a hundredth of the time of grouping.
    """
    same = _like_next(key, rows)
    if not pc.any(same).as_py():
        return 0, []
    none = pa.chunked_array([pa.array([False])])
    suspects = rows.filter(pc.or_(_joined(none, same), _joined(same, none))).select([*key, *also])
    # In one thread, so that the first keys are the examples.
    counted = suspects.group_by([*key, *also], use_threads=False).aggregate([([], "count_all")])
    found = counted.filter(pc.greater(counted["count_all"], 1)).select(key)
    found = found.group_by(key, use_threads=False).aggregate([])
    return found.num_rows, found.slice(0, refusals.EXAMPLES).to_pylist()


def _like_next(key: Sequence[str], rows: pa.Table) -> pa.ChunkedArray:
    """For each row but the last, whether the next one has the same key."""
    same = pa.chunked_array([pa.repeat(True, max(rows.num_rows - 1, 0))])
    for name in key:
        same = pc.and_(same, pc.fill_null(pc.equal(rows[name][1:], rows[name][:-1]), False))
    return same


class _Check(Protocol):
    """Looks at rows as they pass; says at their end what is wrong with them."""

    def see(self, rows: pa.Table) -> None: ...

    def problems(self) -> Iterable[TailraceError]: ...


@dataclass(frozen=True)
class _Known:
    """Problems that the columns alone show."""

    found: tuple[TailraceError, ...]

    def see(self, rows: pa.Table) -> None:
        """Nothing to look at."""

    def problems(self) -> Iterable[TailraceError]:
        return self.found


@dataclass(kw_only=True)
class _WrongRows:
    """Counts the rows that `wrong` marks, and keeps the first of them as examples.

    `sentence` makes the error of the first wrong value and a text such as "2 rows{without}, for example id 4; id 5".
    """

    column: str
    shown: Sequence[str]
    wrong: Callable[[pa.ChunkedArray], pa.ChunkedArray | None]
    sentence: Callable[[Any, str], TailraceError]
    without: str = ""
    count: int = 0
    first: Any = None
    examples: list[dict[str, Any]] = field(default_factory=list)

    def see(self, rows: pa.Table) -> None:
        column = rows[self.column]
        wrong = self.wrong(column)
        found = pc.sum(wrong).as_py() if wrong is not None else 0
        if not found:
            return
        if not self.count:
            self.first = column.filter(wrong)[0].as_py()
        self.count += found
        if lacking := refusals.EXAMPLES - len(self.examples):
            shown = [name for name in self.shown if name in rows.column_names]
            self.examples += rows.select(shown).filter(wrong).slice(0, lacking).to_pylist() if shown else []

    def problems(self) -> Iterator[TailraceError]:
        if self.count:
            yield self.sentence(self.first, f"{_rows(self.count)}{self.without}{_described(self.examples)}")


class _Labels:
    """See `Problem.wrong_labels`. Of wrong labels, few are kept: those that the message names."""

    def __init__(self, spec: PipelineSpec, where: str, schema: pa.Schema) -> None:
        self._spec, self._where = spec, where
        self._named: pa.ChunkedArray | None = None
        name = spec.outcome.label
        nothing = pa.chunked_array([], schema.field(name).type)
        self._wrong_type = spec.problem.wrong_labels(nothing)
        self._rows = _WrongRows(column=name, shown=spec.features.key, wrong=self._wrong, sentence=self._sentence)

    def see(self, rows: pa.Table) -> None:
        if self._wrong_type is None:
            self._rows.see(rows)

    def problems(self) -> Iterator[TailraceError]:
        if self._wrong_type is not None:
            yield ContractBroken(f"{self._about} is {self._wrong_type.what}; {self._rule}. Cast it in dbt.")
        yield from self._rows.problems()

    @property
    def _about(self) -> str:
        return f"{self._where}: label {self._spec.outcome.label!r}"

    @property
    def _rule(self) -> str:
        return self._spec.problem.label_rule

    def _wrong(self, column: pa.ChunkedArray) -> pa.ChunkedArray | None:
        wrong = self._spec.problem.wrong_labels(column)
        if wrong is None:
            return None
        kept = [] if self._named is None else self._named.chunks
        self._named = self._few(pa.chunked_array([*kept, *column.filter(wrong.rows).chunks], column.type))
        return wrong.rows

    def _few(self, labels: pa.ChunkedArray) -> pa.ChunkedArray:
        """Wrong labels with the same message as all of these: those that it may name, in either order."""
        distinct = pc.unique(labels).to_pylist()
        firsts = {value for order in (None, str) for value in sorted(distinct, key=order)[: refusals.EXAMPLES]}
        return pa.chunked_array([pa.array([value for value in distinct if value in firsts], labels.type)])

    def _sentence(self, first: Any, rows: str) -> ContractBroken:
        wrong = self._spec.problem.wrong_labels(self._named)
        what = wrong.what if wrong is not None else first
        return ContractBroken(f"{self._about} is {what} in {rows}; {self._rule}. Correct it in dbt.")


class _Repeated:
    """Counts repeated keys with `repeated`. Rows of the last key wait for the next rows, which may have it too."""

    def __init__(self, spec: PipelineSpec, error: Callable[..., KeysRepeated], *also: str) -> None:
        self._spec, self._error, self._also = spec, error, also
        self._waiting: pa.Table | None = None
        self._keys = 0
        self._examples: list[dict[str, object]] = []

    def see(self, rows: pa.Table) -> None:
        key = self._spec.features.key
        rows = rows.select([*key, *self._also])
        if self._waiting is not None:
            rows = pa.concat_tables([self._waiting, rows])
        if not rows.num_rows:
            return
        others = pc.invert(_like_next(key, rows)).to_numpy().nonzero()[0]
        last = int(others[-1]) + 1 if len(others) else 0
        self._count(rows.slice(0, last))
        self._waiting = rows.slice(last)
        if not self._also:
            self._waiting = self._waiting.slice(0, 2)  # more of them tell no more

    def problems(self) -> Iterator[TailraceError]:
        if self._waiting is not None:
            self._count(self._waiting)
            self._waiting = None
        if self._keys:
            yield self._error(self._spec, self._keys, self._examples)

    def _count(self, rows: pa.Table) -> None:
        keys, examples = repeated(self._spec.features.key, rows, *self._also)
        self._keys += keys
        self._examples += examples[: refusals.EXAMPLES - len(self._examples)]


class _LookAhead:
    """Counts the rows of features that contain values unknown at their day's cutoff."""

    def __init__(self, spec: PipelineSpec) -> None:
        self._spec = spec
        self._late = 0
        self._examples: list[dict[str, object]] = []

    def see(self, rows: pa.Table) -> None:
        features = self._spec.features
        rows = rows.select([*features.key, "ds", features.known_column])
        for day in pc.unique(rows["ds"]).to_pylist():
            of_day = rows.filter(pc.equal(rows["ds"], pa.scalar(day)))
            known = of_day[features.known_column]
            moment = pa.scalar(cutoff(self._spec, day))
            late = pc.or_(pc.is_null(known), pc.greater(known, moment)).fill_null(True)
            if pc.any(late).as_py():
                bad = of_day.filter(late)
                self._late += bad.num_rows
                self._examples += bad.slice(0, refusals.EXAMPLES - len(self._examples)).to_pylist()

    def problems(self) -> Iterator[LookAhead]:
        if self._late:
            yield refusals.look_ahead(self._spec, self._late, self._examples)


def _found(checks: Sequence[_Check], rows: pa.Table) -> Iterator[Any]:
    """What the checks find in all rows at once."""
    for check in checks:
        check.see(rows)
        yield from check.problems()


def _of_features(spec: PipelineSpec, where: str, schema: pa.Schema) -> list[_Check]:
    features = spec.features
    roles = {
        **dict.fromkeys(features.key, "a key"),
        features.event_time: "the event time",
        **({features.known_at: "known_at"} if features.known_at else {}),
        **({features.weight: "the weight"} if features.weight else {}),
        **{name: f"a {kind} feature" for name, kind in features.columns.items()},
    }
    if absent := tuple(_absent(where, schema, roles)):
        return [_Known(absent)]
    # Rows without this time are reported together with those that are too late.
    known_at = _known_at(spec, "features", where, schema)
    if features.known_at is not None and not known_at:
        known_at = [_LookAhead(spec)]
    return [
        *_keys(spec, where, schema, refusals.repeated_keys),
        *_moments(spec, where, schema=schema, role="the event time", name=features.event_time, nulls=True),
        *known_at,
        _Known(tuple(_unfit(where, schema, features.columns))),
        *_numbers(spec, where, schema),
        *_weights(spec, where, schema),
    ]


def _of_outcomes(spec: PipelineSpec, where: str, schema: pa.Schema) -> list[_Check]:
    label, known_at = spec.outcome.label, spec.outcome.known_at
    roles = {**dict.fromkeys(spec.features.key, "a key"), label: "the label"}
    roles |= {known_at: "known_at"} if known_at else {}
    if absent := tuple(_absent(where, schema, roles)):
        return [_Known(absent)]
    return [
        # A corrected outcome has the same key and a later known_at.
        *_keys(spec, where, schema, refusals.repeated_outcomes, spec.outcome.order_column),
        *_known_at(spec, "outcomes", where, schema),
        _Labels(spec, where, schema),
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
        if not fits(type_, kind):
            yield ContractBroken(f"{where}: feature {name!r} is {type_}, the spec says {kind}. Cast it in dbt.")


def _keys(
    spec: PipelineSpec, where: str, schema: pa.Schema, repeat: Callable[..., KeysRepeated], *also: str
) -> list[_Check]:
    unfit = [
        ContractBroken(
            f"{where}: key {name!r} is {schema.field(name).type}; a key is a text, an integer, a decimal, a "
            "date, a timestamp with a time zone, a boolean, bytes or a floating-point number. Cast it in dbt."
        )
        for name in spec.features.key
        if not is_key(schema.field(name).type)
    ]
    if unfit:
        return [_Known(tuple(unfit))]
    return [*_missing_keys(spec, where), _Repeated(spec, repeat, *also)]


def _missing_keys(spec: PipelineSpec, where: str) -> list[_Check]:
    def said(_: Any, rows: str) -> ContractBroken:
        return ContractBroken(
            f"{where}: {rows}; "
            "a row without its key can never be found again. Give it a key in dbt, or leave the row out."
        )

    return [
        _WrongRows(column=name, shown=["ds"], wrong=_missing, sentence=said, without=f" without {name!r}")
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
) -> list[_Check]:
    type_ = schema.field(name).type
    if not pa.types.is_timestamp(type_) or type_.tz is None:
        problem = "a date has no time of day; add one" if pa.types.is_date(type_) else "cast it in dbt"
        wrong = f"{where}: {name!r} is {type_}; {role} must be a timestamp with a time zone: {problem}."
        return [_Known((ContractBroken(wrong),))]
    if nulls:
        return []

    def said(_: Any, rows: str) -> ContractBroken:
        return ContractBroken(
            f"{where}: {rows}; a row without this time is never used. "
            "Set in dbt when it became known, or leave the row out."
        )

    without = f" without {name!r}"
    return [_WrongRows(column=name, shown=spec.features.key, wrong=_null, sentence=said, without=without)]


def _known_at(spec: PipelineSpec, part: str, where: str, schema: pa.Schema) -> list[_Check]:
    """What is wrong with the moments at which rows became known; those of features are looked at by `look_ahead`."""
    name = spec.mart(part).known_at
    if name is None:
        return []
    return _moments(spec, where, schema=schema, role="known_at", name=name, nulls=part == "features")


def _numbers(spec: PipelineSpec, where: str, schema: pa.Schema) -> list[_Check]:
    return [
        _number(spec, where, name, schema.field(name).type)
        for name in spec.features.of_kind("numeric")
        if name in schema.names
    ]


def _number(spec: PipelineSpec, where: str, name: str, type_: pa.DataType) -> _Check:
    def said(value: Any, rows: str) -> ContractBroken:
        return ContractBroken(
            f"{where}: feature {name!r} is {value} in {rows}; {_limit(type_)}. Correct it in "
            "dbt, or make it null if the value is unknown."
        )

    return _WrongRows(column=name, shown=spec.features.key, wrong=beyond, sentence=said)


def _weights(spec: PipelineSpec, where: str, schema: pa.Schema) -> list[_Check]:
    name = spec.features.weight
    if name is None:
        return []
    type_ = schema.field(name).type
    if not (pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_decimal(type_)):
        wrong = f"{where}: weight {name!r} is {type_}; a weight is a number. Cast it in dbt."
        return [_Known((ContractBroken(wrong),))]

    def said(value: Any, rows: str) -> ContractBroken:
        return ContractBroken(
            f"{where}: weight {name!r} is {value} in {rows}; a weight is a finite number of 0 or more, for every row. "
            "Correct it in dbt."
        )

    return [_WrongRows(column=name, shown=spec.features.key, wrong=_no_weight, sentence=said)]


def _no_weight(column: pa.ChunkedArray) -> pa.ChunkedArray:
    numbers = column.cast(pa.float64(), safe=False)
    right = pc.and_(pc.greater_equal(numbers, pa.scalar(0.0)), pc.less_equal(numbers, pa.scalar(LARGEST)))
    return pc.invert(pc.fill_null(right, False))


def _limit(type_: pa.DataType) -> str:
    if not pa.types.is_floating(type_):
        return f"models compute in float64, which represents integers exactly only up to 2^53 ({LARGEST_WHOLE})"
    return f"models compute in float32, which represents numbers up to {LARGEST:.4g} and no infinity"


def _rows(count: int) -> str:
    return f"{count} row{'' if count == 1 else 's'}"


def _described(examples: Sequence[Mapping[str, Any]]) -> str:
    """', for example ...' with some rows."""
    described = [", ".join(f"{name} {value}" for name, value in row.items()) for row in examples]
    return f", for example {'; '.join(described)}" if examples else ""


def _missing(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Which values are null or NaN; both count as missing."""
    return pc.is_null(column, nan_is_null=True)


def _null(column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    return pc.is_null(column) if column.null_count else None


def is_key(type_: pa.DataType) -> bool:
    """Whether a column of this Arrow type may be a part of a key."""
    plain = (
        pa.types.is_string,
        pa.types.is_signed_integer,
        pa.types.is_decimal128,
        pa.types.is_date32,
        pa.types.is_boolean,
        pa.types.is_binary,
        pa.types.is_float32,
        pa.types.is_float64,
    )
    return any(is_it(type_) for is_it in plain) or (pa.types.is_timestamp(type_) and type_.tz is not None)


def _plain(rows: pa.Table) -> pa.Table:
    """The rows in the types that the lake stores: no dictionaries, one type each for text, bytes and timestamps."""
    return rows.cast(pa.schema([field.with_type(_plain_type(field.type)) for field in rows.schema]))


def _plain_type(type_: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(type_):
        return _plain_type(type_.value_type)
    if pa.types.is_large_string(type_) or pa.types.is_string_view(type_):
        return pa.string()
    if pa.types.is_large_binary(type_):
        return pa.binary()
    if pa.types.is_timestamp(type_) and type_.tz:
        return pa.timestamp("us", "UTC")
    return type_


def _joined(one: pa.ChunkedArray, other: pa.ChunkedArray) -> pa.ChunkedArray:
    return pa.chunked_array([*one.chunks, *other.chunks], pa.bool_())


def _raise(heading: str, problems: Sequence[TailraceError]) -> None:
    """One error for all problems; its class is theirs if all problems have the same class."""
    if not problems:
        return
    kinds = {type(problem) for problem in problems}
    kind = kinds.pop() if len(kinds) == 1 else ContractBroken
    raise kind("\n".join([heading, *(f"  - {problem}" for problem in problems)])) from None
