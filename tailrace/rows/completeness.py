"""Which days of a pipeline's tables should be published and are not.

A day's features and outcomes are two commits, one after the other. A night that did not run, or that ended between
the two commits, leaves a gap. Code that reads a window of days must detect such gaps.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence

from tailrace import days
from tailrace.contracts import LakeReader
from tailrace.spec import PipelineSpec

_DAY = dt.timedelta(days=1)
Range = tuple[dt.date, dt.date]
Missing = Mapping[str, Sequence[dt.date]]
"""The missing days of each table that misses any, in order."""


def missing(lake: LakeReader, spec: PipelineSpec, *, features: Range, outcomes: Range) -> Missing:
    """The days of both ranges that are not published; the last day of `outcomes` is always due.

    Days before the first published day are not due. The outcomes of that first day are not due either: the outcomes
    known by its cutoff belong to days before it.
    """
    ranges = {spec.features_table: features, spec.outcomes_table: outcomes}
    if all(len(lake.days(table, first=a, last=b)) == (b - a).days + 1 for table, (a, b) in ranges.items()):
        # Only for days that are missing does it matter which days were the first ones.
        return {}
    published = {table: lake.days(table) for table in (spec.features_table, spec.outcomes_table)}
    begun = min((day for days_of_table in published.values() for day in days_of_table), default=features[0])
    due = {
        spec.features_table: days.span(max(features[0], begun), features[1]),
        spec.outcomes_table: days.span(min(max(outcomes[0], begun + _DAY), outcomes[1]), outcomes[1]),
    }
    found = {table: [day for day in wanted if day not in published[table]] for table, wanted in due.items()}
    return {table: absent for table, absent in found.items() if absent}


def missing_outcomes(lake: LakeReader, spec: PipelineSpec, first: dt.date, last: dt.date) -> Missing:
    """The days from `first` to `last` that lack outcomes although their features, or any later day, are published.

    The first published day is left out, as in `missing`. Of the days after `last`, those with rows count.
    """
    outcomes = lake.days(spec.outcomes_table, first=first - _DAY, last=last)
    if all(day in outcomes for day in days.span(first, last)):
        return {}
    published = {*outcomes, *lake.days(spec.features_table, first=first - _DAY, last=last)}
    if first - _DAY not in published:
        # At the beginning of a pipeline: its first day decides, and its history is short.
        published = {*lake.days(spec.outcomes_table), *lake.days(spec.features_table)}
    if not published:
        return {}
    later = last in published or _has_rows_after(lake, spec, last)
    span = days.span(max(first, min(published) + _DAY), last if later else min(last, max(published)))
    absent = [day for day in span if day not in outcomes]
    return {spec.outcomes_table: absent} if absent else {}


def _has_rows_after(lake: LakeReader, spec: PipelineSpec, day: dt.date) -> bool:
    """Whether a later day has features or outcomes. The list of files says so; no history is read for it."""
    tables = (spec.features_table, spec.outcomes_table)
    return any(lake.exists(table) and lake.pin(table, first=day + _DAY).files for table in tables)


def sentence(missing: Missing) -> str:
    """Which days are missing, and the command that publishes them."""
    named = " and ".join(f"{table} of {days.ranges(absent)}" for table, absent in missing.items())
    every = sorted(day for absent in missing.values() for day in absent)
    to = f" --to {every[-1]}" if every[-1] > every[0] else ""
    return (
        f"{named} {'is' if len(every) == 1 else 'are'} not published; run the warehouse for these days first: "
        f"tailrace warehouse --date {every[0]}{to}."
    )
