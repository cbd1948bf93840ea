"""A lake pin as the text that a run carries in its tags."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections.abc import Mapping

from pipelines.interfaces import Pin

PREFIX = "tailrace.pin."


def to_json(pin: Pin) -> str:
    """The pin as a JSON object, days as YYYY-MM-DD."""
    return json.dumps(dataclasses.asdict(pin), default=dt.date.isoformat, sort_keys=True)


def from_json(text: str) -> Pin:
    """The pin that `to_json` wrote."""
    fields = json.loads(text)
    for side in ("first", "last"):
        fields[side] = fields[side] and dt.date.fromisoformat(fields[side])
    return Pin(**fields)


def to_tags(pins: Mapping[str, Pin]) -> dict[str, str]:
    """The tags that let a run's pins be found again, by role."""
    return {PREFIX + role: to_json(pin) for role, pin in pins.items()}


def from_tags(tags: Mapping[str, str]) -> dict[str, Pin]:
    """The pins of a run by role, out of `RunRecord.tags`."""
    return {name.removeprefix(PREFIX): from_json(text) for name, text in tags.items() if name.startswith(PREFIX)}
