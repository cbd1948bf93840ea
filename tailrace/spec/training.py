"""How a pipeline learns: the candidates and what to search, how long, and from which days."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tailrace.errors import did_you_mean
from tailrace.problems import Problem
from tailrace.spec.checks import LATER, MOST_DAYS, at_most, one_of
from tailrace.spec.columns import Features, Outcome
from tailrace.spec.domains import Choice, Domain
from tailrace.spec.nested import TRANSFORMERS, Estimator, nested
from tailrace.spec.parameters import unrecordable

READ_NO_TEXTS = {"xgboost": "XGBoost", "lightgbm": "LightGBM"}

MOST_TRIALS = 1_000_000
MOST_SECONDS = 366 * 86_400


@dataclass(frozen=True)
class Candidate:
    """An estimator to try: fixed parameters, and the domains of those to search."""

    name: str
    """Its name in reports and in MLflow; candidates of one pipeline have different names."""
    estimator: str
    """The import path of the estimator's class, such as `sklearn.linear_model.LogisticRegression`."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Fixed parameters. A parameter that is an estimator itself is written as `Estimator(path, parameters, search)`."""
    search: Mapping[str, Domain] = field(default_factory=dict)
    """Parameters to search, each with its `IntRange`, `FloatRange` or `Choice`. Without any, one trial is made."""
    transformers: Mapping[str, Estimator] = field(default_factory=dict, metadata=LATER, kw_only=True)
    """By feature column: what prepares this column in place of the usual preprocessing. Only for estimators of
    scikit-learn."""

    def problems(self, features: Features) -> Iterator[str]:
        """A sentence for each thing that is wrong; what the estimator's class says of it is in `estimators`."""
        where = self.where
        yield from self._unrecordable()
        for parameter in sorted(set(self.parameters) & set(self.search)):
            yield f"{where}.search has {parameter!r}, which .parameters fixes already."
        yield from self._nested_problems()
        yield from self._transformer_problems(features)
        odd = [name for name in features.columns if set(name) & set("[]<")]
        if odd and self.estimator.startswith("xgboost."):
            named = ", ".join(map(repr, odd))
            yield f"{where}: XGBoost takes no column names with [, ] or <; rename {named} in dbt and here."
        if not self.estimator.startswith("sklearn.") and features.of_kind("text"):
            library = READ_NO_TEXTS.get(self.library, "Spark ML")
            yield f"{where}: {library} does not read texts; use an estimator of scikit-learn, or leave the texts out."
        if "num_workers" in self.search:
            yield f"{where}.search has 'num_workers', which is the cluster's; fix it in .parameters, or leave it out."
        for parameter, domain in self.search.items():
            yield from domain.problems(f"{where}.search[{parameter!r}]")

    @property
    def library(self) -> str:
        """The package of its estimator, such as xgboost."""
        return self.estimator.partition(".")[0]

    @property
    def nested(self) -> list[tuple[str, Estimator]]:
        """The estimators inside its parameters and its transformers, at any depth, with scikit-learn's paths to them.

        Paths of transformers begin with `transformers__` and the column.
        """
        inside = nested(self.transformers)
        return [*nested(self.parameters), *((path and f"{TRANSFORMERS}__{path}", each) for path, each in inside)]

    @property
    def searched(self) -> dict[str, Domain]:
        """All that is searched, by its path: `C` is the estimator's own, `svm__C` that of a nested one."""
        inner = {f"{path}__{name}": domain for path, each in self.nested for name, domain in each.search.items()}
        return {**self.search, **inner}

    def where_nested(self, path: str, each: Estimator) -> str:
        """What sentences call a nested estimator."""
        for column in self.transformers:
            if path == f"{TRANSFORMERS}__{column}":
                return f"{self.where}.transformers[{column!r}]"
        return f"{self.where}: the estimator at {path!r}" if path else f"{self.where}: the estimator {each.path}"

    @property
    def where(self) -> str:
        """What sentences call it."""
        return f"candidates[{self.name!r}]"

    def _nested_problems(self) -> Iterator[str]:
        if any(nested(self.parameters)) and not self.estimator.startswith("sklearn."):
            yield f"{self.where}.parameters has an Estimator, but only scikit-learn's take others; leave it out."
        fixed = {*self.parameters, *(f"{path}__{name}" for path, each in self.nested for name in each.parameters)}
        for path, each in self.nested:
            where = self.where_nested(path, each)
            for name, domain in each.search.items():
                yield from domain.problems(f"{where}: search[{name!r}]")
                if not path:
                    yield (
                        f"{where} has no name, so its {name!r} cannot be searched: put it into a list of names and "
                        "estimators, or let it be a parameter by itself."
                    )
                elif f"{path}__{name}" in fixed:
                    yield f"{where} searches {name!r}, which is fixed already."
                elif f"{path}__{name}" in self.search:
                    yield f"{where} searches {name!r}, and so does {self.where}.search; keep one of the two."
        for path in sorted(set(self.search) & (fixed - set(self.parameters))):
            yield f"{self.where}.search has {path!r}, which the nested estimator fixes already."

    def _transformer_problems(self, features: Features) -> Iterator[str]:
        where = f"{self.where}.transformers"
        if self.transformers and not self.estimator.startswith("sklearn."):
            yield f"{where}: only scikit-learn's estimators have transformers, {self.estimator} has none; leave it out."
        for column in self.transformers:
            if column not in features.columns:
                nearest = did_you_mean(column, features.columns)
                yield f"{where} has {column!r}, which is not in features.columns.{nearest}"

    def _unrecordable(self) -> Iterator[str]:
        """A parameter is part of the spec's digest, so it must be the same in every process."""
        options = {name: domain.options for name, domain in self.search.items() if isinstance(domain, Choice)}
        parts = {"parameters": self.parameters, "search": options, "transformers": self.transformers}
        for part, values in parts.items():
            for parameter, value in values.items():
                for what in unrecordable(value):
                    yield (
                        f"{self.where}.{part}[{parameter!r}] has {what}, whose content cannot be recorded; use "
                        "numbers, texts, True, False, None, lists and dicts of these, or estimators of scikit-learn."
                    )


def candidate_problems(candidates: tuple[Candidate, ...], features: Features) -> Iterator[str]:
    """A sentence for each thing that is wrong with the candidates, together or one by one."""
    if not candidates:
        yield "candidates is empty; name at least one estimator."
    names = [candidate.name for candidate in candidates]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"candidates has {name!r} {names.count(name)} times; names must differ."
    for candidate in candidates:
        yield from candidate.problems(features)


@dataclass(frozen=True, kw_only=True)
class SearchBudget:
    """How long a training searches, and by what it compares trials."""

    trials: int = 20
    """The number of trials, over all candidates. Each candidate gets one; the rest are shared in proportion to the
    parameters that each searches."""
    seconds: int = 3600
    """In seconds: no trial starts after this time."""
    metric: str = ""
    """The metric by which trials are compared. Empty: the problem's own, such as `log_loss` for `Binary` and `rmse`
    for `Regression`."""

    def problems(self, problem: Problem) -> Iterator[str]:
        """A sentence for each thing that is wrong."""
        if self.trials < 1:
            yield f"search.trials is {self.trials}; at least 1 is needed."
        if self.seconds < 1:
            yield f"search.seconds is {self.seconds}; at least 1 is needed."
        yield from at_most("search.trials", self.trials, MOST_TRIALS)
        yield from at_most("search.seconds", self.seconds, MOST_SECONDS)
        if self.metric in problem.metrics and self.metric not in problem.search_metrics:
            yield (
                f"search.metric is {self.metric!r}, which judges intervals, and only the best trial's model gets them; "
                f"use one of {', '.join(problem.search_metrics)}."
            )
        else:
            yield from one_of("search.metric", self.metric, problem.search_metrics)


@dataclass(frozen=True, kw_only=True)
class Window:
    """Days of features to learn from, of which the last `holdout_days` are kept for the gate."""

    days: int
    """The number of days with features in a training, the holdout included."""
    holdout_days: int
    """The number of last days of the window that no model learns from. The gate measures challenger and champion on
    them."""

    def problems(self, outcome: Outcome) -> Iterator[str]:
        """A sentence for each thing that is wrong; the outcome's lag is a part of the window."""
        if outcome.lag_days < 1:
            yield f"outcome.lag_days is {outcome.lag_days}; an outcome is known 1 day later at the earliest."
        if outcome.late_days < 0:
            yield f"outcome.late_days is {outcome.late_days}; it must be 0 or more."
        yield from at_most("outcome.lag_days", outcome.lag_days, MOST_DAYS)
        yield from at_most("outcome.late_days", outcome.late_days, MOST_DAYS)
        yield from at_most("window.days", self.days, MOST_DAYS)
        if self.holdout_days < 1:
            yield f"window.holdout_days is {self.holdout_days}; the gate needs at least 1 day."
        if self.days <= self.holdout_days:
            yield (
                f"window.days is {self.days} and window.holdout_days is {self.holdout_days}; "
                "more days than the holdout's are needed to learn from."
            )
