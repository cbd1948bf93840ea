"""Predictions that nothing has to learn: a constant, a feature's own value, or an expression over the features."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tailrace.errors import did_you_mean
from tailrace.problems import Problem
from tailrace.spec.columns import Features
from tailrace.spec.training import Candidate

RULES = ("constant", "column", "sql")


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """A rule that a person can make champion before there are any labels (`tailrace promote --baseline`).

    It is one of three: a `constant`; a feature's `column`, such as last week's number; or `sql`, an expression over
    the features of a row, which DuckDB evaluates, such as "case when visits = 0 then 0.9 else 0.2 end". Its values are
    probabilities of true for `Binary` (a number beyond 0 and 1 counts as 0 or 1, and true as 1), classes for
    `Multiclass`, and numbers for `Regression`. Where it gives no value, or no known class, `otherwise` is predicted.
    """

    name: str
    """What `tailrace promote --baseline` and reports call it."""
    constant: float | str | bool | None = None
    """What is predicted for every row."""
    column: str | None = None
    """The feature whose value is predicted."""
    sql: str | None = None
    """An expression over the features of a row."""
    otherwise: float | str | bool | None = None
    """What is predicted where `column` or `sql` gives no value; needed with these two."""

    @property
    def where(self) -> str:
        """What sentences call it."""
        return f"baselines[{self.name!r}]"

    @property
    def rules(self) -> tuple[str, ...]:
        """Which of the three it has."""
        return tuple(rule for rule in RULES if getattr(self, rule) is not None)

    def problems(self, features: Features, problem: Problem) -> Iterator[str]:
        """A sentence for each thing that is wrong; what DuckDB says of its SQL is in the dry run."""
        if not self.name.strip():
            yield f"{self.where} has no name; a person names it to make it champion."
        if len(self.rules) != 1:
            given = " and ".join(self.rules) or "none"
            yield f"{self.where} has {given} of {', '.join(RULES)}; give it exactly one."
            return
        field, value = ("otherwise", self.otherwise) if self.constant is None else ("constant", self.constant)
        if value is None:
            yield f"{self.where}.otherwise is missing: what is predicted for a row for which the rule has no value?"
        elif wrong := problem.wrong_rule_value(value):
            yield f"{self.where}.{field} is {value!r}; {wrong}."
        if self.constant is not None and self.otherwise is not None:
            yield f"{self.where}.otherwise is never used: a constant has a value for every row; leave it out."
        if self.column is not None:
            yield from self._column_problems(features, problem)

    def _column_problems(self, features: Features, problem: Problem) -> Iterator[str]:
        kind = features.columns.get(str(self.column))
        fitting = [name for name, its_kind in features.columns.items() if its_kind in problem.rule_kinds]
        if kind is None:
            near = did_you_mean(str(self.column), fitting)
            yield f"{self.where}.column is {self.column!r}, which is not in features.columns.{near}"
        elif kind not in problem.rule_kinds:
            yield (
                f"{self.where}.column is {self.column!r}, which is {kind}; for {problem!r} a prediction is read from a "
                f"column that is {' or '.join(problem.rule_kinds)}. Say it as an expression: sql=..."
            )


def baselines_problems(
    baselines: tuple[Baseline, ...], candidates: tuple[Candidate, ...], features: Features, problem: Problem
) -> Iterator[str]:
    """A sentence for each thing that is wrong with the baselines, together or one by one."""
    names = [baseline.name for baseline in baselines]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"baselines has {name!r} {names.count(name)} times; names must differ."
    for name in sorted({*names} & {candidate.name for candidate in candidates}):
        yield f"baselines has {name!r}, which is a candidate's name too; reports would not tell them apart."
    for baseline in baselines:
        yield from baseline.problems(features, problem)
