"""Where a heavy stage runs: in its task's own process, or in a pod of its own.

Kubernetes' libraries are imported when a pod is started: they take a second, which every DAG file
would pay at every parse.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, task

from pipelines import settings
from pipelines.errors import ClusterRefused
from pipelines.orchestration import request

if TYPE_CHECKING:
    from pipelines.orchestration.pod_run import PodRun


def heavy(*, returns: str | None = None, **options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator of a stage's function: makes of it the stage's task, whose id is the function's name.

    The setting TAILRACE_TASKS says where the task runs: the function in the task's own process, or
    `tailrace run` of the same stage in a pod. `returns` names the field of the stage's result that
    the function returns; a pod's task returns it too. Options are those of any Airflow task.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        in_process = task(**options)(function)

        @functools.wraps(function)
        def make(pipeline: str, **handed: Any) -> Any:
            if settings.load().tasks == settings.PROCESS:
                return in_process(pipeline, **handed)
            return StagePod(
                task_id=function.__name__,
                pipeline=pipeline,
                returns=returns,
                doc_md=function.__doc__,
                **handed,
                **options,
            ).output

        return make

    return decorate


class StagePod(BaseOperator):
    """Runs the stage its task is named after in a pod, by Airflow's deferrable KubernetesPodOperator.

    No worker waits for the pod. A worker that dies takes the pod of its run up again, or its result.
    """

    template_fields = ("training_run",)

    def __init__(self, *, pipeline: str, training_run: Any = None, returns: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.pipeline = pipeline
        self.training_run = training_run
        self.returns = returns
        self._running: PodRun | None = None

    def execute(self, context: Any) -> Any:
        """Start the stage's pod and defer. Raises BadInput, ClusterRefused, ClusterUnavailable."""
        return self._returned(self._run(context).start())

    def trigger_reentry(self, context: Any, event: dict[str, Any]) -> Any:
        """What KubernetesPodOperator's trigger comes back to. Raises what the stage raised, or how its pod ended."""
        return self._returned(self._run(context).finish(event))

    def on_kill(self) -> None:
        if self._running:
            self._running.kill()

    def _run(self, context: Any) -> PodRun:
        from pipelines.orchestration.pod_run import PodRun

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

    def arguments(self, context: Any) -> list[str]:
        """The command of the pod: what the run was asked for, as `tailrace run` takes it."""
        asked = request.read(context)
        command = ["tailrace", "run", self.task_id, self.pipeline]
        command += ["--date", str(asked.day), "--run-id", request.run_id(context)]
        chosen = {
            "--model": asked.params.get("model"),
            "--trials": asked.params.get("trials"),
            "--run": self.training_run,
        }
        return [*command, *(word for name, value in chosen.items() if value for word in (name, str(value))), "--json"]

    def _returned(self, result: dict[str, Any]) -> Any:
        for name, value in result.items():
            self.log.info("  %-18s %s", name, value)
        if not self.returns:
            return None
        if self.returns not in result:
            raise ClusterRefused(
                f"{self.task_id} of {self.pipeline}: its pod finished and handed back no {self.returns!r} (but "
                f"{', '.join(map(repr, result)) or 'nothing'}); its image is of another version of Tailrace: set "
                "TAILRACE_POD_IMAGE (TAILRACE_SPARK_IMAGE) to the one built from this version."
            )
        return result[self.returns]
