"""Airflow's information about a pipeline's runs, in the terms of the pages."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tailrace.contracts import ModelResult
from tailrace.operations.day_states import Attempt

DayAttempts = Mapping[dt.date, Mapping[str, Attempt]]
"""By day, the last run of each kind of DAG (`warehouse`, `predict`, `monitor`) that worked on it."""


@dataclass(frozen=True, kw_only=True)
class OpenApproval:
    """A task that waits for a person's decision."""

    dag_id: str
    run_id: str
    task_id: str
    subject: str
    since: dt.datetime


@dataclass(frozen=True)
class NextRun:
    """When a DAG runs next on schedule; `missing`: Airflow has no such DAG."""

    at: dt.datetime | None
    paused: bool = False
    missing: bool = False


@dataclass(frozen=True)
class Night:
    """The next day that a scheduled run of `warehouse` builds, or builds now; `building`: a run of it is under way."""

    day: dt.date | None = None
    building: bool = False


class Activity(Protocol):
    """Airflow's metadata, read only."""

    def attempts(self, since: Mapping[str, dt.date | None]) -> Mapping[str, DayAttempts]:
        """By pipeline, the runs of each day from its day in `since` on (None: of all days), without dry runs.

        A run of the DAG `warehouse` counts for a pipeline as its own tasks ended, and not at all if none concerned it.
        """
        ...

    def stopped(self, pipelines: Sequence[str]) -> Mapping[str, Sequence[Attempt]]:
        """By pipeline, the last runs of its DAGs for training, approval and rollback, if they failed; no dry runs."""
        ...

    def next_runs(self, pipelines: Sequence[str]) -> Mapping[str, NextRun]:
        """The next scheduled predict run of each pipeline."""
        ...

    def night(self) -> Night:
        """The warehouse's next night; without a day if its schedule has ended, or Airflow has no such DAG."""
        ...

    def approvals(self, pipelines: Sequence[str]) -> Mapping[str, Sequence[OpenApproval]]:
        """The tasks that wait for a decision, by pipeline, oldest first."""
        ...

    def is_paused(self, dag_id: str) -> bool:
        """Whether runs of the DAG wait until somebody unpauses it."""
        ...

    def nodes(self, dag_id: str, run_id: str) -> Sequence[ModelResult] | None:
        """The results of dbt's nodes in a run; None if the run has not built anything with dbt."""
        ...

    def form(self, dag_id: str) -> Mapping[str, Mapping[str, Any]] | None:
        """The DAG's parameters: name to JSON schema, with `default`; None if Airflow has no such DAG."""
        ...
