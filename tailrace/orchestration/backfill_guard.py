"""Refuses backfills that would not do what their form says, before Airflow makes a run: in its form and its REST API.

Airflow's form drops parameters unless a box is ticked, takes any number of runs at once by REST, and would run a DAG
backwards whose days build on those before, or make a run for every day of a mistyped century. Airflow's own command
line does not come through here: there the first task of every run refuses lost parameters and days in the future.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any

from tailrace.lineage.dag_ids import kind_of
from tailrace.operations.limits import AT_ONCE

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

PATH = "/api/v2/backfills"
OLDEST_FIRST = ("warehouse",)
"""Kinds whose days build on those before."""
A_DAY = dt.timedelta(days=1)
"""Today ends that much later at the most, in whatever zone it is meant."""
MOST_DAYS = 1000
"""Days of a range: Airflow creates a run for each of them before it answers."""
LARGEST = 1 << 20
"""Bytes of a request's body that are looked at; a larger one is no backfill of ours."""


class BackfillDoor:
    """ASGI middleware: answers 422 with all that is wrong, in Airflow's own form of an error."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """See ASGI."""
        wanted = scope["type"] == "http" and scope["method"] == "POST" and scope["path"].rstrip("/").endswith(PATH)
        if not wanted:
            await self._app(scope, receive, send)
            return
        held, body = [], b""
        while len(body) <= LARGEST:
            held.append(await receive())
            body += held[-1].get("body", b"")
            if not held[-1].get("more_body", False):
                break
        if refused := " ".join(problems(body)):
            await _answer(send, refused)
            return

        async def replay() -> Message:
            return held.pop(0) if held else await receive()

        await self._app(scope, replay, send)


def problems(body: bytes) -> Iterator[str]:
    """What is wrong with a request for a backfill, a sentence each; nothing if it is not for a DAG of Tailrace's."""
    try:
        asked = json.loads(body)
    except ValueError:
        return
    kind = kind_of(str(asked.get("dag_id", ""))) if isinstance(asked, dict) else ""
    if kind not in AT_ONCE:
        return
    at_once = _number(asked.get("max_active_runs", 10))
    if at_once is not None and at_once > AT_ONCE[kind]:
        yield (
            f"At most {AT_ONCE[kind]} runs of a backfill of {asked['dag_id']} may be active at once, not {at_once:g}: "
            "the nights need workers too (max_active_runs)."
        )
    if asked.get("run_backwards") and kind in OLDEST_FIRST:
        yield f"{asked['dag_id']} is backfilled oldest day first, since features look back: leave 'Run backwards' off."
    first, last = _moment(asked.get("from_date")), _moment(asked.get("to_date"))
    if last and last > dt.datetime.now(dt.UTC) + A_DAY:
        yield f"The range ends {last.date()}, in the future, where its runs would wait: end it today (to_date)."
    if first and last and (days := (last - first).days + 1) > MOST_DAYS:
        yield f"The range has {days:,} days; a backfill takes at most {MOST_DAYS:,}. Check the years of the two dates."
    if first and first.time() != dt.time():
        yield (
            f"The range begins at {first:%H:%M} of {first.date()}. Its bounds are days of the pipeline's time zone, "
            "whatever zone they are written in: begin it at 00:00 (from_date). A page that shows other times than it "
            "sends is set to another time zone; set it to UTC."
        )
    if not isinstance(asked.get("dag_run_conf"), dict):
        yield (
            "A backfill states its parameters (dag_run_conf): tick 'Override parameters on existing runs', without "
            "which Airflow's form drops them."
        )


def _number(value: Any) -> float | None:
    """A number as Airflow reads it, also where it is written as text; None for what Airflow itself will refuse."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _moment(text: Any) -> dt.datetime | None:
    """A time of the request's; None for what Airflow itself will refuse."""
    try:
        moment = dt.datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)


async def _answer(send: Send, sentence: str) -> None:
    body = json.dumps({"detail": sentence}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 422, "headers": headers})
    await send({"type": "http.response.body", "body": body})
