"""What looks like a leak: a column that tells the label because it was written when the label was known."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from tailrace.problems import Problem
from tailrace.profiling.associations import ALMOST, Association
from tailrace.profiling.columns import ColumnProfile, contents_of, in_short, plain

FEWEST_MISSING = 20
"""So few missing values may be of one class by chance."""
CHANCE = 1e-6
"""The probability below which it is no chance that missing values go with a class (Fisher's exact test)."""
PURE = 0.99
CHANGED = 0.01
"""A share of rows that changed after the event, from which on it is no correction of single rows."""


class Leak(NamedTuple):
    """A column that looks like a leak, and why."""

    column: str
    why: str


class Times(NamedTuple):
    """The columns that say when: of the event, of the day, and of when the row became known, if there is one."""

    event: str
    day: str
    known_at: str | None


def leaks(
    rows: pa.Table,
    profiles: Sequence[ColumnProfile],
    *,
    label: str | None,
    problem: Problem,
    found: Mapping[str, Association],
    key: Sequence[str],
    times: Times,
) -> list[Leak]:
    """Each column that looks like a leak, once for each reason. `found` has the association of columns with the label.

    `label` is None if the label is in another table: then only what the rows themselves say is looked at.
    """
    names = [each.name for each in profiles]
    return [
        *_predict_alone(found),
        *(_missing_for_one_class(rows, label, problem, names) if label is not None else ()),
        *_written_later(rows, profiles, times),
        *_differ_between_snapshots(rows, names, key, times),
    ]


def _predict_alone(found: Mapping[str, Association]) -> Iterator[Leak]:
    for name, each in found.items():
        if each.strength >= ALMOST:
            yield Leak(name, f"it alone predicts the label nearly perfectly ({each.metric} {each.value:.3f})")


def _missing_for_one_class(rows: pa.Table, label: str, problem: Problem, names: Sequence[str]) -> Iterator[Leak]:
    """Columns that are filled in, or left empty, only once the label is known."""
    labels = problem.encoded(plain(rows[label]))
    rows, labels = rows.filter(pc.is_valid(labels)), labels.drop_null()
    values = problem.label_values
    if values is None:
        return
    for name in names:
        missing = pc.is_null(plain(rows[name]))
        if name == label or not (FEWEST_MISSING <= (count := pc.sum(missing).as_py() or 0) < rows.num_rows):
            continue
        for value in values:
            of_class = pc.equal(labels, pa.scalar(value, labels.type))
            if words := _only_one_class(missing, of_class):
                yield Leak(name, f"{words} {problem.label_words(value)} ({count:,} rows without it)")
                break


def _only_one_class(missing: pa.ChunkedArray, of_class: pa.ChunkedArray) -> str:
    """How missing values go with one class, as the beginning of a sentence; empty if they do not."""
    from scipy.stats import fisher_exact

    rows, without, in_class = len(missing), pc.sum(missing).as_py(), pc.sum(of_class).as_py() or 0
    both = pc.sum(pc.and_(missing, of_class)).as_py() or 0
    only, always = both >= PURE * without, in_class and both >= PURE * in_class
    if not only and not always:
        return ""
    table = [[both, without - both], [in_class - both, rows - without - in_class + both]]
    if fisher_exact(table).pvalue >= CHANCE:
        return ""
    return "it is missing only where the label is" if only else "it is always missing where the label is"


def _written_later(rows: pa.Table, profiles: Sequence[ColumnProfile], times: Times) -> Iterator[Leak]:
    """Moments and days in a row that are after its event: something was written into it then."""
    event = _moments(rows[times.event]) if times.event in rows.column_names else None
    if event is None:
        return
    for each in profiles:
        if each.kind not in ("day", "moment") or each.name in (times.event, times.day, times.known_at):
            continue
        other = _moments(rows[each.name])
        allowed = pc.add(event, pa.scalar(dt.timedelta(days=1))) if each.kind == "day" else event
        later = pc.sum(pc.fill_null(pc.greater(other, allowed), False)).as_py() or 0
        if later > CHANGED * rows.num_rows:
            yield Leak(
                each.name,
                f"it is after {times.event} in {later:,} of {rows.num_rows:,} rows: unless it is a plan, these rows "
                "were written to after the event, and what was written may tell the label",
            )


def _moments(column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    column = plain(column)
    if contents_of(column.type) not in ("day", "moment"):
        return None
    if pa.types.is_timestamp(column.type) and column.type.tz:
        column = pc.cast(column, pa.timestamp("us", "UTC"), safe=False).cast(pa.timestamp("us"))
    return column.cast(pa.timestamp("us"), safe=False)


def _differ_between_snapshots(rows: pa.Table, names: Sequence[str], key: Sequence[str], times: Times) -> Iterator[Leak]:
    """Columns with several values for the same key and event, taken on different days: they changed after the event."""
    same = [*key, times.event]
    if times.day in same or any(name not in rows.column_names for name in (*same, times.day)):
        return
    others = [name for name in names if name not in same and name not in (times.day, times.known_at)]
    others = [name for name in others if contents_of(rows[name].type) != "other"]
    if not others:
        return
    keys = ", ".join(map(_quoted, same))
    counts = ", ".join(f"count(distinct {_quoted(name)}) > 1 as c{at}" for at, name in enumerate(others))
    sums = ", ".join(f"sum(c{at}::int)" for at in range(len(others)))
    with duckdb.connect() as connection:
        connection.register("rows_read", rows)
        found = connection.execute(
            f"select count(*), {sums} from (select {counts} from rows_read group by {keys} "  # noqa: S608 - quoted
            f"having count(distinct {_quoted(times.day)}) > 1)"
        ).fetchone()
    events = found[0] if found else 0
    for name, changed in zip(others, (found or (0,))[1:], strict=True):
        if events and changed > CHANGED * events:
            yield Leak(
                name,
                f"it differs between days of the same {in_short(', '.join(same))} in {changed:,} of {events:,} cases: "
                "it changed after the event",
            )


def known_late(
    known: pa.ChunkedArray, days: pa.ChunkedArray, cutoff: Callable[[dt.date], dt.datetime], most_back: int = 7
) -> tuple[int, int]:
    """How many days after its `day` a row is known, at most, and how many rows are known later than `most_back` days.

    0: every row was known at its own day's cutoff.
    """
    found = pa.table({"day": days.cast(pa.date32()), "known": _moments(known)}).drop_null()
    latest = found.group_by("day").aggregate([("known", "max")])
    needed = 0
    for day, moment in zip(latest["day"].to_pylist(), latest["known_max"].to_pylist(), strict=True):
        while needed <= most_back and moment > _naive(cutoff(day + dt.timedelta(days=needed))):
            needed += 1
    late = 0
    if needed > most_back:
        by_day = {day: _naive(cutoff(day)) for day in latest["day"].to_pylist()}
        limits = pa.array([by_day[day] for day in found["day"].to_pylist()], pa.timestamp("us"))
        late = pc.sum(pc.greater(found["known"], limits)).as_py() or 0
    return needed, late


def _naive(moment: dt.datetime) -> dt.datetime:
    return moment.astimezone(dt.UTC).replace(tzinfo=None)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
