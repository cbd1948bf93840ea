"""The tags by which Tailrace finds its own things in a tracker again."""

from __future__ import annotations

PIPELINE = "tailrace.pipeline"
KIND = "tailrace.kind"
TRAINING = "training"
TRIAL = "trial"
TRIAL_STATE = "tailrace.trial_state"
CLOSED_BECAUSE = "tailrace.closed_because"
CLOSED_BY = "tailrace.closed_by"
MODEL_DIGEST = "tailrace.model_digest"
