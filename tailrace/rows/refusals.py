"""The error messages about rows that a model must not learn from, the same wherever they are found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tailrace.errors import KeysRepeated, LookAhead, TrainingFailed
from tailrace.spec import PipelineSpec, cutoff

EXAMPLES = 3
"""How many rows an error message shows."""


def look_ahead(spec: PipelineSpec, late: int, examples: Sequence[Mapping[str, Any]]) -> LookAhead:
    """`late` rows of features contain values that were unknown at their day's cutoff; examples: key, ds, known_at."""
    shown = "; ".join(
        f"{_key(spec, row, '/')} known at {row[spec.features.known_column]}, due at {cutoff(spec, row['ds'])}"
        for row in examples
    )
    return LookAhead(
        f"{spec.features_table}: {_rows_contain(late)} values that were not known when predictions were due, "
        f"for example {shown}. Correct {spec.mart('features').table} in dbt so that "
        f"{spec.features.known_column} is at most {spec.schedule.cutoff} {spec.schedule.timezone} of ds, and build "
        "these days again."
    )


def repeated_keys(spec: PipelineSpec, keys: int, examples: Sequence[Mapping[str, Any]]) -> KeysRepeated:
    """This many keys have more than one row of features; examples contain the key's columns."""
    return KeysRepeated(
        f"{spec.features_table}: {_repeated(spec, keys)}, for example "
        f"{_keys(spec, examples)}. A key must identify one row over all days. Correct the dbt model, or add to "
        "features.key the column that distinguishes these rows."
    )


def repeated_outcomes(spec: PipelineSpec, keys: int, examples: Sequence[Mapping[str, Any]]) -> KeysRepeated:
    """This many keys have more than one outcome known at the same moment; examples contain the key's columns."""
    order = spec.outcome.order_column
    return KeysRepeated(
        f"{spec.outcomes_table}: {_repeated(spec, keys)} with the same {order}, for example "
        f"{_keys(spec, examples)}. A corrected outcome needs a later {order} than the outcome that it corrects: the "
        "last one counts. Correct the dbt model, or add to features.key the column that distinguishes these rows."
    )


def _repeated(spec: PipelineSpec, keys: int) -> str:
    named = f"({', '.join(spec.features.key)})"
    return f"1 key {named} appears more than once" if keys == 1 else f"{keys} keys {named} appear more than once"


def _rows_contain(number: int) -> str:
    return "1 row contains" if number == 1 else f"{number} rows contain"


def _keys(spec: PipelineSpec, examples: Sequence[Mapping[str, Any]]) -> str:
    return "; ".join(_key(spec, row, ", ") for row in examples)


def _key(spec: PipelineSpec, row: Mapping[str, Any], separator: str) -> str:
    return separator.join(str(row[column]) for column in spec.features.key)


def too_few(spec: PipelineSpec, rows: int, why: str) -> TrainingFailed:
    """The rows to compare trials on teach no adjustment; `why` is what `Problem.too_few` says."""
    return TrainingFailed(
        f"{spec.name}: the {rows} comparison rows, the later part of the training rows, {why}; train on a longer "
        "window, or as of a day with more known outcomes."
    )


def unlearnable(spec: PipelineSpec, rows: int, part: str, why: str) -> TrainingFailed:
    """The rows to learn from, or to compare trials on, teach nothing; `why` is what `Problem.unlearnable` says."""
    return TrainingFailed(
        f"{spec.name}: the {rows} {part} rows {why} of {spec.outcome.label!r}; "
        "train on a longer window, or as of a day with more known outcomes."
    )
