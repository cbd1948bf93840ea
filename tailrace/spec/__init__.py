"""What a data scientist says about a pipeline, and every check on it.

`columns` has the features and the outcome, `training` the candidates and the days to learn from, `schedule` when it
runs, `policies` what is demanded of models and predictions, `pipeline` the whole, `registry` the project's pipelines.
"""

from tailrace.spec.baselines import Baseline
from tailrace.spec.checks import MOST_DAYS
from tailrace.spec.columns import LABEL, Features, Outcome
from tailrace.spec.domains import Choice, Domain, FloatRange, IntRange
from tailrace.spec.marts import DAY, KNOWN_AT, PARTS, Mart
from tailrace.spec.nested import Estimator
from tailrace.spec.pipeline import PipelineSpec, content_of, cutoff, problems_of, zone
from tailrace.spec.policies import Audit, Gate, Monitor, Predictions, Review
from tailrace.spec.schedule import Schedule
from tailrace.spec.training import (
    MOST_TRIALS,
    Candidate,
    SearchBudget,
    Window,
)

__all__ = [
    "DAY",
    "KNOWN_AT",
    "LABEL",
    "MOST_DAYS",
    "MOST_TRIALS",
    "PARTS",
    "Audit",
    "Baseline",
    "Candidate",
    "Choice",
    "Domain",
    "Estimator",
    "Features",
    "FloatRange",
    "Gate",
    "IntRange",
    "Mart",
    "Monitor",
    "Outcome",
    "PipelineSpec",
    "Predictions",
    "Review",
    "Schedule",
    "SearchBudget",
    "Window",
    "content_of",
    "cutoff",
    "problems_of",
    "zone",
]
