"""When a pipeline trains and predicts."""

from __future__ import annotations

import datetime as dt
import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from croniter import CroniterBadDateError, croniter

from tailrace.errors import did_you_mean
from tailrace.spec.checks import LATER

_TIME_OF_DAY = re.compile("([01][0-9]|2[0-3]):[0-5][0-9]")


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Cron expressions, read in the pipeline's own time zone; a run's day is the day on which it fires."""

    train: str | None
    """When the pipeline trains: a cron expression of five fields that fires at most once a day. None: only by hand."""
    predict: str | None
    """When the pipeline predicts: a cron expression as above. None: only by hand."""
    timezone: str = "UTC"
    """The time zone of the pipeline's days, cutoff and schedule, such as `Europe/Berlin`."""
    cutoff: str = field(default="00:00", metadata=LATER)
    """The time of day, as HH:MM, until when the day's features may have become known: later than 00:00 for a business
    whose day ends after midnight, or whose warehouse is ready in the morning."""
    start: dt.date | None = None
    """The first day that is scheduled; backfills and forms may use earlier days. None: no limit."""
    end: dt.date | None = None
    """The last day that is scheduled; backfills and forms may use later days. None: no limit."""

    def problems(self) -> Iterator[str]:
        """A sentence for each thing that is wrong."""
        if not _is_zone(self.timezone):
            yield f"schedule.timezone {self.timezone!r} is not a time zone.{did_you_mean(self.timezone, _zones())}"
        for name, cron in (("train", self.train), ("predict", self.predict)):
            if cron is not None and (wrong := _wrong_cron(cron)):
                yield (
                    f"schedule.{name} is {cron!r}{wrong}; write a cron expression of five fields, such as '30 0 * * *'."
                )
        if not _TIME_OF_DAY.fullmatch(self.cutoff):
            yield f"schedule.cutoff is {self.cutoff!r}; write a time of day as HH:MM, such as '06:00'."
            return
        for name, cron in (("train", self.train), ("predict", self.predict)):
            if cron is not None and not _wrong_cron(cron):
                yield from self._once_a_day(f"schedule.{name}", cron)
        if self.start and self.end and self.start > self.end:
            yield f"schedule.start {self.start} is after schedule.end {self.end}."

    @property
    def cutoff_time(self) -> dt.time:
        """`cutoff` as a time."""
        return dt.time.fromisoformat(self.cutoff)

    def _once_a_day(self, where: str, cron: str) -> Iterator[str]:
        """A sentence if an expression fires more than once a day, or before the day's cutoff."""
        minutes, hours = croniter(cron).expanded[:2]
        if "*" in (*minutes, *hours) or len(minutes) * len(hours) > 1:
            yield (
                f"{where} is {cron!r}, which fires more than once a day; a run works on a whole day, so name one "
                "minute and one hour, such as '30 0 * * *'."
            )
        elif dt.time(hours[0], minutes[0]) < self.cutoff_time:
            yield (
                f"{where} is {cron!r}, which fires at {dt.time(hours[0], minutes[0]):%H:%M}, before the day's cutoff "
                f"(schedule.cutoff is {self.cutoff!r}): not all that the day may use is known then. Let it fire at "
                f"{self.cutoff} or later."
            )


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
