"""The result or the error of a stage's process, in a file of at most 4096 bytes that its parent process reads.

On Kubernetes the file is the container's termination message, which Kubernetes keeps in the pod's status.
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
"""The size limit of a termination message on Kubernetes, in bytes."""

_CUT = " ... (the log has the rest)"
_SPARK = "spark"
_ADDRESS = re.compile(r"[a-z]+://\S+$")
_SHORT = 64
"""A text up to this many characters is never cut; ids and digests are shorter."""


class StageFailed(Exception):
    """A stage's process ended with an error that is not one of Tailrace's own."""


def write_result(file: Path, rows: Sequence[Any], spark: str = "") -> None:
    """Write the plain fields of a stage's results (dataclasses or mappings) and the Spark application's id.

    If they are too long, long texts are cut, then long URLs are left out, and only then rows, starting with the last.
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
    """Write an error's class and message and the Spark application's id; a message that is too long is cut."""
    kind, message, about = type(error).__name__, str(error), _about(spark)
    text = json.dumps({"error": kind, "message": message, **about})
    keep = len(message)
    while len(text) > LIMIT:
        # An escaped character takes up to 12 bytes, so the message is shortened in small steps.
        keep -= max(1, (len(text) - LIMIT) // 12)
        text = json.dumps({"error": kind, "message": message[:keep] + _CUT, **about})
    file.write_text(text)


def read(text: str) -> list[dict[str, Any]]:
    """The rows of the result, dates as text. Raises the error in the file: its own class if it is in tailrace.errors,
    else StageFailed. Raises ValueError if this module did not write the text.
    """
    content = json.loads(text)
    if isinstance(content, dict) and isinstance(content.get("rows"), list):
        return content["rows"]
    if not isinstance(content, dict) or not {"error", "message"} <= content.keys():
        raise ValueError("neither a result nor an error")
    if (own := errors.rebuilt(content["error"], content["message"])) is not None:
        raise own
    raise StageFailed(f"{content['error']}: {content['message']}")


def spark_application(text: str) -> str:
    """The id of the process's Spark application; empty if there was none, or if this module did not write the text."""
    try:
        content = json.loads(text)
    except ValueError:
        return ""
    return str(content.get(_SPARK, "")) if isinstance(content, dict) else ""


def _about(spark: str) -> dict[str, str]:
    return {_SPARK: spark} if spark else {}


def _cut(value: Any, keep: int) -> Any:
    if not isinstance(value, str) or len(value) <= keep + len("..."):
        return value
    # A URL that is cut in half is useless.
    return "" if _ADDRESS.match(value) else value[:keep] + "..."


def _plain_fields(row: Any) -> dict[str, Any]:
    fields: Mapping[str, Any] = asdict(row) if is_dataclass(row) and not isinstance(row, type) else row
    return {
        name: str(value) if isinstance(value, dt.date) else value
        for name, value in fields.items()
        if value is None or isinstance(value, str | int | float | dt.date)
    }
