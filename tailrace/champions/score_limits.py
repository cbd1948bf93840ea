"""How far a day's scores may be from those of the holdout: for the audit, and for the gate before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tailrace.problems import Problem
from tailrace.problems.distributions import DAYS_BEFORE, MORE_REPEATS, Distribution, allowed, repeats
from tailrace.spec import Audit

MOST_REFUSED = 2 / 3
"""A share of the holdout's days: a model of which the audit would refuse more is not promoted. Few days are judged, and
by few others, so less would say little."""
KNOWN = 4
"""So many days of a holdout say what single days are like, before the next is judged by them."""


@dataclass(frozen=True, kw_only=True)
class JudgedScores:
    """The scores' population stability index (PSI); the limit for a single day, None if that is not judged; and a
    sentence for each limit that is broken."""

    psi: float
    limit: float | None
    problems: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class JudgedHoldout:
    """The days of a holdout that the audit would judge, and those of them that it would refuse."""

    days: int
    refused: tuple[str, ...]

    @property
    def most(self) -> int:
        """How many may be refused."""
        return max(1, int(self.days * MOST_REFUSED))

    @property
    def accepted(self) -> bool:
        return len(self.refused) <= self.most

    def sentence(self) -> str:
        named = f" ({', '.join(self.refused)})" if self.refused else ""
        return (
            f"Of {self.days} days of the holdout, judged one by one, the audit would have refused "
            f"{len(self.refused)}{named}; at most {self.most} may be."
        )


def judged(audit: Audit, rows: int) -> bool:
    """Whether the audit judges how far so many scores moved."""
    return rows >= audit.psi_rows and (audit.max_psi is not None or audit.max_psi_excess is not None)


def judge(audit: Audit, holdout: Distribution, scores: np.ndarray, *, before: Sequence[float] = ()) -> JudgedScores:
    """Judge a day's scores. `before`: how far the days published before it are from the holdout, beyond chance."""
    psi, limit = holdout.index(scores), None
    problems = []
    if audit.max_psi is not None and not psi <= audit.max_psi:
        problems.append(
            f"predictions moved away from the training holdout's: population stability index {psi:.2f}, "
            f"at most {audit.max_psi:g} is accepted."
        )
    if audit.max_psi_excess is not None:
        single = allowed([holdout.usual or 0.0, *before], bins=len(holdout.shares), rows=len(scores))
        limit = single + audit.max_psi_excess
        if not psi <= limit:
            problems.append(
                f"predictions moved away from the training holdout's: population stability index {psi:.2f}. "
                + _limit_sentence(audit, holdout, single=single, published=bool(before))
            )
        if repeats_too_much(holdout, scores):
            problems.append(
                f"{repeats(scores):.0%} of the predictions are one and the same number; "
                f"on no day of the holdout was it more than {holdout.repeats:.0%}."
            )
    return JudgedScores(psi=psi, limit=limit, problems=tuple(problems))


def _limit_sentence(audit: Audit, holdout: Distribution, *, single: float, published: bool) -> str:
    """How far a day may be (`single`, and the excess on top of it), and by which single days."""
    excess = f"and audit.max_psi_excess allows {audit.max_psi_excess:g} more."
    known = ["the single days of the training"] if holdout.usual is not None else []
    known += ["the days that this version published before"] if published else []
    if known:
        return f"By {' and '.join(known)}, a day may have {single:.2f}, {excess}"
    # It is judged all the same: a broken day that is let in would widen the limit for the days after it.
    return (
        "No single day of this version is known: an earlier release of Tailrace trained it, and it published no day of "
        f"{audit.psi_rows} rows or more in the {DAYS_BEFORE} days before. So a day may have only {single:.2f}, by "
        f"chance, {excess} Train again: a training stores what its single days are like."
    )


def repeats_too_much(holdout: Distribution, scores: np.ndarray) -> bool:
    """Whether far more of the scores are one and the same number than on any day of the holdout."""
    return holdout.repeats is not None and repeats(scores) > holdout.repeats + MORE_REPEATS


def judge_holdout(audit: Audit, problem: Problem, days: np.ndarray, predictions: np.ndarray) -> JudgedHoldout | None:
    """Judge the days of a holdout one by one, as the audit will judge the days to come: by accepted days before it.

    The first days only say what single days are like. `max_psi`, which knows no single days, compares each day with the
    whole holdout. None if the audit judges no such thing, or no day can be judged.
    """
    scores = problem.drift_of(predictions)
    known = np.isfinite(scores)
    scores, days = scores[known], days[known]
    large = [day for day in np.unique(days) if judged(audit, int((days == day).sum()))]
    single = audit.max_psi_excess is not None
    accepted, due = (large[:KNOWN], large[KNOWN:]) if single else ([], large)
    if not due:
        return None
    whole = Distribution.of(scores, edges=problem.drift_edges)
    refused = []
    for day in due:
        before = np.isin(days, accepted)
        by = Distribution.of(scores[before], edges=whole.edges, days=days[before]) if single else whole
        if judge(audit, by, scores[days == day]).problems:
            refused.append(str(day))
        else:
            accepted.append(day)
    return JudgedHoldout(days=len(due), refused=tuple(refused))
