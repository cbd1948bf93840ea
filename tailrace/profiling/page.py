"""An exploration as one HTML file: its charts are inside it, so it needs no network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tailrace.profiling.columns import ColumnProfile, in_short
from tailrace.profiling.exploration import Exploration


def html(found: Exploration) -> str:
    """The page."""
    from tailrace.profiling import drawings
    from tailrace.reporting import templating

    drawn = [each for each in found.ranked if each.kind != "other" and each.known][: drawings.MOST_COLUMNS]
    pictures = {each.name: drawings.of_column(found, each) for each in drawn}
    return templating.render(
        "exploration.html.j2",
        table=found.table,
        facts=_facts(found),
        overview=drawings.of_table(found),
        rows=[_row(found, each) for each in found.columns],
        day=found.day,
        label=found.label,
        columns=[(each, _values(each), pictures[each.name]) for each in drawn],
        not_drawn=len(found.columns) - len(drawn),
        unread=found.unread,
    )


def table_rows(found: Exploration) -> list[dict[str, Any]]:
    """A line for each column, for the terminal: those that say most about the label, or drift most, first."""
    return [_row(found, each) for each in found.ranked]


def _facts(found: Exploration) -> dict[str, str]:
    facts = {"Read": found.words, "Columns": f"{len(found.columns) + len(found.unread):,}"}
    if found.days:
        facts["Days"] = f"{min(found.days)} to {max(found.days)}, by {found.day}; {len(found.days):,} have rows"
    elif found.day is None:
        facts["Days"] = "No column says the day: name one with --day to see days and weeks."
    if found.left_out:
        facts["Left out"] = " ".join(found.left_out)
    if found.label is not None:
        facts["Label"] = " ".join([f"{found.label.name}: {found.label.problem!r}, since {found.label.why}.",
                                   *found.label.notes])  # fmt: skip
    return facts


def _row(found: Exploration, column: ColumnProfile) -> dict[str, Any]:
    highest = found.drifts[column.name].highest if column.name in found.drifts else None
    row: dict[str, Any] = {
        "column": column.name,
        "type": column.type,
        "missing": f"{column.missing_share:.1%}" if column.missing else "",
        "distinct": column.distinct,
        "least": _end(column.least),
        "median": _end(column.middle),
        "most": _end(column.most),
        "frequent": ", ".join(value for value, _ in column.frequent[:3]) if column.kind in ("text", "flag") else "",
    }
    if found.weeks:
        row["drift"] = f"{highest[1]:.2f} ({highest[0]})" if highest else ""
    if found.label is not None:
        association = found.label.associations.get(column.name)
        row[found.label.metric] = round(association.value, 3) if association else None
    return row


def _end(value: float | str | None) -> str:
    return "" if value is None else in_short(value)


def _values(column: ColumnProfile) -> list[Mapping[str, Any]]:
    """The most frequent values with their share, for a column that has few of them."""
    return [{"value": value, "share": count / column.rows} for value, count in column.frequent]
