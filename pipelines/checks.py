"""`tailrace check`: what can be known to be wrong before a night begins."""

from __future__ import annotations

from pipelines import registry
from pipelines.engines import dry_run
from pipelines.errors import SpecError, TailraceError
from pipelines.interfaces import Services

SUITES = ("features", "outcomes", "predictions")


def check_all(services: Services) -> list[dict[str, object]]:
    """A row per pipeline. Raises SpecError with the problems of all specs, candidates and suites together."""
    specs, wrong = registry.load()
    problems = [*wrong, *(problem for spec in specs for problem in dry_run.problems(spec))]
    for name in registry.names():
        for part in SUITES:
            try:
                services.validator.check(f"{name}/{part}")
            except TailraceError as error:
                problems.append(f"{name}: expectations: {error}")
    if problems:
        raise SpecError("Tailrace is not ready to run:", problems)
    return [
        {"pipeline": spec.name, "features": len(spec.features.columns), "candidates": len(spec.candidates), "ok": True}
        for spec in specs
    ]
