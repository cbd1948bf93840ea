"""A Spark driver that scores a day and, if told to, is killed before it publishes.

Usage: python -m tests.faults.spark_driver LAKE MODEL RUN [kill]
"""

from __future__ import annotations

import datetime as dt
import os
import signal
import sys
from pathlib import Path

from tailrace.engines.spark.engine import SparkEngine
from tailrace.lake.delta import DeltaLake
from tailrace.settings import SparkSettings
from tailrace.spec import Candidate, Features, Outcome, PipelineSpec, Schedule, Window

DAY = dt.date(2013, 3, 1)
SPEC = PipelineSpec(
    name="churn",
    owner="growth",
    description="",
    features=Features(("customer",), "event_time", {"plan": "categorical", "age": "numeric", "visits": "numeric"}),
    outcome=Outcome(label="left"),
    candidates=(Candidate("trees", "xgboost.XGBClassifier", {"n_estimators": 10}),),
    window=Window(days=2, holdout_days=1),
    schedule=Schedule(train=None, predict=None),
)


def main(root: str, model: str, run_id: str, *killed: str) -> None:
    lake, engine = DeltaLake(root), SparkEngine(SparkSettings(master="local[2]", driver_memory="512m"))
    scan = lake.scan(lake.pin("features", first=DAY, last=DAY))
    staged = engine.score(
        SPEC, engine.load(Path(model)), version="2", rows=scan, target=lake.target("predictions", DAY, run_id)
    )
    print("staged", flush=True)
    if killed:
        os.kill(os.getpid(), signal.SIGKILL)
    lake.publish(staged, {"model_version": "2"})


if __name__ == "__main__":
    main(*sys.argv[1:])
