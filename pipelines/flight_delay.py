"""Which of the day's flights out of New York will arrive late?

The label is true for a flight that arrives 15 minutes late or more, and for one that is
cancelled or diverted. Predictions for the flights scheduled on a day are due at its first
minute, New York time.
"""

import datetime as dt

from tailrace import (
    Audit,
    Candidate,
    Choice,
    Features,
    FloatRange,
    Gate,
    IntRange,
    Outcome,
    PipelineSpec,
    Predictions,
    Schedule,
    SearchBudget,
    Window,
)

SPEC = PipelineSpec(
    name="flight_delay",
    owner="operations-research",
    description=__doc__,
    features=Features(
        key=("flight_key",),
        event_time="scheduled_departure",
        columns={
            "carrier": "categorical",
            "origin": "categorical",
            "dest": "categorical",
            "departure_hour": "numeric",
            "weekday": "numeric",
            "distance_miles": "numeric",
            "scheduled_departures_same_hour": "numeric",
            "plane_age_years": "numeric",
            "plane_seats": "numeric",
            "temperature_f": "numeric",
            "dew_point_f": "numeric",
            "humidity_pct": "numeric",
            "wind_speed_mph": "numeric",
            "precipitation_in": "numeric",
            "pressure_mb": "numeric",
            "visibility_miles": "numeric",
            "weather_age_minutes": "numeric",
            "carrier_late_rate_7d": "numeric",
            "carrier_late_rate_28d": "numeric",
            "origin_late_rate_7d": "numeric",
            "origin_late_rate_28d": "numeric",
            "route_late_rate_7d": "numeric",
            "route_late_rate_28d": "numeric",
            "plane_late_rate_7d": "numeric",
            "plane_late_rate_28d": "numeric",
        },
    ),
    outcome=Outcome(
        label="late",
        description="arrived 15 minutes late or more, or was cancelled or diverted",
    ),
    candidates=(
        Candidate("baseline", "sklearn.dummy.DummyClassifier", {"strategy": "prior"}),
        Candidate(
            "logistic",
            "sklearn.linear_model.LogisticRegression",
            {"max_iter": 300},
            {"C": FloatRange(0.01, 10.0, log=True)},
        ),
        Candidate(
            "boosted_trees",
            "xgboost.XGBClassifier",
            {"tree_method": "hist", "n_estimators": 200},
            {
                "max_depth": IntRange(3, 7),
                "learning_rate": FloatRange(0.03, 0.3, log=True),
                "min_child_weight": IntRange(1, 50, log=True),
                "subsample": Choice((0.7, 0.85, 1.0)),
                "colsample_bytree": Choice((0.5, 0.75, 1.0)),
                "reg_lambda": FloatRange(0.5, 20.0, log=True),
            },
        ),
    ),
    search=SearchBudget(trials=16, seconds=900, metric="log_loss"),
    window=Window(days=42, holdout_days=7),
    gate=Gate(metric="roc_auc", floor=0.58, margin=0.0, slices=("origin",), slice_tolerance=0.05),
    schedule=Schedule(
        train="0 1 * * 1",
        predict="30 0 * * *",
        timezone="America/New_York",
        # The source's calendar: it has the flights of 2013 only.
        start=dt.date(2013, 1, 1),
        end=dt.date(2013, 12, 31),
    ),
    predictions=Predictions(score="late_probability", decision="late_predicted", threshold=0.5),
    audit=Audit(max_null_share=0.0, min_coverage=1.0, max_psi_excess=0.25),
)
