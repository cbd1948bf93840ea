"""Will people find a text negative, neutral or positive?

The texts are tweets, and sentences of film reviews, product reviews and editorials. The label is read from the mean of
at least 15 people's ratings, from -4 to 4: negative below -0.5, positive above 0.5, else neutral. Predictions for the
texts that arrived on the evening before are due at the first minute of a day, UTC; the texts are rated on that day.
"""

import datetime as dt

from tailrace import (
    Audit,
    Candidate,
    Features,
    FloatRange,
    Gate,
    IntRange,
    Multiclass,
    Outcome,
    PipelineSpec,
    Predictions,
    Schedule,
    SearchBudget,
    Window,
)

SPEC = PipelineSpec(
    name="journal_mood",
    owner="readers-desk",
    description=__doc__,
    features=Features(
        key=("text_id",),
        event_time="received_at",
        columns={
            "body": "text",
            "genre": "categorical",
            "characters": "numeric",
            "words": "numeric",
            "exclamation_marks": "numeric",
            "question_marks": "numeric",
            "capitals_share": "numeric",
        },
    ),
    outcome=Outcome(
        label="mood",
        description="negative if people rate the text below -0.5 on average, positive if above 0.5, else neutral",
        problem=Multiclass(classes=("negative", "neutral", "positive")),
    ),
    candidates=(
        Candidate("baseline", "sklearn.dummy.DummyClassifier", {"strategy": "prior"}),
        Candidate(
            "logistic",
            "sklearn.linear_model.LogisticRegression",
            {"max_iter": 500},
            {"C": FloatRange(0.1, 30.0, log=True)},
        ),
        Candidate(
            "linear_svm",
            "sklearn.svm.LinearSVC",
            # the primal problem is solved in a few steps; the dual one stops at its limit of iterations
            {"dual": False},
            {"C": FloatRange(0.03, 3.0, log=True)},
        ),
        Candidate(
            "boosted_trees",
            # of scikit-learn's boosted trees, the ones that read the many rare words of texts without making them dense
            "sklearn.ensemble.GradientBoostingClassifier",
            {"n_estimators": 150, "subsample": 0.6, "max_features": "sqrt"},
            {"max_depth": IntRange(3, 6), "learning_rate": FloatRange(0.05, 0.3, log=True)},
        ),
    ),
    search=SearchBudget(trials=12, seconds=600, metric="log_loss"),
    window=Window(days=42, holdout_days=7),
    gate=Gate(
        metric="macro_f1", floor=0.5, beat="most_frequent", slices=("genre",), slice_tolerance=0.1, slice_rows=100
    ),
    schedule=Schedule(
        train="0 1 * * 1",
        predict="30 0 * * *",
        timezone="UTC",
        # The source's calendar: its texts arrive on these days only.
        start=dt.date(2014, 1, 1),
        end=dt.date(2014, 7, 17),
    ),
    predictions=Predictions(score="mood_probability", decision="mood_predicted"),
    audit=Audit(max_null_share=0.0, min_coverage=1.0, max_psi_excess=0.25, psi_rows=100),
)
