"""Judge the day's features and outcomes in the warehouse, before the lake takes them."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from pipelines.errors import ValidationFailed
from pipelines.interfaces import Services, Verdict
from pipelines.spec import PipelineSpec
from pipelines.validation import describe_failures

PARTS = ("features", "outcomes")


@dataclass(frozen=True)
class Validated:
    """Rows judged by part, the warnings as sentences, and the reports."""

    pipeline: str
    day: dt.date
    rows: dict[str, int]
    warnings: tuple[str, ...]
    reports: tuple[str, ...]


def run(services: Services, spec: PipelineSpec, day: dt.date) -> Validated:
    """Raises ValidationFailed naming every critical expectation that failed, of both tables."""
    verdicts = [_judge(services, spec, part, day) for part in PARTS]
    if any(verdict.failures("critical") for verdict in verdicts):
        failed = [describe_failures(verdict, "critical") for verdict in verdicts if verdict.failures("critical")]
        raise ValidationFailed(
            "\n".join(failed) + f"\nNothing of {day} was taken into the lake. Correct the data or its dbt models and "
            f"build the day again. Data Docs: {verdicts[0].report}"
        )
    return Validated(
        spec.name,
        day,
        {part: verdict.rows for part, verdict in zip(PARTS, verdicts, strict=True)},
        tuple(describe_failures(verdict, "warning") for verdict in verdicts if verdict.failures("warning")),
        tuple(verdict.report for verdict in verdicts),
    )


def _judge(services: Services, spec: PipelineSpec, part: str, day: dt.date) -> Verdict:
    key = spec.features.key
    rows = services.warehouse.read(f"{spec.name}_{part}", day, key)
    return services.validator.validate(f"{spec.name}/{part}", day, rows, key)
