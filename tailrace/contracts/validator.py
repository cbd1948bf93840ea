"""The validator: judges rows by the expectation suites of a project."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import pyarrow as pa

Severity = Literal["critical", "warning"]


@dataclass(frozen=True, kw_only=True)
class ExpectationResult:
    """One expectation on the rows of a day, or of a range: then it succeeds if it does on each day.

    `failed_days` are those of a range on which it failed.
    """

    expectation: str
    column: str | None
    severity: Severity
    success: bool
    expected: str
    observed: str
    bad_rows: tuple[Mapping[str, Any], ...] = ()
    failed_days: tuple[dt.date, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A suite's judgement of the rows of a day, or of each of the days from `first` to `day`."""

    suite: str
    day: dt.date
    rows: int
    results: tuple[ExpectationResult, ...]
    report: str = ""
    first: dt.date | None = None

    @property
    def dates(self) -> str:
        """The day, or the first and the last, as text."""
        return str(self.day) if self.first in (None, self.day) else f"{self.first} to {self.day}"

    def failures(self, severity: Severity) -> tuple[ExpectationResult, ...]:
        return tuple(r for r in self.results if not r.success and r.severity == severity)


ColumnKind = Literal["number", "category", "text", "time", "day", "flag", "unknown"]


@dataclass(frozen=True)
class KnownColumns:
    """What is known of a table's columns before it is built; `complete` if it has no others."""

    kinds: Mapping[str, ColumnKind] = field(default_factory=dict)
    complete: bool = False


class Validator(Protocol):
    """Judges rows by the expectation suites in `expectations/`."""

    def check(self, suite: str, columns: KnownColumns | None = None) -> None:
        """Judge no rows and one row by the suite, with columns of the kinds that are known.

        Raises UnknownName if there is no such suite, BadInput listing every problem of its file and every expectation
        that cannot be judged.
        """
        ...

    def validate(
        self, suite: str, day: dt.date, rows: pa.RecordBatchReader, key: Sequence[str], *, days: int = 1
    ) -> Verdict:
        """Judge the rows of a day by a suite such as 'flight_delay/features'; or of each of the `days` up to `day`.

        The verdict on a range is the union of the verdicts on its days: an expectation fails if it fails on one of
        them, and the result names those days. The rows of a range say of which day they are by their column `ds`; a
        day without rows is judged too. NaN is missing, as null is, and times are in UTC. Bad rows are shown with their
        key columns and the column judged, five at most. Does not raise on failed expectations; raises UnknownName if
        there is no such suite, BadInput if it is malformed, SchemaMismatch if the rows cannot be judged at all.
        """
        ...
