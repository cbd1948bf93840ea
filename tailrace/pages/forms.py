"""The forms that the buttons open: Airflow's own parameters of a DAG, filled in where the page knows the value.

The browser sends them to Airflow's REST API as the logged-in user; Airflow checks rights and values.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from tailrace.lineage import dag_ids
from tailrace.operations.limits import AT_ONCE
from tailrace.spec import PipelineSpec

ACTIONS = ("backfill", "predict", "train", "rollback", "threshold", "approve")
DAYS = ("day", "first_day")
MUST_NAME_DAY = ("predict", "train")


@dataclass(frozen=True)
class FormKind:
    """A form's title, the DAG that it starts, and a sentence about what it does."""

    title: str
    dag: str
    about: str
    button: str


@dataclass(frozen=True, kw_only=True)
class Field:
    """An input: `kind` is date, number, checkbox, select or text."""

    name: str
    title: str
    about: str
    kind: str
    value: Any
    options: tuple[tuple[str, str], ...] = ()
    suggestions: tuple[str, ...] = ()
    pattern: str = ""
    minimum: float | None = None
    step: str = ""
    maximum: float | dt.date | None = None
    longest: int | None = None
    required: bool = False
    nullable: bool = False
    more: bool = False


@dataclass(frozen=True, kw_only=True)
class Form:
    """A form, ready to be shown. `zone` is the pipeline's time zone, in which a backfill's days begin.

    `pipeline` is empty for a form of the DAG of all pipelines. `paused`: its runs would wait.
    """

    action: str
    pipeline: str
    kind: FormKind
    fields: tuple[Field, ...]
    zone: str
    first: str = ""
    last: str = ""
    at_once: int = AT_ONCE["predict"]
    paused: bool = False
    today: dt.date | None = None


CATCH_UP = FormKind(
    "Catch up",
    dag_ids.WAREHOUSE,
    "Lands, builds and validates every night from the first day to the last and puts it into the lake, in one run for "
    "all pipelines. Existing days stay unchanged if the source delivers the same rows. Afterwards, backfill the "
    "predictions of these days.",
    "Start catching up",
)


def kind_of(action: str, pipeline: str) -> FormKind | None:
    """The form of this action for this pipeline; None if there is no such action."""
    kinds = {
        "backfill": FormKind(
            "Backfill",
            dag_ids.predict(pipeline),
            "Predicts every day of a range, oldest first, a few at a time. Days that are already published from the "
            "same features by the same model under the same policy are skipped.",
            "Start the backfill",
        ),
        "predict": FormKind(
            "Predict a day",
            dag_ids.predict(pipeline),
            "Scores, audits and publishes one day. What was published before stays unless the new predictions pass.",
            "Predict the day",
        ),
        "train": FormKind(
            "Retrain",
            dag_ids.train(pipeline),
            "Trains a challenger on what was known at the day's cutoff, compares it with the champion on the "
            "same rows, and lets the gate decide which of them is better.",
            "Start training",
        ),
        "rollback": FormKind(
            "Roll back",
            dag_ids.rollback(pipeline),
            "Makes an earlier champion the champion again. Published days do not change until they are predicted "
            "again.",
            "Roll back",
        ),
        "threshold": FormKind(
            "Set the threshold",
            dag_ids.threshold(pipeline),
            "Sets the probability from which a decision is true, from a day on. Published days do not change until "
            "they are predicted again.",
            "Set the threshold",
        ),
        "approve": FormKind(
            "Request approval",
            dag_ids.approve(pipeline),
            "Asks a person to decide whether a version becomes champion. A card compares it with the champion and "
            "takes the decision and its reason.",
            "Request approval",
        ),
    }
    return kinds.get(action)


def build(
    action: str,
    kind: FormKind,
    spec: PipelineSpec,
    *,
    params: Mapping[str, Mapping[str, Any]],
    given: Mapping[str, str],
    today: dt.date | None = None,
) -> Form:
    """The form with the DAG's defaults, replaced by values from the page's address where it has them.

    No day may be later than `today`.
    """
    hidden = DAYS if action == "backfill" else ()
    fields = tuple(
        _until(_field(name, schema, given.get(name), must_be_given=name == "day" and action in MUST_NAME_DAY), today)
        for name, schema in params.items()
        if name not in hidden
    )
    return Form(
        action=action,
        pipeline=spec.name,
        kind=kind,
        fields=fields,
        zone=spec.schedule.timezone,
        first=_date(given.get("from")),
        last=_date(given.get("to")),
        today=today,
    )


def build_catch_up(params: Mapping[str, Mapping[str, Any]], given: Mapping[str, str]) -> Form:
    """The form of the warehouse's DAG for a range of days."""
    days = {
        "first_day": ("First day", "The first night that was missed."),
        "day": ("Last day", "The last night to build. Every night between is built too, oldest first."),
    }
    limits = [
        replace(_field(name, params[name], _date(given.get(name)), must_be_given=True), title=title, about=about)
        for name, (title, about) in days.items()
    ]
    others = [_field(name, schema, given.get(name)) for name, schema in params.items() if name not in days]
    return Form(action="catch_up", pipeline="", kind=CATCH_UP, fields=(*limits, *others), zone="")


def _field(name: str, schema: Mapping[str, Any], given: str | None, *, must_be_given: bool = False) -> Field:
    """The input. `must_be_given`: it must not be empty, although Airflow would accept that for some runs."""
    kinds = schema.get("type", "string")
    types = [kinds] if isinstance(kinds, str) else list(kinds)
    nullable = "null" in types
    if schema.get("enum"):
        kind = "select"
    elif "boolean" in types:
        kind = "checkbox"
    elif "integer" in types or "number" in types:
        kind = "number"
    else:
        kind = "date" if schema.get("format") == "date" else "text"
    shown = schema.get("values_display") or {}
    default = schema.get("default")
    return Field(
        name=name,
        title=str(schema.get("title") or name.replace("_", " ").capitalize()),
        about=str(schema.get("description") or ""),
        kind=kind,
        value=default if given is None else given,
        options=tuple((str(each), str(shown.get(each, each))) for each in schema.get("enum") or () if each is not None),
        suggestions=tuple(str(each) for each in schema.get("examples") or ()),
        pattern=str(schema.get("pattern") or "").removeprefix("^").removesuffix("$"),
        minimum=schema.get("minimum"),
        step="any" if "number" in types else "",
        maximum=schema.get("maximum"),
        longest=schema.get("maxLength"),
        required=must_be_given or (not nullable and kind in ("text", "date", "number")),
        nullable=nullable and not must_be_given,
        more=bool(schema.get("section")),
    )


def _until(field: Field, today: dt.date | None) -> Field:
    """The field; a day that a run works on cannot be later than today."""
    return replace(field, maximum=today) if field.name in DAYS else field


def _date(text: str | None) -> str:
    try:
        return str(dt.date.fromisoformat(text or ""))
    except ValueError:
        return ""
