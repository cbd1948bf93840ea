"""What every stored model says of itself: its kind and libraries, and the check of the columns that it is given."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from tailrace.engines import versions
from tailrace.errors import SignatureMismatch, did_you_mean
from tailrace.rows import roles

DESCRIPTION = "model.json"


def describe(folder: Path, kind: str, **description: Any) -> None:
    """Write the model's kind, the libraries that it was made with, and what its kind needs to load it."""
    told = {"kind": kind, versions.RECORDED: versions.installed(kind), **description}
    (folder / DESCRIPTION).write_text(json.dumps(told, indent=2, sort_keys=False))


def check_columns(features: Mapping[str, str], schema: pa.Schema) -> None:
    """Raises SignatureMismatch listing every feature that the rows lack or hold as another type."""
    problems = []
    for name, kind in features.items():
        if name not in schema.names:
            problems.append(f"column {name!r} is missing.{did_you_mean(name, schema.names)}")
        elif not roles.fits(schema.field(name).type, kind):
            problems.append(f"column {name!r} is {schema.field(name).type}, the model takes it as {kind}.")
    if problems:
        lines = "\n".join(f"  - {problem}" for problem in problems)
        raise SignatureMismatch(
            f"The features do not fit the model's signature:\n{lines}\n"
            "Train again on the features as they are, or score with a version trained on them (--model N)."
        )
