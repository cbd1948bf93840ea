"""The trigger forms of the DAGs in which a person decides: approve, roll back, set a threshold, promote a baseline."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Param

from tailrace.operations.people import REASON_LENGTH
from tailrace.orchestration import forms
from tailrace.spec import PipelineSpec

FOR_THE_RECORD = "Why, for the record: it is kept with the decision."


def approve() -> dict[str, Any]:
    """The form of `approve__<pipeline>`."""
    return {
        "training_run": forms.field(
            type="string",
            minLength=1,
            maxLength=64,
            title="Training run",
            description="Whom to judge: a training run's id, or a model version's number.",
        ),
        "dry_run": forms.dry_run("Write the card into the task's log, and ask nobody."),
    }


def answer_reason() -> Param:
    """Why a person approves or rejects: Airflow's page takes no answer without it, and `Approval` asks again."""
    # A default that does not pass its own schema would fail the task before it can ask.
    return forms.field("", type="string", maxLength=REASON_LENGTH, title="Reason", description=FOR_THE_RECORD)


def rollback() -> dict[str, Any]:
    """The form of `rollback__<pipeline>`."""
    version = forms.field(
        type="string",
        pattern=r"^[1-9][0-9]{0,8}$",
        title="Version",
        description="The former champion that is to be champion again: a version number.",
    )
    return {
        "version": version,
        **_from_day("The day from which on it scores. Empty: the day after the last published one."),
        "dry_run": forms.dry_run("Say who would be champion from which day on, and change nothing."),
    }


def threshold(spec: PipelineSpec) -> dict[str, Any]:
    """The form of `threshold__<pipeline>`."""
    value = forms.field(
        spec.predictions.threshold,
        type="number",
        minimum=0,
        maximum=1,
        title="Threshold",
        description="The probability from which a decision is true.",
    )
    return {
        "threshold": value,
        **_from_day("The first day that it counts for. Empty: the day after the last published one."),
        "dry_run": forms.dry_run("Say which threshold would count from which day on, and change nothing."),
    }


def baseline(spec: PipelineSpec) -> dict[str, Any]:
    """The form of `baseline__<pipeline>`."""
    names = [baseline.name for baseline in spec.baselines]
    rule = forms.field(
        names[0],
        type="string",
        enum=names,
        title="Baseline",
        description="The rule of the spec that is to be champion.",
    )
    return {
        "baseline": rule,
        **_from_day("The day from which on it scores. Empty: the last day with features."),
        "dry_run": forms.dry_run("Try the rule, say who would be champion from which day on, and change nothing."),
    }


def _from_day(description: str) -> dict[str, Any]:
    """From which day on a decision counts, and why it is made."""
    return {
        "from_day": forms.field(
            None, type=["null", "string"], format="date", title="From day", description=description
        ),
        "reason": forms.field(
            type="string", minLength=1, maxLength=REASON_LENGTH, title="Reason", description=FOR_THE_RECORD
        ),
    }
