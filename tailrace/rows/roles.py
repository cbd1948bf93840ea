"""Which values a column may have in its role in the spec, checked when rows enter the lake.

docs/roles.md lists these contracts. `check` is called once, by the snapshot, before anything is written. The
other functions are for rows that an earlier release accepted: code that reads them refuses bad rows with a message.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc

from tailrace.errors import ContractBroken, KeysRepeated, LookAhead, TailraceError, did_you_mean
from tailrace.rows import refusals
from tailrace.spec import PipelineSpec, cutoff

LARGEST = 3.4028234663852886e38
"""The largest number that a feature may have: float32's. XGBoost and scikit-learn's trees compute in float32."""

LARGEST_WHOLE = 2**53
"""The largest integer that a feature may have: models compute in float64, which cannot represent all larger ones."""


def check(spec: PipelineSpec, day: dt.date, features: pa.Table, outcomes: pa.Table) -> None:
    """Raise one error that lists every problem in the day's rows of both tables, which are sorted by key.

    It is KeysRepeated or LookAhead if all problems are of that kind, else ContractBroken.
    """
    features, outcomes = _plain(features), _plain(outcomes)
    problems = [
        *_of_features(spec, spec.mart("features").table, features),
        *_of_outcomes(spec, spec.mart("outcomes").table, outcomes),
        *_key_types(spec, features.schema, outcomes.schema),
    ]
    _raise(f"{spec.name}: the warehouse's rows of {day} are refused; the lake stays as it was.", problems)


def check_joinable(spec: PipelineSpec, features: pa.Table, outcomes: pa.Table) -> None:
    """The same check for rows of many days before a join; without labels, look-ahead and repeated keys."""
    label = spec.outcome.label
    problems = [
        *_key_types(spec, features.schema, outcomes.schema),
        *_missing_keys(spec, spec.features_table, features),
        *_missing_keys(spec, spec.outcomes_table, outcomes),
        *_known_at(spec, "features", spec.features_table, features),
        *_known_at(spec, "outcomes", spec.outcomes_table, outcomes.filter(pc.is_valid(outcomes[label]))),
        *_numbers(spec, spec.features_table, features),
        *_weights(spec, spec.features_table, features),
    ]
    _raise(f"{spec.name}: rows of the lake cannot be used for training.", problems)


def labels(spec: PipelineSpec, where: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The labels as `Problem.encoded` gives them, null if the outcome is unknown. Raises ContractBroken."""
    _raise(f"{spec.name}: labels of the lake cannot be used.", list(_label_problems(spec, where, column)))
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
    known_at = spec.features.known_at
    if known_at is None:
        return
    late = 0
    examples: list[dict[str, object]] = []
    rows = rows.select([*spec.features.key, "ds", known_at])
    for day in pc.unique(rows["ds"]).to_pylist():
        of_day = rows.filter(pc.equal(rows["ds"], pa.scalar(day)))
        known = of_day[known_at]
        moment = pa.scalar(cutoff(spec, day))
        bad = of_day.filter(pc.or_(pc.is_null(known), pc.greater(known, moment)).fill_null(True))
        late += bad.num_rows
        examples += bad.slice(0, refusals.EXAMPLES - len(examples)).to_pylist()
    if late:
        yield refusals.look_ahead(spec, late, examples)


def repeated(key: Sequence[str], rows: pa.Table, *also: str) -> tuple[int, list[dict[str, object]]]:
    """How many keys appear in several rows with the same `also`, and some of these keys; the rows are sorted by key.

    Neighbouring rows are compared, which takes a hundredth of the time of grouping.
    """
    if rows.num_rows < 2:
        return 0, []
    same = pa.chunked_array([pa.repeat(True, rows.num_rows - 1)])
    for name in key:
        same = pc.and_(same, pc.fill_null(pc.equal(rows[name][1:], rows[name][:-1]), False))
    if not pc.any(same).as_py():
        return 0, []
    none = pa.chunked_array([pa.array([False])])
    suspects = rows.filter(pc.or_(_joined(none, same), _joined(same, none))).select([*key, *also])
    counted = suspects.group_by([*key, *also]).aggregate([([], "count_all")])
    found = counted.filter(pc.greater(counted["count_all"], 1)).select(key).group_by(key).aggregate([])
    return found.num_rows, found.slice(0, refusals.EXAMPLES).to_pylist()


def _of_features(spec: PipelineSpec, where: str, rows: pa.Table) -> Iterator[TailraceError]:
    features = spec.features
    roles = {
        **dict.fromkeys(features.key, "a key"),
        features.event_time: "the event time",
        **({features.known_at: "known_at"} if features.known_at else {}),
        **({features.weight: "the weight"} if features.weight else {}),
        **{name: f"a {kind} feature" for name, kind in features.columns.items()},
    }
    if absent := list(_absent(where, rows, roles)):
        yield from absent
        return
    yield from _keys(spec, where, rows, refusals.repeated_keys)
    yield from _moments(spec, where, rows=rows, role="the event time", name=features.event_time, nulls=True)
    wrong_type = list(_known_at(spec, "features", where, rows))
    # Rows without this time are reported together with those that are too late.
    yield from wrong_type or look_ahead(spec, rows)
    for name, kind in features.columns.items():
        type_ = rows.schema.field(name).type
        if not fits(type_, kind):
            yield ContractBroken(f"{where}: feature {name!r} is {type_}, the spec says {kind}. Cast it in dbt.")
    yield from _numbers(spec, where, rows)
    yield from _weights(spec, where, rows)


def _of_outcomes(spec: PipelineSpec, where: str, rows: pa.Table) -> Iterator[TailraceError]:
    label, known_at = spec.outcome.label, spec.outcome.known_at
    roles = {**dict.fromkeys(spec.features.key, "a key"), label: "the label"}
    roles |= {known_at: "known_at"} if known_at else {}
    if absent := list(_absent(where, rows, roles)):
        yield from absent
        return
    # A corrected outcome has the same key and a later known_at.
    yield from _keys(spec, where, rows, refusals.repeated_outcomes, spec.outcome.order_column)
    yield from _known_at(spec, "outcomes", where, rows)
    yield from _label_problems(spec, where, rows[label], rows)


def _absent(where: str, rows: pa.Table, roles: Mapping[str, str]) -> Iterator[ContractBroken]:
    for name, role in roles.items():
        if rows.column_names.count(name) != 1:
            problem = "is missing" if name not in rows.column_names else "appears twice"
            yield ContractBroken(
                f"{where}: column {name!r} {problem}; the spec says it is {role}."
                f"{did_you_mean(name, set(rows.column_names) - set(roles))} Correct the dbt model or the spec."
            )


def _keys(
    spec: PipelineSpec, where: str, rows: pa.Table, repeat: Callable[..., KeysRepeated], *also: str
) -> Iterator[TailraceError]:
    unfit = [name for name in spec.features.key if not is_key(rows.schema.field(name).type)]
    for name in unfit:
        yield ContractBroken(
            f"{where}: key {name!r} is {rows.schema.field(name).type}; a key is a text, an integer, a decimal, a "
            "date, a timestamp with a time zone, a boolean, bytes or a floating-point number. Cast it in dbt."
        )
    if unfit:
        return
    yield from _missing_keys(spec, where, rows)
    keys, examples = repeated(spec.features.key, rows, *also)
    if keys:
        yield repeat(spec, keys, examples)


def _missing_keys(spec: PipelineSpec, where: str, rows: pa.Table) -> Iterator[ContractBroken]:
    for name in spec.features.key:
        missing = _missing(rows[name])
        if pc.any(missing).as_py():
            yield ContractBroken(
                f"{where}: {_rows(missing)} without {name!r}{_example(rows, missing, ['ds'])}; "
                "a row without its key can never be found again. Give it a key in dbt, or leave the row out."
            )


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
    spec: PipelineSpec, where: str, *, rows: pa.Table, role: str, name: str, nulls: bool = False
) -> Iterator[ContractBroken]:
    column = rows[name]
    if not pa.types.is_timestamp(column.type) or column.type.tz is None:
        problem = "a date has no time of day; add one" if pa.types.is_date(column.type) else "cast it in dbt"
        yield ContractBroken(
            f"{where}: {name!r} is {column.type}; {role} must be a timestamp with a time zone: {problem}."
        )
    elif column.null_count and not nulls:
        yield ContractBroken(
            f"{where}: {_rows(pc.is_null(column))} without {name!r}"
            f"{_example(rows, pc.is_null(column), spec.features.key)}; a row without this time is never used. "
            "Set in dbt when it became known, or leave the row out."
        )


def _known_at(spec: PipelineSpec, part: str, where: str, rows: pa.Table) -> Iterator[ContractBroken]:
    """What is wrong with the moments at which rows became known; those of features are looked at by `look_ahead`."""
    name = spec.mart(part).known_at
    if name is not None:
        yield from _moments(spec, where, rows=rows, role="known_at", name=name, nulls=part == "features")


def _label_problems(
    spec: PipelineSpec, where: str, column: pa.ChunkedArray, rows: pa.Table | None = None
) -> Iterator[ContractBroken]:
    name, problem = spec.outcome.label, spec.problem
    wrong = problem.wrong_labels(column)
    if wrong is None:
        return
    if wrong.rows is None:
        yield ContractBroken(f"{where}: label {name!r} is {wrong.what}; {problem.label_rule}. Cast it in dbt.")
        return
    example = _example(rows, wrong.rows, spec.features.key) if rows is not None else ""
    yield ContractBroken(
        f"{where}: label {name!r} is {wrong.what} in {_rows(wrong.rows)}{example}; {problem.label_rule}. "
        "Correct it in dbt."
    )


def _numbers(spec: PipelineSpec, where: str, rows: pa.Table) -> Iterator[ContractBroken]:
    for name in spec.features.of_kind("numeric"):
        if name not in rows.column_names:
            continue
        column = rows[name]
        too_large = beyond(column)
        if too_large is None:
            continue
        yield ContractBroken(
            f"{where}: feature {name!r} is {column.filter(too_large)[0].as_py()} in "
            f"{_rows(too_large)}{_example(rows, too_large, spec.features.key)}; {_limit(column.type)}. Correct it in "
            "dbt, or make it null if the value is unknown."
        )


def _weights(spec: PipelineSpec, where: str, rows: pa.Table) -> Iterator[ContractBroken]:
    name = spec.features.weight
    if name is None:
        return
    column = rows[name]
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_decimal(column.type)):
        yield ContractBroken(f"{where}: weight {name!r} is {column.type}; a weight is a number. Cast it in dbt.")
        return
    numbers = column.cast(pa.float64(), safe=False)
    right = pc.and_(pc.greater_equal(numbers, pa.scalar(0.0)), pc.less_equal(numbers, pa.scalar(LARGEST)))
    wrong = pc.invert(pc.fill_null(right, False))
    if pc.any(wrong).as_py():
        yield ContractBroken(
            f"{where}: weight {name!r} is {column.filter(wrong)[0].as_py()} in {_rows(wrong)}"
            f"{_example(rows, wrong, spec.features.key)}; a weight is a finite number of 0 or more, for every row. "
            "Correct it in dbt."
        )


def _limit(type_: pa.DataType) -> str:
    if not pa.types.is_floating(type_):
        return f"models compute in float64, which represents integers exactly only up to 2^53 ({LARGEST_WHOLE})"
    return f"models compute in float32, which represents numbers up to {LARGEST:.4g} and no infinity"


def _rows(wrong: pa.ChunkedArray) -> str:
    """The number of wrong rows, as text."""
    count = pc.sum(wrong).as_py()
    return f"{count} row{'' if count == 1 else 's'}"


def _example(rows: pa.Table, wrong: pa.ChunkedArray, columns: Sequence[str]) -> str:
    """', for example ...' with the first wrong rows."""
    shown = [name for name in columns if name in rows.column_names]
    found = rows.select(shown).filter(wrong).slice(0, refusals.EXAMPLES).to_pylist()
    described = [", ".join(f"{name} {value}" for name, value in row.items()) for row in found]
    return f", for example {'; '.join(described)}" if shown else ""


def _missing(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Which values are null or NaN; both count as missing."""
    return pc.is_null(column, nan_is_null=True)


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
