"""What a stage's process hands back to whoever started it: its result or its error, in a file of 4096 bytes at most.

Kubernetes keeps such a file, a container's termination message, in the pod's status.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from tailrace import errors

LIMIT = 4096
"""Bytes that Kubernetes keeps of a termination message."""

_CUT = " ... (the log has the rest)"
_SPARK = "spark"
_ADDRESS = re.compile(r"[a-z]+://\S+$")
_SHORT = 64
"""Characters of a text that are always kept: more than an id or a digest has."""


class StageFailed(Exception):
    """A stage's process ended with an error that is none of Tailrace's own."""


def write_result(file: Path, rows: Sequence[Any], spark: str = "") -> None:
    """Hand back the plain fields of a stage's results (dataclasses or mappings), and the Spark application's id.

    Where they do not fit, long texts are cut, long addresses left out, and only then rows, from the end.
    """
    plain = [_plain_fields(row) for row in rows]
    keep = LIMIT
    about = _about(spark)
    while len(text := json.dumps({"rows": plain, **about})) > LIMIT:
        if keep > _SHORT:
            keep //= 2
            plain = [{name: _cut(value, keep) for name, value in row.items()} for row in plain]
        else:
            plain.pop()
    file.write_text(text)


def write_error(file: Path, error: Exception, spark: str = "") -> None:
    """Hand back an error's class and message, and the Spark application's id; a message too long is cut at its end."""
    kind, message, about = type(error).__name__, str(error), _about(spark)
    text = json.dumps({"error": kind, "message": message, **about})
    keep = len(message)
    while len(text) > LIMIT:
        # An escaped character takes up to 12 bytes, so what is too long is taken off in small steps.
        keep -= max(1, (len(text) - LIMIT) // 12)
        text = json.dumps({"error": kind, "message": message[:keep] + _CUT, **about})
    file.write_text(text)


def read(text: str) -> list[dict[str, Any]]:
    """The rows handed back, dates as text. Raises the error handed back: its own class if it is of tailrace.errors,
    else StageFailed. Raises ValueError if text was not written by this module.
    """
    held = json.loads(text)
    if isinstance(held, dict) and isinstance(held.get("rows"), list):
        return held["rows"]
    if not isinstance(held, dict) or not {"error", "message"} <= held.keys():
        raise ValueError("neither a result nor an error")
    if (own := errors.rebuilt(held["error"], held["message"])) is not None:
        raise own
    raise StageFailed(f"{held['error']}: {held['message']}")


def spark_application(text: str) -> str:
    """The id of the Spark application that the process ran; empty if it ran none, or text is not of this module."""
    try:
        held = json.loads(text)
    except ValueError:
        return ""
    return str(held.get(_SPARK, "")) if isinstance(held, dict) else ""


def _about(spark: str) -> dict[str, str]:
    return {_SPARK: spark} if spark else {}


def _cut(value: Any, keep: int) -> Any:
    if not isinstance(value, str) or len(value) <= keep + len("..."):
        return value
    # Half an address leads nowhere.
    return "" if _ADDRESS.match(value) else value[:keep] + "..."


def _plain_fields(row: Any) -> dict[str, Any]:
    fields: Mapping[str, Any] = asdict(row) if is_dataclass(row) and not isinstance(row, type) else row
    return {
        name: str(value) if isinstance(value, dt.date) else value
        for name, value in fields.items()
        if value is None or isinstance(value, str | int | float | dt.date)
    }
