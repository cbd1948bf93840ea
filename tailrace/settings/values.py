"""The kinds of values that settings have, and how each is read from a text."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from tailrace.settings.fields import MOST_SEED, NATIVE_READERS, NEVER


class ValueKind(NamedTuple):
    """How a text is read (None: it is wrong), and what it must be."""

    read: Callable[[str], Any]
    wanted: str


def matching(pattern: str) -> Callable[[str], str | None]:
    return lambda text: text if re.fullmatch(pattern, text) else None


def whole_number(least: int, most: int = 2**63 - 1) -> Callable[[str], int | None]:
    """Reads ASCII digits: `int` also takes those of other scripts, and refuses some thousands of them."""
    return lambda text: int(text) if re.fullmatch("[0-9]{1,19}", text) and least <= int(text) <= most else None


def switch(text: str) -> bool | None:
    return {"true": True, "1": True, "false": False, "0": False}.get(text.lower())


def json_object(text: str) -> dict[str, str] | None:
    """The object if text is a JSON object of strings, else None."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if isinstance(value, dict) and all(isinstance(v, str) for v in value.values()):
        return value
    return None


def is_time_zone(text: str) -> bool:
    try:
        ZoneInfo(text)
    except (LookupError, ValueError, OSError):
        return False
    return True


def upkeep_schedule(text: str) -> str | None:
    """The text if it is a cron expression of five fields that comes true, or says that there is no schedule."""
    if text == NEVER:
        return text
    from croniter import croniter

    try:
        croniter(text, dt.datetime(2000, 1, 1)).get_next()
    except ValueError:  # croniter's own errors are among them
        return None
    return text if len(text.split()) == 5 else None


def listed(names: Sequence[str], last: str = "and") -> str:
    """The names as a sentence has them: a, b and c."""
    return f" {last} ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


TEXT = ValueKind(str, "a text")
MINUTES = ValueKind(whole_number(0, 10_000), "a whole number from 0 to 10000")
COUNT = ValueKind(whole_number(1), "a whole number of 1 or more")
SEED = ValueKind(whole_number(0, MOST_SEED), f"a whole number from 0 to {MOST_SEED}")
MEMORY = ValueKind(matching(r"[1-9]\d*[kmgt]"), "a whole number and a unit k, m, g or t, such as '2g'")
POD_MEMORY = ValueKind(matching(r"[1-9]\d*(Mi|Gi)"), "a whole number and Mi or Gi, such as '4Gi'")
OBJECT = ValueKind(json_object, "a JSON object of strings")
SPARK: Mapping[str, ValueKind] = {
    "master": ValueKind(
        matching(r"local\[([1-9]\d*|\*)(, ?[1-9]\d*)?\]|spark://[^\s/:]+:\d+(,[^\s/:]+:\d+)*|k8s://\S+"),
        "local[N], local[*], spark://host:port or k8s://https://host:port",
    ),
    "driver_memory": MEMORY,
    "executor_memory": MEMORY,
    "executor_memory_overhead": MEMORY,
    "node_memory": MEMORY,
    "executor_cores": COUNT,
    "executors": COUNT,
    "executor_wait_seconds": COUNT,
    "node_cores": ValueKind(whole_number(0), "a whole number of 0 or more"),
    "dynamic_allocation": ValueKind(switch, "true or false"),
    "native_reader": ValueKind(lambda text: text if text in NATIVE_READERS else None, "empty or 'delta'"),
    "conf": OBJECT,
}
"""The kinds of the engine `spark`'s settings; those not named here are texts."""
_MOST_DAYS = 36_525
_DAYS = ValueKind(whole_number(0, _MOST_DAYS), f"a whole number of days up to {_MOST_DAYS}, or 0 to keep it forever")
UPKEEP: Mapping[str, ValueKind] = {
    "dag": ValueKind(
        matching(r"(?!warehouse$)(?!.*__)[\w.-]{1,200}"), "the id of a DAG that no other DAG has, without '__'"
    ),
    "schedule": ValueKind(upkeep_schedule, f"a cron expression of five fields, such as '30 5 * * 0', or {NEVER!r}"),
    "lake_days": ValueKind(whole_number(1, _MOST_DAYS), f"a whole number of days from 1 to {_MOST_DAYS}"),
    "data_docs_days": _DAYS,
    "models_days": _DAYS,
    "landing_days": _DAYS,
}
"""The kinds of the settings of upkeep."""
