"""What only candidates of one machine can do."""

from __future__ import annotations

from collections.abc import Iterator

from tailrace.problems import Problem
from tailrace.spec.columns import Features
from tailrace.spec.training import Candidate


def cluster_problems(candidate: Candidate, problem: Problem, features: Features) -> Iterator[str]:
    """A sentence if the spec asks for something that a candidate of a cluster's executors cannot do."""
    fields = [f"outcome.problem.{name}" for name in problem.one_machine_for]
    fields += ["features.weight"] if features.weight is not None else []
    if fields:
        yield (
            f"{candidate.where}.estimator {candidate.estimator!r} trains on a cluster's executors together, which is "
            f"not possible with {' and '.join(fields)}; use an estimator of scikit-learn, XGBClassifier or "
            f"XGBRegressor, or leave {'it' if len(fields) == 1 else 'them'} out."
        )
