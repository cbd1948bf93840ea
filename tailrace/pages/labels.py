"""States as text: what happened to a day, why a run stopped, when something happened."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import Literal
from zoneinfo import ZoneInfo

from tailrace.contracts import Commit
from tailrace.pages.activity import Attempt

DayState = Literal["published", "warned", "refused", "failed", "running", "missing"]

NAMES: dict[str, str] = {
    "published": "published",
    "warned": "published, with warnings or after a refused rerun",
    "refused": "refused: the data or the model did not pass a check",
    "failed": "failed: a task ended with an error",
    "running": "running or waiting to run",
    "missing": "not published",
}
"""The meaning of the calendar's colours and signs."""

SIGNS: dict[str, str] = {
    "published": "✓",
    "warned": "✓!",
    "refused": "✕",
    "failed": "!",
    "running": "…",
    "missing": "–",
}

LONGEST = 140
SERVED_BY = {
    "as-of": "the champion as of the day",
    "current": "today's champion, as requested",
}


@dataclass(frozen=True)
class State:
    """A kind, which determines colour and sign, and a sentence."""

    kind: DayState
    sentence: str


def state_of(commit: Commit | None, attempt: Attempt | None, zone: ZoneInfo, today: dt.date) -> State:
    """What happened to a day, from its last publication and its last run."""
    if attempt is not None and attempt.outcome in ("running", "queued"):
        if attempt.waits:
            return State("running", f"{attempt.task} will be retried: {short(attempt.error) or 'see its log'}")
        doing = f"{attempt.task or 'run'} is {attempt.outcome}" if attempt.task else f"a run is {attempt.outcome}"
        return State("running", f"{doing} since {clock(attempt.at, zone, today)}")
    stopped = attempt is not None and attempt.outcome == "failed"
    if attempt is not None and stopped and (commit is None or attempt.at > commit.recorded_at):
        why = reason(attempt)
        if commit is None:
            return State("refused" if why.startswith("refused") else "failed", why)
        return State("warned", f"{published(commit, zone, today)}; a rerun was {why}".replace("was failed", "failed"))
    if commit is None:
        return State("missing", "not published")
    warnings = commit.metadata.get("audit_warnings") or "0"
    if warnings == "0":
        return State("published", published(commit, zone, today))
    return State("warned", f"{published(commit, zone, today)}, with {warnings} warning{'' if warnings == '1' else 's'}")


def published(commit: Commit, zone: ZoneInfo, today: dt.date) -> str:
    """For example 'published 03:12 by v7'."""
    version = commit.metadata.get("model_version")
    return f"published {clock(commit.recorded_at, zone, today)}" + (f" by v{version}" if version else "")


def reason(attempt: Attempt) -> str:
    """Why a run stopped, in short: for example 'refused: 31% of the scores are null in audit'."""
    reason = short(attempt.error) or "its log says why"
    task = attempt.task.rpartition(".")[2]
    refused = "refuse" in attempt.error.lower() or task in ("audit", "validate")
    return f"{'refused' if refused else 'failed'}{f' in {task}' if task else ''}: {reason}"


def short(error: str) -> str:
    """The first problem that an error lists, or its first sentence."""
    lines = [line.strip() for line in error.strip().splitlines() if line.strip()]
    if not lines:
        return ""
    listed = next((line.removeprefix("- ") for line in lines if line.startswith("- ")), None)
    first = listed or re.split(r"(?<=[.!?]) ", lines[0])[0]
    return first if len(first) <= LONGEST else first[: LONGEST - 1].rstrip() + "…"


def served_by(commit: Commit) -> str:
    """Which model was requested, and whether it has seen data from after the day's cutoff."""
    choice = commit.metadata.get("model_choice", "as-of")
    words = SERVED_BY.get(choice, "the version requested by its number")
    ahead = commit.metadata.get("look_ahead") == "true"
    return words + ("; it was trained on later data (look-ahead)" if ahead else "")


def clock(moment: dt.datetime, zone: ZoneInfo, today: dt.date) -> str:
    """In the pipeline's time zone: only the time for today, day and time for this year, else the full date and time."""
    local = moment.astimezone(zone)
    if local.date() == today:
        return f"{local:%H:%M}"
    return f"{local:%b} {local.day}, {local:%H:%M}" if local.year == today.year else f"{local:%Y-%m-%d %H:%M}"
