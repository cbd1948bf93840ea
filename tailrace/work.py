"""What a stage carries: the services, the pipeline's spec, the run that stages its rows, and what was requested."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tailrace.contracts import Services
from tailrace.spec import PipelineSpec


@dataclass(frozen=True, kw_only=True)
class Work:
    """One run's work on one pipeline; every stage of a run gets the same.

    `run_id` is the staging run: a stage finds by it the rows that an earlier stage of the same run has staged. It is
    never a training run's id. `request` says what was requested and by whom, as it is written into MLflow's tags and
    into the metadata of commits; it is empty where nobody is known.
    """

    services: Services
    spec: PipelineSpec
    run_id: str
    request: Mapping[str, str] = field(default_factory=dict)
