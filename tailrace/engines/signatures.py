"""What every stored model says of itself, the check of the columns that it receives, and its predictions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tailrace.contracts import Model
from tailrace.engines import versions
from tailrace.errors import SignatureMismatch, did_you_mean
from tailrace.problems import Problem, as_array, from_description
from tailrace.rows import role_values

DESCRIPTION = "model.json"


PROBLEM = "problem"
"""The key of the problem in a model's description. Releases up to 0.1 did not write it: their models are binary."""


def describe(folder: Path, model: Model, **description: Any) -> None:
    """Write the model's kind, its problem, the libraries that it was made with, and what loading this kind needs."""
    recorded = {"kind": model.kind, versions.RECORDED: versions.installed(model.kind)}
    said = {**recorded, PROBLEM: model.problem.described(), **description}
    (folder / DESCRIPTION).write_text(json.dumps(said, indent=2, sort_keys=False))


def problem_of(description: Mapping[str, Any]) -> Problem:
    """The problem that the stored model answers."""
    return from_description(description.get(PROBLEM))


def described_features(description: Mapping[str, Any]) -> Mapping[str, str]:
    """The input columns that a stored model's description names, and their kinds: its own or those of a part of it."""
    if "features" in description:
        return dict(description["features"])
    inner = (description[name] for name in ("model", "encoding") if isinstance(description.get(name), Mapping))
    return next((found for each in inner if (found := described_features(each))), {})


def identity(problem: Problem) -> list[dict[str, Any]]:
    """What a model's digest says of its problem: nothing for the one that all models of release 0.1 had."""
    return [] if problem == from_description(None) else [problem.described()]


def no_predictions(problem: Problem) -> pa.RecordBatch:
    """The predictions for no rows."""
    return pa.RecordBatch.from_pylist([], pa.schema([pa.field(name, pa.float64()) for name in problem.raw_columns]))


def predictions(model: Model, rows: pa.Table, *, asked: Problem | None = None) -> np.ndarray:
    """A model's predictions for rows, in their order: shape (rows,), or (rows, raw columns) if there are several.

    The columns are those of the problem `asked`, as far as the model has them, in that problem's order; without it, the
    model's own.
    """
    batches = [model.predict(batch) for batch in rows.to_batches()] or [no_predictions(model.problem)]
    found = pa.Table.from_batches(batches)
    names = (asked or model.problem).raw_columns
    return as_array(found.select([name for name in names if name in found.column_names]))


def check_columns(features: Mapping[str, str], schema: pa.Schema) -> None:
    """Raises SignatureMismatch, which lists every feature that the rows lack or have in another type."""
    problems = []
    for name, kind in features.items():
        if name not in schema.names:
            problems.append(f"column {name!r} is missing.{did_you_mean(name, schema.names)}")
        elif not role_values.fits(schema.field(name).type, kind):
            problems.append(f"column {name!r} is {schema.field(name).type}, but the model needs {kind}.")
    if problems:
        lines = "\n".join(f"  - {problem}" for problem in problems)
        raise SignatureMismatch(
            f"The features do not fit the model's signature:\n{lines}\n"
            "Train again on the present features, or score with a version that was trained on them: "
            "tailrace predict PIPELINE --date DAY --model N."
        )
