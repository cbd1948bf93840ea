"""Which kind of question a label asks: yes or no, which class, or how much."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from tailrace.errors import BadInput, did_you_mean
from tailrace.problems import Problem
from tailrace.problems.binary import Binary
from tailrace.problems.multiclass import CLASS_NAME, Multiclass
from tailrace.problems.regression import Regression
from tailrace.profiling.columns import contents_of, in_short, plain

KINDS = (Binary.kind, Multiclass.kind, Regression.kind)
MOST_CLASSES = 20
RARE_CLASS = 20
"""A class of which a sample has fewer rows can hardly be learned."""
SKEWED = 1.0
"""From this skewness on, amounts of 0 or more are counted on a logarithmic scale."""


class Question(NamedTuple):
    """The kind of question, why it is this one, and what a person should know of the labels."""

    problem: Problem
    why: str
    notes: tuple[str, ...] = ()


def question_of(label: str, column: pa.ChunkedArray, kind: str = "") -> Question:
    """The question that this column's values ask. Raises BadInput with the way out if they ask none.

    `kind` chooses one; without it, the values decide.
    """
    if kind and kind not in KINDS:
        raise BadInput(f"--kind is {kind!r}; it must be one of {', '.join(KINDS)}.{did_you_mean(kind, KINDS)}")
    column = plain(column)
    known = column.drop_null()
    where = f"label {label!r} ({column.type})"
    if not len(known):
        raise BadInput(f"{where} has no value in any row that was read; a label must be known for some rows.")
    values = sorted(pc.unique(known).to_pylist(), key=lambda value: (str(type(value)), value))
    if len(values) == 1:
        raise BadInput(f"{where} is {in_short(values[0])} in every row that was read; there is nothing to predict.")
    question = _chosen(where, known, values, kind or _kind(where, known, values))
    wrong = question.problem.wrong_labels(column)
    if wrong is not None:
        raise BadInput(
            f"{where} is {wrong.what}, and {question.problem.label_rule}. Correct it in the mart, or make it null "
            "where it is unknown."
        )
    return question._replace(notes=(*question.notes, *_missing(label, column)))


def _kind(where: str, known: pa.ChunkedArray, values: Sequence[object]) -> str:
    """The kind that the values are of."""
    holds = contents_of(known.type)
    if holds == "flag" or (holds == "number" and set(values) == {0, 1}):
        return Binary.kind
    if holds == "text":
        return Multiclass.kind
    if holds == "number":
        return Regression.kind
    raise BadInput(f"{where} is of no type that can be predicted; use a boolean, a number or a text.")


def _chosen(where: str, known: pa.ChunkedArray, values: Sequence[object], kind: str) -> Question:
    if kind == Binary.kind:
        return _binary(where, known, values)
    return _multiclass(where, known, values) if kind == Multiclass.kind else _regression(where, known, values)


def _binary(where: str, known: pa.ChunkedArray, values: Sequence[object]) -> Question:
    if not pa.types.is_boolean(known.type) and not (pa.types.is_integer(known.type) and set(values) <= {0, 1}):
        if set(values) == {0, 1}:
            raise BadInput(f"{where} has only 0 and 1; cast it to boolean in the mart, or choose --kind regression.")
        raise BadInput(f"{where} has {_some(values)}; {Binary.label_rule}. Compute a boolean in the mart.")
    share = pc.mean(known.cast(pa.float64() if not pa.types.is_boolean(known.type) else pa.int8())).as_py()
    notes = _rare({True: share * len(known), False: (1 - share) * len(known)})
    return Question(Binary(), f"it is true or false; true in {share:.1%} of the rows", notes)


def _multiclass(where: str, known: pa.ChunkedArray, values: Sequence[object]) -> Question:
    if not (contents_of(known.type) == "text" or pa.types.is_integer(known.type)):
        raise BadInput(f"{where} cannot be a class; classes are texts or whole numbers. Cast it in the mart.")
    if len(values) > MOST_CLASSES:
        raise BadInput(
            f"{where} has {len(values)} values, such as {_some(values)}; at most {MOST_CLASSES} are proposed as "
            "classes. Group them in the mart."
        )
    if bad := [value for value in values if not CLASS_NAME.fullmatch(str(value))]:
        raise BadInput(
            f"{where} has the values {_some(bad)}; a class becomes part of a column's name, so it may have only "
            "letters, digits and underscores. Rename them in the mart."
        )
    counted = {each["values"]: each["counts"] for each in known.value_counts().to_pylist()}
    problem = Multiclass(classes=tuple(values))  # type: ignore[arg-type]
    for sentence in problem.problems():
        raise BadInput(f"{where}: {sentence}")
    return Question(problem, f"it has {len(values)} classes", _rare(counted))


def _regression(where: str, known: pa.ChunkedArray, values: Sequence[object]) -> Question:
    from scipy.stats import skew

    if contents_of(known.type) != "number":
        raise BadInput(f"{where} is no number, so no regression can predict it. Cast it in the mart.")
    finite = known.cast(pa.float64(), safe=False)
    finite = finite.filter(pc.is_finite(finite))
    least, skewness = pc.min(finite).as_py(), float(skew(finite.to_numpy()))
    counts = least is not None and least >= 0 and skewness > SKEWED
    why = "it is a number" + (f" of 0 or more, with a few large ones (skewness {skewness:.1f})" if counts else "")
    few = pa.types.is_integer(known.type) and len(values) <= MOST_CLASSES
    notes = (f"It has only {len(values)} values: if they name classes, choose --kind multiclass.",) if few else ()
    return Question(Regression(link="log") if counts else Regression(), why, notes)


def _rare(rows: dict[object, float]) -> tuple[str, ...]:
    rare = [f"{in_short(value)} in {round(count)} rows" for value, count in rows.items() if round(count) < RARE_CLASS]
    return (f"It is {' and '.join(rare)} of those that were read: too few to learn from.",) if rare else ()


def _missing(label: str, column: pa.ChunkedArray) -> tuple[str, ...]:
    share = column.null_count / len(column)
    return (f"It is missing in {share:.0%} of the rows: these teach nothing.",) if share > 0.5 else ()


def _some(values: Sequence[object]) -> str:
    named = ", ".join(repr(in_short(value)) for value in values[:3])
    return named if len(values) <= 3 else f"{named} and {len(values) - 3} more"
