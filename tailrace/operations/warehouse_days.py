"""The days of the warehouse's nights: their time zone, and the first and the last scheduled one."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from zoneinfo import ZoneInfo

from tailrace import settings
from tailrace.errors import BadInput, SpecError
from tailrace.spec import Schedule, registry
from tailrace.spec import zone as zone_of


def zone() -> ZoneInfo:
    """The time zone of the warehouse's days: the setting, else that of all pipelines. Raises BadInput, SpecError."""
    if configured := settings.load().zone:
        return ZoneInfo(configured)
    specs, problems = registry.load(estimators=False)
    zones = {zone_of(spec) for spec in specs}
    if not zones:
        raise SpecError("No pipeline says in which time zone the warehouse's days are:", problems)
    if len(zones) > 1:
        raise BadInput(
            f"The pipelines are in several time zones ({', '.join(sorted(map(str, zones)))}), so it is not clear in "
            "which the warehouse's days are. Say it in tailrace.toml, such as: "
            f'zone = "{min(map(str, zones))}" (or set TAILRACE_ZONE).'
        )
    return zones.pop()


def schedule(cron: str) -> Schedule:
    """The schedule of the warehouse: it runs at `cron` from the first to the last day of any pipeline's schedule.

    It has no end if one of the pipelines has none, or if there are no pipelines. Raises BadInput, SpecError.
    """
    specs, _ = registry.load(estimators=False)
    starts = [spec.schedule.start for spec in specs]
    ends = [spec.schedule.end for spec in specs]
    return Schedule(train=None, predict=cron, timezone=str(zone()), start=_all(starts, min), end=_all(ends, max))


def _all(days: list[dt.date | None], choose: Callable[[list[dt.date]], dt.date]) -> dt.date | None:
    """The day that is chosen of them; None if one of them is open, or there are none."""
    given = [day for day in days if day is not None]
    return choose(given) if given and len(given) == len(days) else None
