"""The inputs of a run or a commit as text that is stored with it: lake pins, and days of the source."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections.abc import Mapping

from tailrace.contracts import Pin
from tailrace.lineage import run_tags

SOURCE_DAYS = "source_days"
"""In a snapshot's commit, the key of the source days from which dbt built the rows."""
EMPTY = "empty_because"
"""In the snapshot's commit of a day without rows, the key of the reason why it has none."""
_DIGITS = 16
"""How much of each source day's SHA-256 is stored: each commit lists many days, and 64 bits tell them apart."""


def to_json(pin: Pin) -> str:
    """The pin as a JSON object, days as YYYY-MM-DD."""
    return json.dumps(dataclasses.asdict(pin), default=dt.date.isoformat, sort_keys=True)


def from_json(text: str) -> Pin:
    """The pin from the text that `to_json` wrote."""
    fields = json.loads(text)
    for side in ("first", "last"):
        fields[side] = fields[side] and dt.date.fromisoformat(fields[side])
    return Pin(**fields)


def to_tags(pins: Mapping[str, Pin]) -> dict[str, str]:
    """Tags that store a run's pins by role, so that they can be read back."""
    return {run_tags.PIN + role: to_json(pin) for role, pin in pins.items()}


def from_tags(tags: Mapping[str, str]) -> dict[str, Pin]:
    """The pins of a run by role, from `RunRecord.tags`."""
    return {
        name.removeprefix(run_tags.PIN): from_json(text) for name, text in tags.items() if name.startswith(run_tags.PIN)
    }


def source_note(sources: Mapping[dt.date, str]) -> dict[str, str]:
    """The source days as metadata for a commit; empty if there are none."""
    shortened = {day.isoformat(): digest[:_DIGITS] for day, digest in sources.items()}
    return {SOURCE_DAYS: json.dumps(shortened)} if shortened else {}


def source_days(metadata: Mapping[str, str]) -> dict[dt.date, str]:
    """The source days that `source_note` put into a commit's metadata, oldest first, each with its digest."""
    noted = json.loads(metadata.get(SOURCE_DAYS, "{}"))
    return {dt.date.fromisoformat(day): digest for day, digest in sorted(noted.items())}
