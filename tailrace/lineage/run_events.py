"""OpenLineage events of a stage: what it read and wrote, when, and how it ended, for a lineage server.

Nothing here is imported or sent unless a server's URL is set. A server that does not answer never fails a stage: there
is a warning after `SECONDS`, and nothing more is sent of that run.
"""

from __future__ import annotations

import datetime as dt
import functools
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar
from urllib.parse import urlsplit

from tailrace.errors import cause_of
from tailrace.extras import absent
from tailrace.settings import Settings
from tailrace.work import Work

log = logging.getLogger("tailrace")
P = ParamSpec("P")
R = TypeVar("R")

SECONDS = 5.0
"""How long a stage waits for the lineage server, for each event."""
START, COMPLETE, FAIL = "START", "COMPLETE", "FAIL"


@dataclass(frozen=True)
class LineageDataset:
    """A table or a model, as OpenLineage names it; `rows` as far as they are known."""

    namespace: str
    name: str
    rows: int | None = None


@dataclass(frozen=True)
class Touched:
    """What a stage read and wrote."""

    inputs: Sequence[LineageDataset]
    outputs: Sequence[LineageDataset]


def reported(
    stage: str, touched: Callable[[Settings, Work, Any], Touched]
) -> Callable[
    [Callable[Concatenate[Work, dt.date, P], R]],
    Callable[Concatenate[Work, dt.date, P], R],
]:
    """Decorator of a stage's `run`: sends START, and COMPLETE or FAIL.

    `touched` says what it reads and writes; it gets the stage's result, which is None before there is one.
    """

    def decorate(run: Callable[Concatenate[Work, dt.date, P], R]) -> Callable[Concatenate[Work, dt.date, P], R]:
        @functools.wraps(run)
        def reporting(work: Work, day: dt.date, *more: P.args, **given: P.kwargs) -> R:
            settings: Settings | None = getattr(work.services, "settings", None)
            if settings is None or not settings.openlineage_url:
                return run(work, day, *more, **given)
            events = _Events(settings, work, stage, day)
            events.send(START, lambda: touched(settings, work, None))
            try:
                result = run(work, day, *more, **given)
            except BaseException as error:
                events.send(FAIL, lambda: touched(settings, work, None), error)
                raise
            events.send(COMPLETE, lambda: touched(settings, work, result))
            return result

        return reporting

    return decorate


def lake_table(settings: Settings, table: str, rows: int | None = None) -> LineageDataset:
    """A table of the lake, by its place."""
    parts = urlsplit(settings.lake)
    if parts.scheme in ("", "file"):
        return LineageDataset("file", f"{Path(parts.path).absolute()}/{table}", rows)
    return LineageDataset(f"{parts.scheme}://{parts.netloc}", f"{parts.path.strip('/')}/{table}".lstrip("/"), rows)


def mart(settings: Settings, table: str) -> LineageDataset:
    """A table of the warehouse, by its database."""
    if settings.warehouse_is_postgres:
        parts = urlsplit(settings.warehouse)
        host = f"{parts.hostname or 'localhost'}:{parts.port or 5432}"
        return LineageDataset(f"postgres://{host}", f"{parts.path.strip('/')}.tailrace.{table}")
    if settings.warehouse_is_dbt:
        return LineageDataset(f"dbt://{settings.dbt_project.name}", table)
    return LineageDataset(f"duckdb://{Path(settings.warehouse).absolute()}", table)


def model(settings: Settings, pipeline: str, version: str) -> LineageDataset:
    """A registered model's version."""
    parts = urlsplit(settings.tracking_uri)
    host = parts.hostname or "local"
    return LineageDataset(f"mlflow://{host}{f':{parts.port}' if parts.port else ''}", f"models/{pipeline}/{version}")


class _Events:
    """The events of one run of a stage, which all have the same id."""

    def __init__(self, settings: Settings, work: Work, stage: str, day: dt.date) -> None:
        self._settings, self._work, self._stage, self._day = settings, work, stage, day
        self._run = ""
        self._gave_up = False

    def send(self, state: str, touched: Callable[[], Touched], error: BaseException | None = None) -> None:
        """Send an event, within `SECONDS`; what goes wrong is a warning."""
        if self._gave_up:
            return
        if missing := absent("The setting openlineage_url", "openlineage.client"):
            self._give_up(missing)
            return
        failed: list[str] = []
        with _noted(failed):
            # made here: its imports are none of the server's time
            emit = self._made(state, touched(), error)
            thread = threading.Thread(target=_noted(failed)(emit), name="openlineage", daemon=True)
            thread.start()
            thread.join(SECONDS)
            if thread.is_alive():
                failed.append(f"it did not answer within {SECONDS:.0f} s")
        if failed:
            self._give_up(
                f"the lineage server {_shown(self._settings.openlineage_url)} has no event of it: {failed[0]}"
            )

    def _give_up(self, why: str) -> None:
        self._gave_up = True
        log.warning("%s of %s, %s: %s", self._stage, self._work.spec.name, self._day, why)

    def _made(self, state: str, touched: Touched, error: BaseException | None) -> Callable[[], None]:
        """The event; called, it is sent."""
        from openlineage.client import OpenLineageClient
        from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
        from openlineage.client.facet_v2 import (
            error_message_run,
            nominal_time_run,
            output_statistics_output_dataset,
        )
        from openlineage.client.transport.http import HttpConfig, HttpTransport
        from openlineage.client.uuid import generate_new_uuid

        import tailrace

        self._run = self._run or str(generate_new_uuid())
        facets: dict[str, Any] = {
            "nominalTime": nominal_time_run.NominalTimeRunFacet(nominalStartTime=f"{self._day}T00:00:00Z")
        }
        if error is not None:
            facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(
                message=f"{type(error).__name__}: {cause_of(error)}", programmingLanguage="python"
            )
        event = RunEvent(
            eventType=RunState[state],
            eventTime=dt.datetime.now(dt.UTC).isoformat(),
            run=Run(runId=self._run, facets=facets),
            job=Job(
                namespace=self._settings.openlineage_namespace, name=f"{self._work.spec.name}.{self._stage}", facets={}
            ),
            producer=f"https://pypi.org/project/tailrace/{tailrace.__version__}",
            inputs=[InputDataset(namespace=each.namespace, name=each.name) for each in touched.inputs],
            outputs=[
                OutputDataset(
                    namespace=each.namespace,
                    name=each.name,
                    outputFacets={}
                    if each.rows is None
                    else {
                        "outputStatistics": output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
                            rowCount=each.rows
                        )
                    },
                )
                for each in touched.outputs
            ],
        )
        key = self._settings.openlineage_api_key
        config: dict[str, Any] = {"url": self._settings.openlineage_url, "timeout": SECONDS, "retry": {"total": 0}}
        if key:
            config["auth"] = {"type": "api_key", "apiKey": key}
        client = OpenLineageClient(transport=HttpTransport(HttpConfig.from_dict(config)))
        return lambda: client.emit(event)


@contextmanager
def _noted(failed: list[str]) -> Iterator[None]:
    """Note what goes wrong, whatever the client, the server or the network says."""
    try:
        yield
    except Exception as problem:  # noqa: BLE001
        failed.append(f"{type(problem).__name__}: {cause_of(problem)}")


def _shown(url: str) -> str:
    """The address without a login."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
