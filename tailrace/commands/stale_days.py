"""Warnings about days whose rows are older than what is landed now."""

from __future__ import annotations

import datetime as dt

from tailrace.commands import output
from tailrace.contracts import Services
from tailrace.spec import PipelineSpec


def warn(stage: str, services: Services, spec: PipelineSpec, *, first: dt.date, last: dt.date) -> None:
    """Warn about the days the stage uses or skips that were made from other rows than those landed now."""
    from tailrace.rows import staleness, taken
    from tailrace.training import training_set

    if stage in ("build", "snapshot"):
        found = staleness.warning_after(services, spec, last)
        if late := taken.late(services.lake, spec, first, last):
            output.warn(taken.warning(spec, late))
    elif stage == "train":
        found = staleness.warning(services, spec, training_set.window(spec, first)[0], last)
    elif stage == "score":
        found = staleness.warning(services, spec, first, last)
    else:
        return
    if found:
        output.warn(found)
