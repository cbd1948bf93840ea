"""The task of a heavy stage that runs in a pod: TAILRACE_TASKS=pods.

Kubernetes' libraries are imported when a pod is started: they take a second, which every DAG file
would pay at every parse.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowRescheduleException

from tailrace import extras, settings, stages
from tailrace.errors import ClusterRefused, QuotaUsedUp, TailraceError, TrackerUnavailable
from tailrace.operations.stage_result_file import StageFailed
from tailrace.orchestration import request, task_results
from tailrace.orchestration.task_run import Links, Rows, TaskRun

if TYPE_CHECKING:
    from tailrace.orchestration.pods.pod_run import PodRun

log = logging.getLogger("tailrace")

QUOTA_LOOK = dt.timedelta(minutes=2)
"""Between two looks at whether the quota has room."""
QUOTA_WAIT = dt.timedelta(hours=12)
"""How long a task waits for room in all."""


class StagePod(BaseOperator):
    """Runs the stage its task is named after in a pod, by Airflow's deferrable KubernetesPodOperator.

    No worker waits for the pod. A worker that dies takes the pod of its run up again, or its result.
    """

    template_fields = ("training_run",)

    def __init__(
        self,
        *,
        pipeline: str,
        returns: Callable[[Rows], Any],
        links: Callable[[TaskRun, Rows], Links],
        training_run: Any = None,
        **options: Any,
    ) -> None:
        extras.require("A heavy task in a pod (TAILRACE_TASKS=pods)", "airflow.providers.cncf.kubernetes")
        super().__init__(**options)
        self.pipeline = pipeline
        self.training_run = training_run
        self.returns = returns
        self.links = links
        self._running: PodRun | None = None

    def execute(self, context: Any) -> Any:
        """Start the stage's pod and defer. Raises BadInput, ClusterRefused, ClusterUnavailable."""
        run = self._run(context)
        return self._returned(context, self._ended(context, run, run.start))

    def trigger_reentry(self, context: Any, event: dict[str, Any]) -> Any:
        """What KubernetesPodOperator's trigger comes back to. Raises what the stage raised, or how its pod ended."""
        run = self._run(context)
        return self._returned(context, self._ended(context, run, lambda: run.finish(event)))

    def on_kill(self) -> None:
        if self._running:
            self._running.kill()

    def _run(self, context: Any) -> PodRun:
        from tailrace.orchestration.pods.pod_run import PodRun

        self._running = PodRun(
            context,
            stage=self.task_id,
            pipeline=self.pipeline,
            day=request.read(context).day,
            arguments=self.arguments(context),
            execution_timeout=self.execution_timeout,
            pods=settings.load().pods,
        )
        return self._running

    def _ended(self, context: Any, run: PodRun, step: Callable[[], Rows]) -> Rows:
        """The step's rows. Where the quota has no room the task waits, without using up a try or a worker.

        Raises AirflowRescheduleException to wait, and what the step does.
        """
        try:
            return self._linked(context, run, step)
        except QuotaUsedUp as error:
            now = dt.datetime.now(dt.UTC)
            first = context["ti"].get_first_reschedule_date(context) or now
            if now - first > QUOTA_WAIT:
                raise
            log.warning("%s This task waits, until %s at most.", error, f"{first + QUOTA_WAIT:%Y-%m-%d %H:%M} UTC")
            raise AirflowRescheduleException(now + QUOTA_LOOK) from error
        except (TailraceError, StageFailed, AirflowException) as error:
            self._close_run(run.pod_name, error)
            raise

    def _close_run(self, pod: str, error: Exception) -> None:
        """A driver that died left its training run open in MLflow; one that ended by itself closed it."""
        if self.task_id != "train" or not pod:
            return
        from tailrace.wiring import Wiring

        try:
            Wiring(settings.load()).tracker.close_runs_of(self.pipeline, pod, f"Its pod has ended: {error}")
        except TrackerUnavailable as unavailable:
            log.warning("The training run of pod %s stays open for an hour: %s", pod, unavailable)

    def _linked(self, context: Any, run: PodRun, step: Callable[[], Rows]) -> Rows:
        """The step's rows; however it ends, the task links to the Spark application that the pod ran."""
        try:
            return step()
        finally:
            task_results.keep_links(context, {task_results.SPARK: task_results.spark_page(run.spark_application)})

    def arguments(self, context: Any) -> list[str]:
        """The command of the pod: the run's request, as `tailrace run` takes it."""
        requested = request.read(context)
        command = ["tailrace", "run", self.task_id, self.pipeline]
        days = self._days(requested)
        command += ["--date", str(days[0]), *(["--to", str(days[-1])] if len(days) > 1 else [])]
        command += ["--run-id", request.run_id(context)]
        command += ["--engine", requested.engine] if requested.engine else []
        command += self._options(requested)
        return [*command, "--request", json.dumps(requested.record()), "--json"]

    def _options(self, requested: request.Request) -> list[str]:
        """What the run chose of the options that the stage takes."""
        chosen = {
            "model": requested.params.get("model"),
            "trials": requested.trials,
            "training_run": self.training_run,
            "force": requested.force,
            "dry_run": requested.dry_run,
        }
        words: list[str] = []
        for name in stages.options_of(self.task_id):
            if value := chosen[name]:
                words += [stages.OPTIONS[name]] if value is True else [stages.OPTIONS[name], str(value)]
        return words

    def _days(self, requested: request.Request) -> list[Any]:
        """Of a range, only scoring works day by day; a training has one day."""
        return requested.span if self.task_id == "score" else [requested.day]

    def _returned(self, context: Any, rows: Rows) -> Any:
        run = TaskRun(context, self.pipeline)
        due = len(self._days(run.request))
        if len(rows) < due:
            raise ClusterRefused(
                f"{self.task_id} of {self.pipeline}: its pod handed back {len(rows)} results for {due} days, since its "
                "termination message holds 4096 bytes. Nothing is published; ask for fewer days in one run, or "
                "backfill them."
            )
        try:
            links, returned = self.links(run, rows), self.returns(rows)
        except LookupError as error:
            raise ClusterRefused(
                f"{self.task_id} of {self.pipeline}: its pod finished and handed back no {error} (but "
                f"{', '.join(map(repr, rows[0])) or 'nothing'}); its image is of another version of Tailrace: set "
                "TAILRACE_POD_IMAGE (TAILRACE_SPARK_IMAGE) to the one built from this version."
            ) from error
        run.leave(rows, links)
        return returned
