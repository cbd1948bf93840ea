"""What the function of a task works with: the request of its run, services and spec, results, links and the event."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

from tailrace.orchestration import assets, request, task_results
from tailrace.spec import PipelineSpec
from tailrace.work import Work

if TYPE_CHECKING:
    from airflow.sdk import Asset

    from tailrace.contracts import Pin
    from tailrace.wiring import Wiring

Rows = Sequence[Mapping[str, Any]]
"""The plain fields of a stage's results, one a day."""
Links = Mapping[str, str | None]
"""Addresses by a link's name; None where there is nothing to link to."""


class TaskRun:
    """One run of a task, for a pipeline or (ingest, build) for none. Each part is made when it is first used."""

    def __init__(self, context: Any, pipeline: str = "", *, outlet: Asset | None = None, heavy: bool = False) -> None:
        self.context = context
        self.pipeline = pipeline
        self.outlet = outlet
        """The asset of which the task makes the event, if it has one."""
        self._heavy = heavy

    @property
    def run_id(self) -> str:
        """The staging run: the same for all tasks of one DAG run."""
        return request.run_id(self.context)

    @cached_property
    def request(self) -> request.Request:
        """The days to work on, and the filled-in form. Raises BadInput."""
        return request.read(self.context)

    @cached_property
    def form(self) -> Mapping[str, Any]:
        """The filled-in form of a run that works on no day. Raises BadInput."""
        return request.form(self.context)

    @cached_property
    def services(self) -> Wiring:
        """The configured services; those of a heavy task have the engine that its run asks for."""
        return services(self.request.engine, self.context) if self._heavy else services()

    @cached_property
    def spec(self) -> PipelineSpec:
        """Raises SpecError."""
        from tailrace.spec import registry

        return registry.get(self.pipeline)

    @cached_property
    def work(self) -> Work:
        """What the run's stages carry. Raises BadInput, SpecError."""
        record = self.request.record()
        return Work(services=self.services, spec=self.spec, run_id=self.run_id, request=record)

    @cached_property
    def work_without_day(self) -> Work:
        """The same for a run that works on no day: a person's decision, which is recorded in its own way."""
        return Work(services=self.services, spec=self.spec, run_id=self.run_id)

    def leave(self, results: Sequence[Any], links: Links | None = None) -> None:
        """Log and keep the stage's results, one a day, and keep the links."""
        task_results.leave(self.context, list(results), links)

    def link(self, links: Links) -> None:
        """Keep links now, however the task ends."""
        task_results.keep_links(self.context, links)

    def skip(self, sentence: str, links: Links | None = None) -> NoReturn:
        """End the task as skipped, and say why."""
        task_results.skip(self.context, sentence, links)

    def announce(self, days: Iterable[dt.date], extra: Mapping[str, Any], *, pin: Pin | None = None) -> None:
        """Make the event of the outlet for these days."""
        if self.outlet is None:
            raise ValueError(f"The task for {self.pipeline} has no outlet to make an event of.")
        assets.announce(self.context, self.outlet, days, extra, spec=self.spec, pin=pin)

    def announced(self, recorded_at: dt.datetime, **extra: str) -> bool:
        """Whether this run made the outlet's event of what was recorded then, before its task was run again."""
        return self.outlet is not None and assets.announced(self.context, self.outlet, recorded_at, **extra)


def services(engine: str | None = None, context: Any = None) -> Wiring:
    """The configured services. `engine` overrides TAILRACE_ENGINE.

    With the task's context, the task links to its Spark application as soon as that runs.
    """
    from tailrace.wiring import open_services

    if context is None:
        return open_services(engine)
    return open_services(
        engine,
        lambda application: task_results.keep_links(
            context, {task_results.SPARK: task_results.spark_page(application)}
        ),
    )
