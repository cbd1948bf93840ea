"""`tailrace check`: finds before a night begins what is known to fail."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from tailrace.contracts import ColumnKind, KnownColumns, Services
from tailrace.errors import SpecError, TailraceError
from tailrace.spec import PipelineSpec, registry

log = logging.getLogger("tailrace")

SUITES = ("features", "outcomes", "predictions")


def check_all(services: Services, note: Callable[[str], None] = log.info) -> list[dict[str, object]]:
    """A row per pipeline; `note` receives a sentence for each thing that could not be checked here.

    Raises SpecError with the problems of all specs, candidates and suites together.
    """
    specs, wrong = registry.load()
    tried = services.engine.dry_run(specs)
    for sentence in tried.notes:
        note(sentence)
    problems = [*wrong, *tried.problems]
    sound = {spec.name: spec for spec in specs}
    for name in registry.names():
        for part in SUITES:
            try:
                services.validator.check(f"{name}/{part}", columns_of(sound.get(name), part))
            except TailraceError as error:
                problems.append(f"{name}: expectations: {error}")
    if problems:
        raise SpecError("Tailrace is not ready to run:", problems)
    return [
        {"pipeline": spec.name, "features": len(spec.features.columns), "candidates": len(spec.candidates), "ok": True}
        for spec in specs
    ]


_KINDS: Mapping[str, ColumnKind] = {"numeric": "number", "categorical": "category", "text": "text"}

_TYPES: Mapping[str, ColumnKind] = {"bool": "flag", "string": "text"}
"""Kinds of published columns by their Arrow types; the others are numbers."""


def columns_of(spec: PipelineSpec | None, part: str) -> KnownColumns:
    """The spec's rules for the columns that a suite judges; empty if the spec itself is wrong."""
    if spec is None:
        return KnownColumns()
    shared: dict[str, ColumnKind] = {"ds": "day", **dict.fromkeys(spec.features.key, "unknown")}
    if part == "features":
        kinds = {name: _KINDS[kind] for name, kind in spec.features.columns.items()}
        kinds |= {spec.features.weight: "number"} if spec.features.weight else {}
        return KnownColumns({**shared, spec.features.event_time: "time", **_moment(spec, part), **kinds})
    if part == "outcomes":
        return KnownColumns({**shared, **_moment(spec, part), spec.outcome.label: spec.problem.label_kind})
    names = [name for _, name in spec.problem.published_names(spec.predictions)]
    types = spec.problem.published_types(spec.predictions)
    columns: dict[str, ColumnKind] = {
        name: _TYPES.get(str(type_), "number") for name, type_ in zip(names, types, strict=True)
    }
    return KnownColumns({**shared, spec.features.event_time: "time", **columns, "model_version": "text"}, complete=True)


def _moment(spec: PipelineSpec, part: str) -> dict[str, ColumnKind]:
    """The column with the moment at which a row became known, if the mart has one."""
    known_at = spec.mart(part).known_at
    return {known_at: "time"} if known_at else {}
