"""Judge the days' features and outcomes in the warehouse, before the lake takes them."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from tailrace import days
from tailrace.contracts import Verdict
from tailrace.errors import ValidationFailed
from tailrace.rows import marts
from tailrace.spec import PARTS
from tailrace.validation import describe_failures
from tailrace.work import Work


@dataclass(frozen=True, kw_only=True)
class Validated:
    """Rows judged by part, the warnings as sentences, and the reports."""

    pipeline: str
    first: dt.date
    last: dt.date
    rows: Mapping[str, int]
    warnings: tuple[str, ...]
    reports: tuple[str, ...]


def run(work: Work, first: dt.date, last: dt.date) -> Validated:
    """Judge each of the days first..last.

    Raises ValidationFailed naming every critical expectation that failed, of both tables.
    """
    verdicts = [_judge(work, part, first, last) for part in PARTS]
    failed = [describe_failures(verdict, "critical") for verdict in verdicts if verdict.failures("critical")]
    if failed:
        which = str(first) if first == last else f"{first} to {last}"
        raise ValidationFailed(
            "\n".join(failed) + f"\nNothing of {which} was taken into the lake. Correct the data or its dbt models, "
            "and build and validate again."
        )
    return Validated(
        pipeline=work.spec.name,
        first=first,
        last=last,
        rows={part: verdict.rows for part, verdict in zip(PARTS, verdicts, strict=True)},
        warnings=tuple(describe_failures(verdict, "warning") for verdict in verdicts if verdict.failures("warning")),
        reports=tuple(verdict.report for verdict in verdicts),
    )


def _judge(work: Work, part: str, first: dt.date, last: dt.date) -> Verdict:
    services, spec = work.services, work.spec
    key = spec.features.key
    opening = marts.read(services.warehouse, spec, part, first)
    others = days.span(first + dt.timedelta(days=1), last)
    rest = (marts.read(services.warehouse, spec, part, day) for day in others)
    batches = itertools.chain(opening, itertools.chain.from_iterable(rest))
    rows = pa.RecordBatchReader.from_batches(opening.schema, batches)
    return services.validator.validate(f"{spec.name}/{part}", last, rows, key, days=(last - first).days + 1)
