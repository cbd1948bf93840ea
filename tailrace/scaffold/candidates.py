"""The candidates of a new pipeline: one that learns nothing, a linear one, and trees."""

from __future__ import annotations

from collections.abc import Mapping

from tailrace.problems import Problem
from tailrace.spec import Candidate, Choice, Domain, FloatRange, IntRange

_XGBOOST_SEARCH: Mapping[str, Domain] = {
    "max_depth": IntRange(3, 7),
    "learning_rate": FloatRange(0.03, 0.3, log=True),
    "min_child_weight": IntRange(1, 50, log=True),
    "subsample": Choice((0.7, 0.85, 1.0)),
}
_HISTOGRAM_SEARCH: Mapping[str, Domain] = {
    "learning_rate": FloatRange(0.02, 0.3, log=True),
    "max_leaf_nodes": IntRange(4, 31, log=True),
}


def of(problem: Problem, kinds: Mapping[str, str]) -> tuple[Candidate, ...]:
    """The candidates for these features; with texts, those that read them."""
    classifies = problem.estimators == "classifier"
    dummy = ("DummyClassifier", "prior") if classifies else ("DummyRegressor", "mean")
    baseline = Candidate("baseline", f"sklearn.dummy.{dummy[0]}", {"strategy": dummy[1]})
    linear = _classifier() if classifies else _regressor(problem)
    return (baseline, linear) if "text" in kinds.values() else (baseline, linear, _trees(problem, kinds))


def _classifier() -> Candidate:
    search = {"C": FloatRange(0.01, 10.0, log=True)}
    return Candidate("logistic", "sklearn.linear_model.LogisticRegression", {"max_iter": 500}, search)


def _regressor(problem: Problem) -> Candidate:
    if problem.distribution == "poisson":
        search = {"alpha": FloatRange(0.001, 10.0, log=True)}
        return Candidate("poisson", "sklearn.linear_model.PoissonRegressor", {"max_iter": 500}, search)
    return Candidate("ridge", "sklearn.linear_model.Ridge", {}, {"alpha": FloatRange(0.01, 100.0, log=True)})


def _trees(problem: Problem, kinds: Mapping[str, str]) -> Candidate:
    kind = "Classifier" if problem.estimators == "classifier" else "Regressor"
    if any(set(name) & set("[]<") for name in kinds):
        # XGBoost takes no such names.
        loss = {"loss": "poisson"} if problem.distribution == "poisson" else {}
        path = f"sklearn.ensemble.HistGradientBoosting{kind}"
        return Candidate("histogram_trees", path, {**loss, "max_iter": 150}, _HISTOGRAM_SEARCH)
    return Candidate(
        "boosted_trees", f"xgboost.XGB{kind}", {"tree_method": "hist", "n_estimators": 150}, _XGBOOST_SEARCH
    )
