"""The assets that DAGs announce and other DAGs may be scheduled on: one event per day."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Any

from airflow.sdk import Asset


def features(pipeline: str) -> Asset:
    """The lake's features of a pipeline."""
    return Asset(name=f"features/{pipeline}", uri=f"tailrace://features/{pipeline}")


def model(pipeline: str) -> Asset:
    """A pipeline's champion."""
    return Asset(name=f"models/{pipeline}", uri=f"tailrace://models/{pipeline}")


def predictions(pipeline: str) -> Asset:
    """A pipeline's published predictions."""
    return Asset(name=f"predictions/{pipeline}", uri=f"tailrace://predictions/{pipeline}")


def announce(context: Mapping[str, Any], asset: Asset, days: Iterable[dt.date], extra: Mapping[str, Any]) -> None:
    """Give the asset event of this task its days as partitions, and what a consumer may want to know."""
    event = context["outlet_events"][asset]
    event.extra = {name: value if isinstance(value, int | float) else str(value) for name, value in extra.items()}
    own = context["dag_run"].partition_key
    keys = [str(day) for day in days]
    if keys != [own]:
        # A partitioned run's event carries the run's partition by itself.
        event.add_partitions(keys)
