"""An impact in words, for the terminal, and as plain values for JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from tailrace.impact.column_changes import TableChange
from tailrace.impact.finding import Impact, TouchedPipeline
from tailrace.impact.meaning import ROWS
from tailrace.impact.usage import TouchedColumn

_MOST = 6
_EDITS = {
    "layout": "only comments and layout",
    "rewritten": "written otherwise, means the same",
    "changed": "changed",
    "added": "new",
    "deleted": "deleted",
    "": "reads what changed",
}


def lines(found: Impact) -> Iterator[str]:
    """The whole impact as text, line by line."""
    yield f"Compared with {found.base.short} ({found.base.words}): {_count(len(found.files), 'file')} changed."
    yield from _tables(found)
    if found.tests:
        yield ""
        yield "dbt tests that judge otherwise"
        yield from (f"  {name}: {what}" for name, what in found.tests.items())
    for each in found.pipelines:
        yield ""
        yield from _pipeline(each)
    yield ""
    if found.edits.layout:
        yield f"Only comments and layout: {_some(found.edits.layout)}."
    if found.edits.unknown:
        yield f"Nothing is known about what follows from: {_some(found.edits.unknown)}."
    yield conclusion(found)
    yield from (f"Note: {note}" for note in found.notes)


def conclusion(found: Impact) -> str:
    """The impact in one sentence."""
    if found.nothing:
        return "Nothing changes: no model, spec, suite or source means something else."
    if not found.pipelines and found.tests and not any(change.touched for change in found.tables.values()):
        return "No prediction changes; dbt tests judge otherwise, and a build stops where one fails."
    if not found.pipelines:
        return "No pipeline uses what changed."
    touched = ", ".join(each.pipeline for each in found.pipelines)
    rest = f" Not touched: {', '.join(found.untouched)}." if found.untouched else ""
    look = [each.pipeline for each in found.pipelines if each.comparable]
    see = f" See what it does to their predictions: tailrace diff {' '.join(look)}." if look else ""
    return f"Touched: {touched}.{rest}{see}"


def values(found: Impact) -> dict[str, Any]:
    """The impact as values for JSON."""
    return {
        "base": {"commit": found.base.commit, "chosen": found.base.words},
        "files": list(found.files),
        "nothing_changes": found.nothing,
        "models": [
            {
                "model": change.node.name,
                "file": change.node.file,
                "edit": change.edit or "downstream",
                "proven_equal": not change.touched,
                "all_columns": change.all_columns,
                "columns": dict(change.columns),
                "why": change.why,
            }
            for change in found.tables.values()
        ],
        "tests": dict(found.tests),
        "pipelines": [_pipeline_values(each) for each in found.pipelines],
        "not_touched": list(found.untouched),
        "only_layout": list(found.edits.layout),
        "notes": list(found.notes),
        "sentence": conclusion(found),
    }


def _pipeline_values(each: TouchedPipeline) -> dict[str, Any]:
    return {
        "pipeline": each.pipeline,
        "owners": list(each.owners),
        "columns": [asdict(column) for column in each.columns],
        "spec": {field: list(sides) for field, sides in each.spec.fields.items()} if each.spec else {},
        "spec_edit": each.spec.kind if each.spec else "",
        "suites": [{"part": suite.part, "what": suite.words} for suite in each.suites],
        "tests": list(each.tests),
        "champion": each.champion,
        "learned": list(each.learned) if each.learned is not None else None,
        "retrain": each.retrain,
        "retraining": each.retraining,
        "publishes": list(each.publishes),
        "cost": asdict(each.cost),
    }


def _tables(found: Impact) -> Iterator[str]:
    if not found.tables:
        return
    yield ""
    yield "Models"
    width = max(len(change.node.name) for change in found.tables.values())
    for change in found.tables.values():
        yield f"  {change.node.name:{width}}  {_EDITS[change.edit]}{_columns(change)}"


def _columns(change: TableChange) -> str:
    if change.all_columns:
        return f": every column ({change.why})"
    if not change.columns:
        return ""
    named = [name if how == "changed" else f"{name} ({how})" for name, how in change.columns.items()]
    return f": {_some(named)}"


def _pipeline(each: TouchedPipeline) -> Iterator[str]:
    owners = f" ({', '.join(each.owners)})" if each.owners else ""
    yield f"{each.pipeline}{owners}"
    if each.spec is not None:
        yield from _spec(each)
    for part in ("features", "outcomes"):
        columns = [column for column in each.columns if column.part == part]
        if columns:
            yield f"  {part}, read from {columns[0].mart}: {_some([_column(column) for column in columns])}"
            yield from _paths(columns)
    yield from (f"  suite {suite.part}: {suite.words}" for suite in each.suites)
    if each.tests:
        yield f"  dbt tests that can stop it judge otherwise: {_some(each.tests)}"
    if each.retraining:
        yield f"  {'Retraining is needed' if each.retrain else 'No retraining is needed'}: {each.retraining}."
    if each.publishes:
        yield f"  Published tables: {', '.join(each.publishes)}."
    if each.rescores:
        yield f"  Cost: {each.cost.words}."


def _spec(each: TouchedPipeline) -> Iterator[str]:
    if each.spec is None:
        return
    if each.spec.kind != "changed":
        yield f"  pipelines/{each.pipeline}.py: {each.spec.why}"
    for field, (before, after) in each.spec.fields.items():
        _, words = each.spec.needs[field]
        yield f"  spec, {field}: {before} -> {after} ({words})"


def _column(column: TouchedColumn) -> str:
    if column.column == ROWS:
        return "every column"
    how = "" if column.how == "changed" else f", {column.how}"
    return f"{column.column} ({column.role}{how})"


def _paths(columns: list[TouchedColumn]) -> Iterator[str]:
    """The ways from the edit; one for each place where it begins."""
    by_begin: Mapping[str, TouchedColumn] = {column.path[0]: column for column in reversed(columns) if column.path}
    for column in list(by_begin.values())[::-1][:_MOST]:
        if len(column.path) > 1:
            yield f"    {' -> '.join(column.path)}"


def _some(names: Any) -> str:
    listed = list(names)
    more = f" and {len(listed) - _MOST} more" if len(listed) > _MOST else ""
    return ", ".join(map(str, listed[:_MOST])) + more


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
