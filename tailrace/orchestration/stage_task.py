"""The one shape of a task: a function that calls a stage and returns its results.

    @stage_task(execution_timeout=dt.timedelta(hours=1))
    def audit(run: TaskRun, staged: Mapping[str, Any]) -> Sequence[Any]:

makes the task `audit`. Called with a pipeline's name, and by keyword with what earlier tasks returned, it adds the task
to the DAG.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from airflow.sdk import Asset, TriggerRule, get_current_context, task

from tailrace import settings
from tailrace.orchestration import task_results
from tailrace.orchestration.pods.stage_pod import StagePod
from tailrace.orchestration.task_run import Links, Rows, TaskRun

StageFunction = Callable[..., Sequence[Any]]


def no_return(rows: Rows) -> None:
    """What a task returns that later tasks need nothing of."""


def no_links(run: TaskRun, rows: Rows) -> Links:
    """The links of a task that has none, or that keeps them itself."""
    return {}


def stage_task(
    *,
    heavy: bool = False,
    returns: Callable[[Rows], Any] = no_return,
    links: Callable[[TaskRun, Rows], Links] = no_links,
    outlet: Callable[[str], Asset] | None = None,
    reads_own_events: bool = False,
    **options: Any,
) -> Callable[[StageFunction], Callable[..., Any]]:
    """Decorator of a stage's function: makes of it the stage's task, whose id is the function's name.

    The function gets the TaskRun, and returns the stage's results, one a day. They are logged and kept; of their plain
    fields `links` makes the task's links, and `returns` what later tasks are given. `outlet` names the asset of a
    pipeline that the function announces; with `reads_own_events` the asset is an inlet too, so that a run that is
    cleared sees what it announced. A `heavy` stage fits models or holds many rows: it gets the engine that its run
    asks for, and the setting TAILRACE_TASKS says whether it runs in the task's own process, or as `tailrace run` in a
    pod. `options` are those of any Airflow task.
    """

    def decorate(function: StageFunction) -> Callable[..., Any]:
        @functools.wraps(function)
        def make(
            pipeline: str = "", *, announces: bool = True, trigger_rule: TriggerRule | None = None, **handed: Any
        ) -> Any:
            asset = outlet(pipeline) if outlet and announces else None
            chosen = options | ({"trigger_rule": trigger_rule} if trigger_rule else {})
            if asset is not None:
                chosen |= {"outlets": [asset], **({"inlets": [asset]} if reads_own_events else {})}
            if heavy and settings.load().tasks != settings.PROCESS:
                return StagePod(
                    task_id=function.__name__,
                    pipeline=pipeline,
                    returns=returns,
                    links=links,
                    doc_md=function.__doc__,
                    **handed,
                    **chosen,
                ).output

            def execute(pipeline: str = "", **handed: Any) -> Any:
                run = TaskRun(get_current_context(), pipeline, outlet=asset, heavy=heavy)
                rows = [task_results.plain(result) for result in function(run, **handed)]
                run.leave(rows, links(run, rows))
                return returns(rows)

            given = (pipeline,) if pipeline else ()
            return task(**chosen)(_named_like(function, execute))(*given, **handed)

        return make

    return decorate


def _named_like(function: StageFunction, execute: Callable[..., Any]) -> Callable[..., Any]:
    """`execute` with the function's name and doc, and its parameters, of which the first is the pipeline.

    Airflow gives a function what its signature names: for `**handed` that would be its whole context.
    """
    pipeline = inspect.signature(execute).parameters["pipeline"]
    _, *others = inspect.signature(function).parameters.values()
    handed = [other.replace(kind=inspect.Parameter.KEYWORD_ONLY) for other in others]
    named = functools.wraps(function)(execute)
    named.__signature__ = inspect.Signature([pipeline, *handed])  # type: ignore[attr-defined]
    return named
