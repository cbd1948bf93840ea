"""Airflow's information about a pipeline's runs, in the terms of the pages."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from tailrace.contracts import ModelResult

RunState = Literal["success", "failed", "running", "queued"]


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """A DAG run that tried to produce a day. `task` and `error` belong to the task that failed or is running.

    `waits`: that task failed, and will be retried.
    """

    dag_id: str
    run_id: str
    day: dt.date | None
    outcome: RunState
    at: dt.datetime
    """When it ended; if it has not ended, when it started or was queued."""
    task: str = ""
    error: str = ""
    by: str = ""
    waits: bool = False


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

    def latest(self, pipelines: Sequence[str]) -> Mapping[str, Attempt]:
        """The last predict run of the newest day, by pipeline; without dry runs and pipelines that never ran."""
        ...

    def by_day(self, pipeline: str) -> Mapping[dt.date, Attempt]:
        """The last predict run of each day, without dry runs."""
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

    def nodes(self, dag_id: str, run_id: str) -> Sequence[ModelResult] | None:
        """The results of dbt's nodes in a run; None if the run has not built anything with dbt."""
        ...

    def form(self, dag_id: str) -> Mapping[str, Mapping[str, Any]] | None:
        """The DAG's parameters: name to JSON schema, with `default`; None if Airflow has no such DAG."""
        ...
