"""What an operator needs to see of predictions that the audit refused: they are deleted, and this is what is kept.

It is stored as JSON with the refusal, so that nothing has to be computed again to show it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from tailrace.contracts import Staged, Verdict
from tailrace.errors import TailraceError
from tailrace.lineage import identity, pins
from tailrace.monitoring import drift, references
from tailrace.monitoring.drift_rows import DriftMeasure
from tailrace.problems import Problem
from tailrace.problems.distributions import Distribution, equal_edges
from tailrace.work import Work

BINS = 20
MOST_ROWS = 20
"""At most this many failing rows of an expectation are kept."""


@dataclass(frozen=True, kw_only=True)
class FailedExpectation:
    """An expectation that failed, and some of the rows that broke it."""

    expectation: str
    column: str
    expected: str
    observed: str
    bad_rows: Sequence[Mapping[str, str]] = ()


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """The refused predictions of a day: how many, their shares in equal bins, and the expectations that failed.

    `holdout` has the edges and shares of the predictions on the holdout of the model's training. `moved` has the
    features that they were made from, furthest beyond what a day may have first; empty if that is not known.
    """

    rows: int = 0
    edges: tuple[float, ...] = ()
    shares: tuple[float, ...] = ()
    holdout: Mapping[str, Sequence[float]] = field(default_factory=dict)
    failed: tuple[FailedExpectation, ...] = ()
    moved: tuple[DriftMeasure, ...] = ()

    def to_json(self) -> str:
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> Evidence:
        """The evidence that `to_json` wrote; empty for a refusal of an earlier release."""
        if not text:
            return cls()
        stored = json.loads(text)
        return cls(
            rows=stored["rows"],
            edges=tuple(stored["edges"]),
            shares=tuple(stored["shares"]),
            holdout=stored["holdout"],
            failed=tuple(FailedExpectation(**each) for each in stored["failed"]),
            moved=tuple(DriftMeasure(**each) for each in stored.get("moved", ())),
        )


def of(work: Work, staged: Staged, verdict: Verdict, scores: np.ndarray) -> Evidence:
    """The evidence of what a run staged; `scores` are the numbers that drift is told by."""
    spec = work.spec
    problem, known = spec.problem, scores[np.isfinite(scores)]
    counts, edges = np.histogram(known, equal_edges(known, len(problem.drift_names) or BINS, problem.drift_range))
    return Evidence(
        rows=staged.rows,
        edges=tuple(edges.tolist()) if len(known) else (),
        shares=tuple((counts / max(counts.sum(), 1)).tolist()) if len(known) else (),
        holdout=_holdout(problem, staged.notes.get("holdout_scores")),
        failed=tuple(
            FailedExpectation(
                expectation=each.expectation,
                column=each.column or "",
                expected=str(each.expected),
                observed=str(each.observed),
                bad_rows=[_words(row) for row in each.bad_rows[:MOST_ROWS]],
            )
            for each in verdict.failures("critical")
        ),
        moved=_moved(work, staged),
    )


def _holdout(problem: Problem, told: str | None) -> Mapping[str, Any]:
    return json.loads(Distribution.from_json(told).in_order_of(problem.drift_classes).to_json()) if told else {}


def _moved(work: Work, staged: Staged) -> tuple[DriftMeasure, ...]:
    """How far the features moved since the training; empty if the tracker does not know, or does not answer."""
    spec, lake = work.spec, work.services.lake
    try:
        held = references.of_run(work.services.tracker, staged.notes.get(identity.RUN, ""))
        if held is None:
            return ()
        names = held.compared(spec)
        rows = lake.read_pin(pins.from_json(staged.notes["features_pin"]), names).read_all()
    except TailraceError:
        # a refusal must not become another error because of its evidence
        return ()
    found = []
    for name in names if rows.num_rows else []:
        column, reference = references.comparable(spec, rows, name), held.features[name]
        judged = drift.judge(name, reference, column, day=staged.day, before={}, monitor=spec.monitor)
        found.append(DriftMeasure(name=name, psi=judged.psi, allowance=judged.allowance))
    return tuple(sorted(found, key=lambda each: each.psi - (each.allowance or 0), reverse=True))


def _words(row: Mapping[str, Any]) -> dict[str, str]:
    return {column: "null" if value is None else str(value) for column, value in row.items()}
