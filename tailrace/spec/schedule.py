"""When a pipeline trains and predicts."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from croniter import CroniterBadDateError, croniter

from tailrace.errors import did_you_mean


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Cron expressions, read in the pipeline's own time zone.

    Runs are scheduled from `start` to `end`, both included; backfills and forms are free to go beyond.
    """

    train: str | None
    predict: str | None
    timezone: str = "UTC"
    start: dt.date | None = None
    end: dt.date | None = None

    def problems(self) -> Iterator[str]:
        """A sentence for each thing that is wrong."""
        if not _is_zone(self.timezone):
            yield f"schedule.timezone {self.timezone!r} is not a time zone.{did_you_mean(self.timezone, _zones())}"
        for name, cron in (("train", self.train), ("predict", self.predict)):
            if cron is not None and (wrong := _wrong_cron(cron)):
                yield (
                    f"schedule.{name} is {cron!r}{wrong}; write a cron expression of five fields, such as '30 0 * * *'."
                )
        if self.start and self.end and self.start > self.end:
            yield f"schedule.start {self.start} is after schedule.end {self.end}."


def _wrong_cron(cron: str) -> str | None:
    """What is wrong with a cron expression, as the part of a sentence; None if nothing is."""
    fields = len(cron.split())
    if fields != 5:
        return f", which has {fields} field{'' if fields == 1 else 's'}"
    try:
        croniter(cron, dt.datetime(2000, 1, 1)).get_next()
    except CroniterBadDateError:
        return ", a date that never comes"
    except ValueError:  # croniter's own errors, and numbers of thousands of digits
        return ", which is no cron expression"
    return None


def _is_zone(name: str) -> bool:
    """Whether it is one of `_zones`, without reading them all: every parse of a DAG file asks."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    # Copies of other zones, and this machine's own: not in `available_timezones`, though there are such files.
    return name not in ("localtime", "posixrules") and name.split("/")[0] not in ("posix", "right")


@functools.cache
def _zones() -> frozenset[str]:
    """Time zones that are the same on every machine."""
    return frozenset(available_timezones() - {"localtime"})
