"""What a task leaves for people: lines in its log, and XComs that the pages and the task's links are made of."""

from __future__ import annotations

import dataclasses
import datetime as dt
import logging
import math
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn
from urllib.parse import quote

from airflow.sdk.exceptions import AirflowSkipException

from tailrace import settings
from tailrace.lineage import xcom_keys
from tailrace.operations import os_errors
from tailrace.problems.metrics import written

MLFLOW_RUN, REPORT, SPARK = "MLflow run", "Evaluation report", "Spark history"
DATA_DOCS, OUTCOMES_DOCS = "Data Docs", "Data Docs of outcomes"
DBT, FEATURES, PUBLISHED_DAY = "dbt models and tests", "Features in the lake", "Published day"
LINK_NAMES = (MLFLOW_RUN, REPORT, SPARK, DATA_DOCS, OUTCOMES_DOCS, DBT, FEATURES, PUBLISHED_DAY)

PAGES = "tailrace"
"""Where the pages are mounted, below Airflow's own address."""

END_OF_GROUP = "::endgroup::"
"""Airflow folds what it logs after a task's own lines into a group; this closes it."""

NAMED_REPORT = re.compile(r"(?:Report|Data Docs): (?P<page>.+)$", re.MULTILINE)
"""How a refusal names the Data Docs of the validation that refused."""

log = logging.getLogger("tailrace")


def leave(context: Any, result: Any, links: Mapping[str, str | None] | None = None) -> None:
    """Log a stage's result (or one a day) as aligned lines, and keep it, and the links that lead somewhere."""
    for line in lines(result):
        log.info("%s", line)
    if begun := getattr(context["ti"], "start_date", None):
        log.info("done in %.1f s", (dt.datetime.now(dt.UTC) - begun).total_seconds())
    context["ti"].xcom_push(
        xcom_keys.RESULT, plain(result[0] if isinstance(result, list) and len(result) == 1 else result)
    )
    keep_links(context, links or {})


def skip(context: Any, sentence: str, links: Mapping[str, str | None] | None = None) -> NoReturn:
    """End the task as skipped, leaving the sentence that says why, and the links that lead somewhere."""
    log.info("%s", sentence)
    context["ti"].xcom_push(xcom_keys.RESULT, {"skipped": sentence})
    keep_links(context, links or {})
    raise AirflowSkipException(sentence)


def say_why(context: Any) -> None:
    """Keep the sentence a failed try ended with, and log it as the last line: on_failure and on_retry callback."""
    error = context.get("exception")
    if error is None:
        return
    sentence = said_by(error)
    context["ti"].xcom_push(xcom_keys.ERROR, sentence)
    if report := NAMED_REPORT.search(sentence):
        keep_links(context, {DATA_DOCS: data_docs(report["page"], settings.load().data_docs)})
    log.info(END_OF_GROUP)
    log.error("%s", sentence)


def keep_links(context: Any, links: Mapping[str, str | None]) -> None:
    """Keep the links that lead somewhere, beside those that the task has left before."""
    for name, address in links.items():
        if address:
            context["ti"].xcom_push(xcom_keys.LINK + name, address)


def said_by(error: BaseException) -> str:
    """The error's own words; those that are not meant for people get their class in front."""
    said = str(error).strip()
    if type(error).__module__.startswith(("tailrace.", "pipelines.", "airflow.")) and said:
        return said
    if refused := os_errors.in_words(error):
        return str(refused)
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def data_docs(report: str, root: str | os.PathLike[str]) -> str | None:
    """The address of a validation's page in the Data Docs below root; None if the report lies elsewhere."""
    relative = os.path.relpath(report.removeprefix("file://"), root) if report else ""
    return f"{PAGES}/data-docs/{quote(relative)}" if relative and not relative.startswith("..") else None


def evaluation_report(training_run: str) -> str:
    """The address of a training run's evaluation report."""
    return f"{PAGES}/reports/{quote(training_run, safe='')}"


def dbt_nodes(dag_run: Any) -> str:
    """The address of what dbt did in a run."""
    return f"{PAGES}/pages/runs/{quote(dag_run.dag_id, safe='')}/{quote(dag_run.run_id)}/dbt"


def features_of(pipeline: str, day: dt.date) -> str:
    """The address of what the lake holds of a day's features."""
    return f"{published_day(pipeline, day)}#features"


def published_day(pipeline: str, day: dt.date, version: str = "") -> str:
    """The address of what is published for a day; with a table's version, of that publication on it."""
    return f"{PAGES}/pages/{quote(pipeline, safe='')}/{day}" + (f"#version-{quote(version)}" if version else "")


def spark_page(application: str) -> str | None:
    """The page of a Spark application, also of one that still runs, in the history server; None where none is set."""
    history = settings.load().spark.history if application else ""
    return f"{history.rstrip('/')}/history/{quote(application, safe='')}/" if history else None


def lines(result: Any) -> Iterator[str]:
    """A result as lines, a field each, aligned; of several results a table, a line each."""
    if isinstance(result, list | tuple) and len(result) > 1:
        yield from _table([_fields(each) for each in result])
        return
    for each in result if isinstance(result, list | tuple) else [result]:
        fields = _fields(each)
        width = max(map(len, fields), default=0)
        yield from (f"{name:<{width}}  {value}" for name, value in fields.items())


def plain(value: Any) -> Any:
    """The value in JSON's terms: dataclasses as objects, days and times as text, NaN as null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(name): plain(held) for name, held in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(held) for held in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, str | bool | int):
        return value
    return str(value)


def _table(rows: list[dict[str, str]]) -> Iterator[str]:
    names = list(dict.fromkeys(name for row in rows for name in row))
    widths = {name: max(len(name), *(len(row.get(name, "")) for row in rows)) for name in names}
    yield "  ".join(name.ljust(widths[name]) for name in names).rstrip()
    for row in rows:
        yield "  ".join(row.get(name, "").ljust(widths[name]) for name in names).rstrip()


def _fields(result: Any) -> dict[str, str]:
    """The fields as one line each; those of nested objects stand after their name and a dot."""
    held = plain(result)
    return {name: _cell(value) for name, value in _flat(held if isinstance(held, dict) else {"": held})}


def _flat(held: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in held.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def _cell(value: Any) -> str:
    if value is None or value in ("", [], {}):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return written(value)
    if isinstance(value, list):
        cells = [_cell(held) for held in value]
        return (" " if all(cell.endswith(".") for cell in cells) else "; ").join(cells)
    if isinstance(value, dict):
        # One of a list of objects: what it says of itself, if it does.
        return str(value.get("sentence") or ", ".join(f"{name} {_cell(held)}" for name, held in value.items()))
    return " ".join(str(value).split("\n"))
