"""The description stored with every model (its kind and libraries), and the check of the columns that it receives."""

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
    """Write the model's kind, the libraries that it was made with, and what loading this kind needs."""
    recorded = {"kind": kind, versions.RECORDED: versions.installed(kind), **description}
    (folder / DESCRIPTION).write_text(json.dumps(recorded, indent=2, sort_keys=False))


def check_columns(features: Mapping[str, str], schema: pa.Schema) -> None:
    """Raises SignatureMismatch, which lists every feature that the rows lack or have in another type."""
    problems = []
    for name, kind in features.items():
        if name not in schema.names:
            problems.append(f"column {name!r} is missing.{did_you_mean(name, schema.names)}")
        elif not roles.fits(schema.field(name).type, kind):
            problems.append(f"column {name!r} is {schema.field(name).type}, but the model needs {kind}.")
    if problems:
        lines = "\n".join(f"  - {problem}" for problem in problems)
        raise SignatureMismatch(
            f"The features do not fit the model's signature:\n{lines}\n"
            "Train again on the present features, or score with a version that was trained on them (--model N)."
        )
