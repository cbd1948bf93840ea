"""How many of each pizza will the shop sell today?

A row is an item of the menu on one day: a pizza in one size. The label is the number sold that day, often 0.
Predictions are due at the first minute of the day in Rome; each has an interval, which should contain eight of ten
labels. A day on which the shop stays closed has no rows.
"""

import datetime as dt

from tailrace import (
    Audit,
    Candidate,
    Features,
    FloatRange,
    Gate,
    IntRange,
    Monitor,
    Outcome,
    PipelineSpec,
    Predictions,
    Regression,
    Schedule,
    SearchBudget,
    Window,
)

SPEC = PipelineSpec(
    name="pizza_demand",
    owner="kitchen-planning",
    description=__doc__,
    features=Features(
        key=("sale_day", "item"),
        event_time="sold_from",
        columns={
            "pizza": "categorical",
            "size": "categorical",
            "category": "categorical",
            "weekday": "categorical",
            "price": "numeric",
            "units_last_day": "numeric",
            "units_last_week": "numeric",
            "units_mean_7d": "numeric",
            "units_mean_28d": "numeric",
            "units_mean_same_weekday_28d": "numeric",
            "sold_share_28d": "numeric",
            "category_units_mean_7d": "numeric",
            "days_since_open": "numeric",
        },
    ),
    outcome=Outcome(
        label="units",
        description="units of the item that were sold on the day",
        problem=Regression(link="log", intervals=(0.1, 0.9)),
    ),
    candidates=(
        Candidate("baseline", "sklearn.dummy.DummyRegressor", {"strategy": "mean"}),
        Candidate(
            "poisson",
            "sklearn.linear_model.PoissonRegressor",
            {"max_iter": 500},
            {"alpha": FloatRange(0.001, 10.0, log=True)},
        ),
        Candidate(
            "histogram_trees",
            "sklearn.ensemble.HistGradientBoostingRegressor",
            {"loss": "poisson", "max_iter": 150},
            {
                "learning_rate": FloatRange(0.01, 0.2, log=True),
                "max_leaf_nodes": IntRange(4, 31, log=True),
                "min_samples_leaf": IntRange(20, 200, log=True),
            },
        ),
        Candidate(
            "boosted_trees",
            "xgboost.XGBRegressor",
            {"tree_method": "hist", "n_estimators": 150, "objective": "count:poisson"},
            {
                "max_depth": IntRange(2, 5),
                "learning_rate": FloatRange(0.01, 0.2, log=True),
                "min_child_weight": IntRange(5, 200, log=True),
                "subsample": FloatRange(0.6, 1.0),
            },
        ),
    ),
    search=SearchBudget(trials=16, seconds=600, metric="poisson_deviance"),
    window=Window(days=70, holdout_days=14),
    # A forecast of "as many as last week" costs nothing: what is not better than that is of no use.
    gate=Gate(metric="mae", ceiling=1.2, beat="units_last_week", slices=("size",), slice_tolerance=0.1),
    schedule=Schedule(
        train="0 8 * * 1",
        # After the warehouse's night, which starts at 00:15 in New York, and before the shop opens.
        predict="30 7 * * *",
        timezone="Europe/Rome",
        # The source's calendar: it has the sales of 2015 only.
        start=dt.date(2015, 1, 1),
        end=dt.date(2015, 12, 31),
    ),
    predictions=Predictions(score="units_expected"),
    # A day has 91 items.
    audit=Audit(max_null_share=0.0, min_coverage=1.0, max_psi_excess=0.25, psi_rows=80),
    monitor=Monitor(rows=80),
)
