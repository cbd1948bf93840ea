"""The fields of the DAGs' trigger forms, as parameters with JSON schema: Airflow refuses other values in the form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow.sdk import Param

from tailrace import settings
from tailrace.operations.people import REASON_LENGTH
from tailrace.spec import MOST_TRIALS, PipelineSpec

AS_OF, CURRENT = "as-of", "current"
"""As in `tailrace.champions.model_versions`, which takes longer to import than a DAG file may."""
MODEL = rf"^({AS_OF}|{CURRENT}|[1-9][0-9]{{0,8}})$"
AS_SET = "as set"
"""The engine of the setting TAILRACE_ENGINE."""
MORE = "More choices"
DIALECT = {"$schema": "http://json-schema.org/draft-07/schema#"}
"""Airflow checks every schema against its dialect whenever a DAG file is parsed: the newest takes twice as long."""


class _Schema(dict[str, Any]):
    """A JSON schema that is never changed, so that copies may share it.

    Airflow copies the parameters of a DAG four times for each of its tasks, which was a fifth of the time to parse it.
    """

    def __deepcopy__(self, memo: object) -> _Schema:
        return self


def field(*default: Any, description: str, **schema: Any) -> Param:
    """A field of a form: its first value if it has one, what it is for, and the JSON schema of its values."""
    first = {"default": default[0]} if default else {}
    return Param(**first, description=description, schema=_Schema(schema, **DIALECT))


def day() -> Param:
    """The day to work on."""
    return field(
        None,
        type=["null", "string"],
        format="date",
        title="Day",
        description="The day to work on. Scheduled runs and backfills know theirs: leave it empty there.",
    )


def first_day() -> Param:
    """The first of a range of days."""
    return field(
        None,
        type=["null", "string"],
        format="date",
        title="First day",
        description="Work on every day from this one to the day, in one run, oldest first. Empty: the day alone.",
    )


def model() -> Param:
    """Which model version scores."""
    return field(
        AS_OF,
        type="string",
        pattern=MODEL,
        examples=[AS_OF, CURRENT],
        title="Model",
        description="as-of: the champion of that day. current: today's champion. Or a version number.",
    )


def trials(spec: PipelineSpec) -> Param:
    """How long to search."""
    return field(
        spec.search.trials,
        type="integer",
        minimum=1,
        maximum=MOST_TRIALS,
        title="Search trials",
        description="How many sets of parameters to try.",
    )


def engine() -> Param:
    """Where models learn and score."""
    return field(
        AS_SET,
        type="string",
        enum=[AS_SET, *settings.ENGINES],
        values_display={AS_SET: "as set (TAILRACE_ENGINE)", "local": "local: this machine", "spark": "spark"},
        title="Engine",
        description="Where the model learns or scores, for this run alone.",
        section=MORE,
    )


def reason() -> Param:
    """Why the run was started."""
    return field(
        None,
        type=["null", "string"],
        maxLength=REASON_LENGTH,
        title="Reason",
        description="Why, for the record: it is kept with the run, in MLflow and in the commit.",
        section=MORE,
    )


def dry_run(meaning: str) -> Param:
    """Do everything but what others would see; `meaning` says what that is here."""
    return _switch("Dry run", meaning)


def force(meaning: str) -> Param:
    """Do again what was done from the same inputs; `meaning` says what that is here."""
    return _switch("Force", meaning)


def _switch(title: str, meaning: str) -> Param:
    return field(False, type="boolean", title=title, description=meaning, section=MORE)


def pipelines(names: Sequence[str]) -> Param:
    """The pipelines to work on."""
    return field(
        None,
        type=["null", "array"],
        items={"type": "string", "enum": list(names)},
        examples=list(names),
        title="Pipelines",
        description="Build, validate and load only these, also on days that their schedules do not have. Empty: all.",
        section=MORE,
    )


def warehouse(names: Sequence[str] = ()) -> dict[str, Any]:
    """The form of the DAG `warehouse`; `names` are the project's pipelines."""
    return {
        "day": day(),
        "first_day": first_day(),
        "pipelines": pipelines(names),
        "reason": reason(),
        "dry_run": dry_run("Land, build and validate, but take nothing into the lake."),
    }


def train(spec: PipelineSpec) -> dict[str, Any]:
    """The form of `train__<pipeline>`."""
    return {
        "day": day(),
        "trials": trials(spec),
        "engine": engine(),
        "reason": reason(),
        "dry_run": dry_run("Train, evaluate and report, but neither name a challenger nor promote."),
        "force": force("Train again although a run with the same inputs is registered."),
    }


def monitor() -> dict[str, Any]:
    """The form of `monitor__<pipeline>`."""
    return {"day": day(), "first_day": first_day(), "reason": reason()}


def predict() -> dict[str, Any]:
    """The form of `predict__<pipeline>`."""
    return {
        "day": day(),
        "first_day": first_day(),
        "model": model(),
        "engine": engine(),
        "reason": reason(),
        "dry_run": dry_run("Score and audit, then discard: nothing is published."),
        "force": force("Score days again that would be left alone: nothing that they were made from has changed."),
    }
