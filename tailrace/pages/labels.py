"""States as text: what happened to a day, why a run stopped, when something happened."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from zoneinfo import ZoneInfo

from tailrace.champions.promotions import Promotion
from tailrace.contracts import Commit
from tailrace.lineage import identity
from tailrace.operations.day_states import Attempt, BrokenLink, DayState

Kind = Literal["published", "warned", "outdated", "refused", "failed", "running", "missing", "idle"]

NAMES: dict[str, str] = {
    "published": "published",
    "warned": "published, with warnings, or a later run was refused or failed",
    "outdated": "published, and out of date: it would be predicted otherwise now",
    "refused": "refused: the data or the model did not pass a check",
    "failed": "failed: a task ended with an error",
    "running": "running or waiting to run",
    "missing": "not published",
    "idle": "not due",
}
"""The meaning of the calendar's colours and signs."""

SIGNS: dict[str, str] = {
    "published": "✓",
    "warned": "✓!",
    "outdated": "↻",
    "refused": "✕",
    "failed": "!",
    "running": "…",
    "missing": "–",
    "idle": "·",
}

KINDS: dict[str, Kind] = {
    "out of date": "outdated",
    "refused": "refused",
    "failed": "failed",
    "running": "running",
    "not published": "missing",
    "not due": "idle",
}
"""Of a status that does not depend on anything else."""

LONGEST = 140
NAMED_REPORT = re.compile(r"\s*\b(?:Report|Data Docs): .*$", re.MULTILINE)
SERVED_BY = {
    "as-of": "the champion as of the day",
    "current": "the champion at that time, as requested",
}


@dataclass(frozen=True)
class State:
    """A kind, which determines colour and sign, and a sentence."""

    kind: Kind
    sentence: str


def state_of(state: DayState, zone: ZoneInfo, today: dt.date) -> State:
    """The state of a day in words."""
    made = state.published
    if state.status == "running" and state.running is not None:
        before = f"; before that, it was {published(made, zone, today)}" if made else ""
        return State("running", _running(state.running, zone, today) + before)
    if made is None:
        return State(KINDS[state.status], _unpublished(state))
    warnings = f", with {state.warnings} warning{'' if state.warnings == 1 else 's'}" if state.warnings else ""
    remarks = [f"out of date: {why}" for why in state.outdated] + [_again(each) for each in state.broken]
    plain: Kind = "warned" if state.warnings or state.broken else "published"
    sentence = "; ".join([published(made, zone, today) + warnings, *remarks])
    return State(KINDS.get(state.status, plain), sentence)


def _running(attempt: Attempt, zone: ZoneInfo, today: dt.date) -> str:
    if attempt.waits:
        return f"{attempt.link} will be retried: {short(attempt.error) or 'see its log'}"
    return f"{attempt.link if attempt.task else 'a run'} is {attempt.outcome} since {clock(attempt.at, zone, today)}"


def _unpublished(state: DayState) -> str:
    """The first broken link and why, and what else is broken."""
    if state.first_broken is None:
        return state.status
    first, *others = state.broken
    told = "; ".join([reason(first.attempt), *(_briefly(each) for each in others)])
    return told if state.status != "not due" else f"not due: nothing of this day was built; a run by hand {told}"


def _briefly(link: BrokenLink) -> str:
    return f"{link.name} {'refused it' if link.refused else 'failed'} too"


def _again(link: BrokenLink) -> str:
    """What broke after the day was published."""
    why = reason(link.attempt)
    if link.attempt.kind == "monitor":
        return why
    what = "a rerun" if link.attempt.kind == "predict" else "a later build of its tables"
    return f"{what} {'was ' if link.refused else ''}{why}"


def published(commit: Commit, zone: ZoneInfo, today: dt.date) -> str:
    """For example 'published 03:12 by v7'."""
    version = commit.metadata.get("model_version")
    return f"published {clock(commit.recorded_at, zone, today)}" + (f" by v{version}" if version else "")


def reason(attempt: Attempt) -> str:
    """Why a run stopped, in short: for example 'refused in audit: 31% of the scores are null'."""
    why = short(attempt.error) or "its log says why"
    at = f" in {attempt.link}" if attempt.task else ""
    return f"{'refused' if attempt.refused else 'failed'}{at}: {why}"


def open_words(found: Mapping[str, Sequence[dt.date]]) -> str:
    """Which days somebody should look at: for example '2 refused, 1 failed'."""
    return ", ".join(f"{len(days)} {status}" for status, days in found.items())


def without_paths(error: str) -> str:
    """An error without the places of reports on the server, which the pages link to."""
    return NAMED_REPORT.sub("", error).strip()


def short(error: str) -> str:
    """The first problem that an error lists, or its first sentence."""
    lines = [line.strip() for line in error.strip().splitlines() if line.strip()]
    if not lines:
        return ""
    listed = next((line.removeprefix("- ") for line in lines if line.startswith("- ")), None)
    first = listed or re.split(r"(?<=[.!?]) ", lines[0])[0]
    return first if len(first) <= LONGEST else first[: LONGEST - 1].rstrip() + "…"


def served_by(commit: Commit, champion: Promotion | None = None) -> str:
    """Which model was requested, and whether it has seen data from after the day's cutoff.

    `champion` is the champion as of the day by the decisions in force now; the commit may have been made by another.
    """
    choice = commit.metadata.get("model_choice", "as-of")
    words = SERVED_BY.get(choice, "the version requested by its number")
    used = identity.of_commit(commit.metadata)
    if choice == "as-of" and champion is not None and used.version and used.differs(champion.model):
        words = f"the champion as of the day at that time; by the decisions in force now, that is v{champion.version}"
    ahead = commit.metadata.get("look_ahead") == "true"
    return words + ("; it was trained on later data (look-ahead)" if ahead else "")


def clock(moment: dt.datetime, zone: ZoneInfo, today: dt.date) -> str:
    """In the pipeline's time zone: only the time for today, day and time for this year, else the full date and time."""
    local = moment.astimezone(zone)
    if local.date() == today:
        return f"{local:%H:%M}"
    return f"{local:%b} {local.day}, {local:%H:%M}" if local.year == today.year else f"{local:%Y-%m-%d %H:%M}"
