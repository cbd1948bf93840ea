"""The assets that DAGs announce and other DAGs may be scheduled on: one event per day."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Any

from airflow.sdk import Asset

from tailrace.contracts import Pin
from tailrace.lineage import pins
from tailrace.spec import PipelineSpec, cutoff

CLOCKS = dt.timedelta(days=30)
"""By how much a worker's clock and Airflow's may differ, for a run to see the events that it has made. Airflow returns
every event of the asset from then on: an unpartitioned asset has a few of them, predictions have one for each day."""


def features(pipeline: str) -> Asset:
    """The lake's features of a pipeline."""
    return Asset(name=f"features/{pipeline}", uri=f"tailrace://features/{pipeline}")


def model(pipeline: str) -> Asset:
    """A pipeline's champion."""
    return Asset(name=f"models/{pipeline}", uri=f"tailrace://models/{pipeline}")


def predictions(pipeline: str) -> Asset:
    """A pipeline's published predictions."""
    return Asset(name=f"predictions/{pipeline}", uri=f"tailrace://predictions/{pipeline}")


def performance(pipeline: str) -> Asset:
    """How a pipeline's predictions turned out, and how far features and scores drifted."""
    return Asset(name=f"performance/{pipeline}", uri=f"tailrace://performance/{pipeline}")


def interval(spec: PipelineSpec, first: dt.date, last: dt.date) -> dict[str, str]:
    """When what the days first..last are made of became known: from one cutoff to another, ISO 8601, UTC."""
    return {
        "data_interval_start": cutoff(spec, first - dt.timedelta(days=1)).isoformat(),
        "data_interval_end": cutoff(spec, last).isoformat(),
    }


def announced(context: Mapping[str, Any], asset: Asset, recorded_at: dt.datetime, **extra: str) -> bool:
    """Whether this run has made the event of what was recorded then: its task was cleared, or tried again, after that.

    `extra` is what the event says of it. The asset is an inlet of the task.
    """
    own = context["dag_run"]
    # An event is later than what it announces, but for clocks that differ.
    since = (recorded_at - CLOCKS).isoformat()
    return any(
        (event.source_dag_id, event.source_run_id) == (own.dag_id, own.run_id)
        and extra.items() <= (event.extra or {}).items()
        for event in context["inlet_events"][asset].after(since)
    )


def announce(
    context: Mapping[str, Any],
    asset: Asset,
    of: Iterable[dt.date],
    extra: Mapping[str, Any],
    *,
    spec: PipelineSpec,
    pin: Pin | None = None,
) -> None:
    """Give the asset event of this task its days as partitions, and what a consumer may want to know.

    The extra holds the data interval of the days, and the pin that reads the very bytes announced. Airflow gives the
    events of one task one extra: of several days each is told the interval and the pin of all, and which they are
    (`first_day`, `last_day`).
    """
    event, announced = context["outlet_events"][asset], sorted(of)
    held = {
        **interval(spec, announced[0], announced[-1]),
        "first_day": str(announced[0]),
        "last_day": str(announced[-1]),
        **extra,
    }
    if pin:
        held["pin"] = pins.to_json(pin)
    event.extra = {name: value if isinstance(value, int | float) else str(value) for name, value in held.items()}
    own = context["dag_run"].partition_key
    keys = [str(day) for day in announced]
    if keys != [own]:
        # A partitioned run's event carries the run's partition by itself.
        event.add_partitions(keys)
