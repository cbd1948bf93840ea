"""What a backfill would do, on its form: asked for with the days in the page's address, it changes nothing."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from tailrace.errors import TailraceError, UnknownName
from tailrace.operations.preview import PreviewedDay, preview
from tailrace.pages.sources import Sources
from tailrace.spec import PipelineSpec

MOST_DAYS = 62
"""A page shows no more; the command line does."""


@dataclass(frozen=True)
class ShownPreview:
    """The days, or a sentence on why they cannot be shown."""

    days: tuple[PreviewedDay, ...] = ()
    problem: str = ""


def of(sources: Sources, spec: PipelineSpec, given: Mapping[str, str]) -> ShownPreview | None:
    """The preview of the days from..to of the address; None if it does not have both."""
    try:
        first, last = (dt.date.fromisoformat(given.get(name, "")) for name in ("from", "to"))
    except ValueError:
        return None
    if last < first:
        return ShownPreview(problem=f"The last day is {last}, before the first day {first}.")
    if (last - first).days >= MOST_DAYS:
        return ShownPreview(
            problem=f"A page shows at most {MOST_DAYS} days. On the command line: tailrace backfill {spec.name} "
            f"--from {first} --to {last} --preview."
        )
    services: Any = SimpleNamespace(lake=sources.lake, tracker=_Tracker(sources))
    try:
        # The web server loads no models: that takes libraries and memory which belong to tasks.
        found = preview(
            services,
            spec,
            first,
            last,
            model=given.get("model") or "as-of",
            force="force" in given,
            load_models=False,
        )
    except TailraceError as error:
        return ShownPreview(problem=str(error))
    return ShownPreview(tuple(found))


class _Tracker:
    """The part of the tracker that a preview asks, from what the pages know of it."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def versions(self, pipeline: str) -> Any:
        self._pipeline = pipeline
        return self._sources.tracker.of(pipeline).versions

    def run(self, training_run: str) -> Any:
        found = self._sources.tracker.of(self._pipeline).run(training_run)
        if found is None:
            raise UnknownName(f"training run of {self._pipeline}", training_run, [])
        return found
