"""When rows were taken from marts that do not say when a row became known.

The snapshot notes its own moment in the commit, and in the column `known_at` of each row. If it finds the same rows
again, it keeps the moment at which they were first taken: running it again changes nothing.

Such a mart cannot be checked for look-ahead. If a day was taken on that day, its rows are what a prediction could use
then. If it was taken later, by a backfill, they are what the mart says of that day now, which may be more than was
known then: such days are used, and named wherever they are used.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence

from tailrace import days
from tailrace.contracts import Commit, LakeReader
from tailrace.spec import PipelineSpec, cutoff

TAKEN_AT = "taken_at"
"""In a snapshot's commit, the key of the moment at which its rows were taken, if the mart has no `known_at`."""
_DIGEST = "taken_rows"
"""In such a commit, the key of the rows' SHA-256, without that moment."""


def first_moment(lake: LakeReader, table: str, day: dt.date, now: dt.datetime) -> dt.datetime:
    """The moment of the day's rows if they are those that are published; now, if none are.

    What a day holds is known only once all its rows were read, and most often it is taken again with the same rows.
    """
    metadata = _published(lake, table, day)
    return moment_of(metadata) if TAKEN_AT in metadata else now.astimezone(dt.UTC)


def notes(lake: LakeReader, table: str, day: dt.date, *, digest: str, now: dt.datetime) -> dict[str, str]:
    """The notes of the commit of the rows with this digest: the moment at which they were first taken, and the digest.

    The digest is that of `lineage.digests`.
    """
    metadata = _published(lake, table, day)
    moment = metadata[TAKEN_AT] if metadata.get(_DIGEST) == digest else now.astimezone(dt.UTC).isoformat()
    return {TAKEN_AT: moment, _DIGEST: digest}


def moment_of(noted: Mapping[str, str]) -> dt.datetime:
    """The moment in a commit's notes."""
    return dt.datetime.fromisoformat(noted[TAKEN_AT])


def late(lake: LakeReader, spec: PipelineSpec, first: dt.date, last: dt.date) -> tuple[dt.date, ...]:
    """The days first..last whose features were taken after the next day's cutoff, from a mart without `known_at`."""
    if spec.features.known_at is not None:
        return ()
    published = lake.days(spec.features_table, first=first, last=last)
    return tuple(day for day, commit in published.items() if _is_late(spec, day, commit))


def warning(spec: PipelineSpec, late_days: Sequence[dt.date]) -> str:
    """A sentence about days that were taken late; empty if there are none."""
    if not late_days:
        return ""
    after = "this day" if len(late_days) == 1 else f"these {len(late_days)} days"
    return (
        f"{spec.features_table} of {days.ranges(late_days)} were taken after {after}, and "
        f"{spec.mart('features').table} does not say when its rows became known. They may hold more than was known "
        "then: see docs/roles.md."
    )


def _published(lake: LakeReader, table: str, day: dt.date) -> Mapping[str, str]:
    """The metadata of the day's last publication."""
    commit = lake.days(table, first=day, last=day).get(day)
    return commit.metadata if commit else {}


def _is_late(spec: PipelineSpec, day: dt.date, commit: Commit) -> bool:
    moment = commit.metadata.get(TAKEN_AT)
    return moment is not None and dt.datetime.fromisoformat(moment) >= cutoff(spec, day + dt.timedelta(days=1))
