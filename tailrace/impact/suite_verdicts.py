"""What the expectation suites of both sides say of a pipeline's last day: each side's suites of its own rows."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from tailrace.contracts import ExpectationResult, Services, Severity, Validator, Verdict
from tailrace.errors import TailraceError
from tailrace.settings import Settings
from tailrace.validation import describe_failures


@dataclass(frozen=True, kw_only=True)
class SuiteVerdicts:
    """What tonight's validation would refuse or warn of after the edit only; `lifted`: before the edit only."""

    refused: Sequence[str] = ()
    warned: Sequence[str] = ()
    lifted: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class JudgedPart:
    """A part of a pipeline: features, outcomes or predictions of the last day, before and after the edit."""

    pipeline: str
    part: str
    day: dt.date
    key: Sequence[str]
    before: pa.Table
    after: pa.Table


@dataclass
class _Said:
    refused: list[str] = field(default_factory=list)
    warned: list[str] = field(default_factory=list)
    lifted: list[str] = field(default_factory=list)


def of(services: Services, settings: Settings, base_suites: Path, parts: Collection[JudgedPart]) -> SuiteVerdicts:
    """Judge each part on both sides, without Data Docs. A suite that one side does not have says nothing there."""
    said = _Said()
    before, after = (_validator(services, settings, suites) for suites in (base_suites, settings.suites))
    for part in parts:
        _judge(part, before, after, said)
    return SuiteVerdicts(refused=said.refused, warned=said.warned, lifted=said.lifted)


def _judge(part: JudgedPart, before: Validator, after: Validator, said: _Said) -> None:
    suite = f"{part.pipeline}/{part.part}"
    one = _verdict(before, suite, part, part.before)
    other = _verdict(after, suite, part, part.after)
    if isinstance(other, TailraceError):
        said.refused.append(_line(str(other)))
        return
    known = {} if isinstance(one, TailraceError) else _failed(one)
    now = _failed(other)
    fresh = replace(other, results=tuple(it for key, it in now.items() if key not in known))
    if fresh.failures("critical"):
        said.refused.append(_line(describe_failures(fresh, "critical")))
    if fresh.failures("warning"):
        said.warned.append(_line(describe_failures(fresh, "warning")))
    if isinstance(one, TailraceError):
        return
    gone = replace(one, results=tuple(it for key, it in known.items() if key not in now))
    severities: tuple[Severity, ...] = ("critical", "warning")
    said.lifted += [_line(describe_failures(gone, kind)) for kind in severities if gone.failures(kind)]


def _failed(verdict: Verdict) -> Mapping[Any, ExpectationResult]:
    return {(it.expectation, it.column, it.severity): it for it in verdict.results if not it.success}


def _verdict(validator: Validator, suite: str, part: JudgedPart, rows: pa.Table) -> Verdict | TailraceError:
    try:
        return validator.validate(suite, part.day, rows.to_reader(), part.key)
    except TailraceError as error:
        return error


def _line(text: str) -> str:
    return " ".join(text.split())


def _validator(services: Services, settings: Settings, suites: Path) -> Validator:
    """The configured validator with these suites, without Data Docs: nobody should find a page of a review."""
    if settings.use.validator == "great_expectations":
        from tailrace.validation.great_expectations import GreatExpectationsValidator

        return GreatExpectationsValidator(suites, None)
    elsewhere = getattr(services.validator, "elsewhere", None)
    found: Validator = elsewhere(suites) if elsewhere is not None else services.validator
    return found
