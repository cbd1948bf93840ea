"""Fills in the pages' templates. Everything except our own markup is escaped."""

from __future__ import annotations

import datetime as dt
import functools
import json
from collections.abc import Sequence
from typing import Any
from zoneinfo import ZoneInfo

from jinja2 import Environment, PackageLoader, StrictUndefined

from tailrace import days
from tailrace.lineage import dag_ids, run_tags
from tailrace.pages import labels
from tailrace.problems.metrics import written


def page(template: str, *, mount: str, airflow: str, **values: Any) -> str:
    """The HTML of a page; `mount` is the pages' path, `airflow` the path of Airflow's UI, without a final slash."""
    return _environment().get_template(f"{template}.html").render(mount=mount, airflow=airflow, **values)


def number(value: float | None, digits: int = 3) -> str:
    """1,234 for whole numbers, 0.123 for others, a dash for None."""
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:.{digits}f}"


def metric(value: float | None, digits: int = 3) -> str:
    """A metric's value, a dash for None."""
    return "–" if value is None else written(value, digits)


def moment(value: dt.datetime, zone: str) -> str:
    """For example '2013-02-10 03:12 EST'."""
    return f"{value.astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M %Z}"


def stopped(sentence: str) -> str:
    """With a full stop at its end, and only one."""
    return sentence if sentence.endswith((".", "…")) else f"{sentence}."


def ranges(found: Sequence[dt.date], most: int = 6) -> str:
    """Days as ranges, for example '2013-03-01, 2013-03-05 to 2013-03-07'; only the last ranges of many."""
    parts = days.ranges(found, " to ").split(", ")
    return ", ".join(parts if len(parts) <= most else ["…", *parts[-most:]])


def as_json(value: Any) -> str:
    """JSON that is safe inside an attribute: the template escapes it like other text."""
    return json.dumps(value, default=str, allow_nan=False)


def spark_points(trend: list[tuple[dt.date, float]], width: int = 120, height: int = 28) -> str:
    """The points of a polyline that fills a box of that size; a flat line is drawn through its middle."""
    values = [value for _, value in trend]
    low, span = min(values), max(values) - min(values)
    step = (width - 4) / max(len(values) - 1, 1)
    return " ".join(
        f"{2 + place * step:.1f},{(height - 4) * (1 - ((value - low) / span if span else 0.5)) + 2:.1f}"
        for place, value in enumerate(values)
    )


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("tailrace.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"ranges": ranges, "stopped": stopped, "without_paths": labels.without_paths}
    environment.filters |= {"number": number, "metric": metric, "moment": moment}
    environment.filters |= {"as_json": as_json, "spark_points": spark_points}
    environment.globals |= {"signs": labels.SIGNS, "kinds": labels.NAMES, "served_by": labels.served_by}
    environment.globals |= {"dag_ids": dag_ids, "run_tags": run_tags}
    return environment
