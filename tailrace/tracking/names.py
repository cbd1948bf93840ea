"""The tags by which Tailrace finds its own things in a tracker again."""

from __future__ import annotations

from tailrace.lineage.identity import DIGEST_TAG as MODEL_DIGEST

__all__ = [
    "CLOSED_BECAUSE",
    "CLOSED_BY",
    "KIND",
    "MODEL_DIGEST",
    "PIPELINE",
    "TRAINING",
    "TRIAL",
    "TRIAL_STATE",
]

PIPELINE = "tailrace.pipeline"
KIND = "tailrace.kind"
TRAINING = "training"
TRIAL = "trial"
TRIAL_STATE = "tailrace.trial_state"
CLOSED_BECAUSE = "tailrace.closed_because"
CLOSED_BY = "tailrace.closed_by"
