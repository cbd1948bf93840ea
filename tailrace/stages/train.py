"""Search, fit and register a challenger from pinned inputs."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import logging
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tailrace import days
from tailrace.champions import model_versions
from tailrace.contracts import Model, Services, Trained, Trial
from tailrace.engines.encoding import doubles_where_null
from tailrace.engines.signatures import predictions
from tailrace.errors import TrackerUnavailable
from tailrace.lineage import provenance, run_events, run_tags
from tailrace.lineage.run_events import Touched
from tailrace.monitoring import references
from tailrace.problems.distributions import Distribution
from tailrace.rows import taken
from tailrace.settings import Settings
from tailrace.spec import PipelineSpec
from tailrace.training import training_set
from tailrace.training.training_set import TrainingSet
from tailrace.work import Work

log = logging.getLogger("tailrace")

EXAMPLE_ROWS = 5
TRIALS = "search/trials.json"


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """A registered model version. `unchanged`: an earlier run had the same inputs, so it stands.

    `url` is the training run's page in the tracker, empty if none is served; `not_trained` has a line for each
    candidate none of whose trials completed.
    """

    pipeline: str
    day: dt.date
    training_run: str
    version: str
    candidate: str
    metrics: Mapping[str, float]
    model_digest: str
    unchanged: bool = False
    url: str = ""
    not_trained: str = ""


def _touched(settings: Settings, work: Work, done: TrainingResult | None) -> Touched:
    spec = work.spec
    return Touched(
        inputs=[run_events.lake_table(settings, table) for table in (spec.features_table, spec.outcomes_table)],
        outputs=[run_events.model(settings, spec.name, done.version)] if done is not None else [],
    )


@run_events.reported("train", _touched)
def run(
    work: Work,
    day: dt.date,
    *,
    seed: int,
    trials: int | None = None,
    on_trial: Callable[[Trial], None] = lambda trial: None,
    force: bool = False,
    dry_run: bool = False,
) -> TrainingResult:
    """Train as of `day`, unless a registered version has the same inputs; `force` trains all the same.

    With `dry_run` the version is registered but not named challenger. The request goes into the training
    run's tags, or those of the earlier run that stands. Raises UpstreamMissing, LookAhead, TrainingFailed,
    TrackerUnavailable.
    """
    services, spec = work.services, work.spec
    budget = trials or spec.search.trials
    pins = training_set.pin_inputs(services.lake, spec, day)
    data = training_set.load(services.lake, services.engine, spec, day, pins=pins)
    inputs = inputs_of(spec, day, digests=data.digests, seed=seed, trials=budget)
    tracker = services.tracker
    if not force and (earlier := _earlier(work, inputs)) is not None:
        if not dry_run:
            # It may have been trained by a dry run.
            tracker.set_alias(spec.name, model_versions.CHALLENGER, earlier.version)
        if work.request:
            tracker.log(earlier.training_run, tags=provenance.requested_again_tags(work.request))
        return earlier
    tags = tags_of(spec, day, inputs) | provenance.request_tags(work.request) | {run_tags.ENGINE: services.engine.name}
    tags |= _taken_late(work, day)
    training_run = tracker.start_run(spec.name, f"{spec.name} as of {day}", tags)
    try:
        tracker.log_inputs(training_run, pins)

        def record(trial: Trial) -> None:
            tracker.log_trial(training_run, trial)
            on_trial(trial)

        trained, scores = fit_best(services, spec, data, seed=seed, trials=budget, on_trial=record)
        metrics = spec.problem.measure(holdout_labels(data), scores)
        window = references.window(services.lake, spec, pins["features"], data.holdout)
        holdout = distribution_of(spec, scores, data.holdout["ds"]).with_days(
            spec.problem.drift_of(predictions(trained.model, window.rows)),
            window.rows["ds"].to_numpy(),
            fewest=window.at_least(spec.audit.psi_rows),
        )
        references.keep(
            services,
            spec,
            training_run,
            window=window,
            holdout=data.holdout,
            scores=spec.problem.drift_of(scores),
            usual=holdout.usual,
        )
        version = _register(
            work,
            training_run,
            data=data,
            trained=trained,
            holdout=holdout,
            metrics=metrics,
            params={"trials": budget, "seed": seed},
        )
        if not dry_run:
            tracker.set_alias(spec.name, model_versions.CHALLENGER, version)
    except BaseException:
        # If the tracker is what failed, the next run closes this one.
        with contextlib.suppress(TrackerUnavailable):
            tracker.end_run(training_run, "failed")
        raise
    tracker.end_run(training_run, "finished")
    return TrainingResult(
        pipeline=spec.name,
        day=day,
        training_run=training_run,
        version=version,
        candidate=trained.best.candidate,
        metrics=metrics,
        model_digest=trained.model.digest(),
        url=tracker.run(training_run).url,
        not_trained="\n".join(trained.not_trained),
    )


def fit_best(
    services: Services,
    spec: PipelineSpec,
    data: TrainingSet,
    *,
    seed: int,
    trials: int,
    on_trial: Callable[[Trial], None] = lambda trial: None,
) -> tuple[Trained, np.ndarray]:
    """The best model of a search on the learning rows, and its predictions for the holdout."""
    trained = services.engine.train(spec, data.learning, seed=seed, trials=trials, on_trial=on_trial)
    for sentence in trained.not_trained:
        log.warning("%s: candidate %s", spec.name, sentence)
    return trained, predictions(trained.model, data.holdout)


def example_predictions(model: Model, rows: pa.Table) -> pa.Table:
    """The raw columns for a few rows, as the model's signature is to declare them."""
    return pa.Table.from_batches([model.predict(batch) for batch in rows.combine_chunks().to_batches()])


def distribution_of(spec: PipelineSpec, scores: np.ndarray, days: pa.ChunkedArray) -> Distribution:
    """The distribution of what drift is told by, which the audit compares a day's with; `days`: that of each score."""
    problem = spec.problem
    return Distribution.of(
        problem.drift_of(scores),
        edges=problem.drift_edges,
        days=days.to_numpy(),
        fewest=spec.audit.psi_rows,
        classes=problem.drift_classes,
    )


def inputs_of(
    spec: PipelineSpec, day: dt.date, *, digests: Mapping[str, str], seed: int, trials: int
) -> dict[str, str]:
    """Everything a training depends on, in the order in which differences are looked for."""
    code = provenance.code()
    return {
        # The spec comes first: with other columns, the same tables have other digests.
        "spec": spec.digest(),
        "day": str(day),
        "features": digests["features"],
        "outcomes": digests["outcomes"],
        "seed": str(seed),
        "trials": str(trials),
        "code": f"{code['tailrace']} at {code['git_commit']}",
        "lock": code["lock_digest"],
    }


def tags_of(spec: PipelineSpec, day: dt.date, inputs: Mapping[str, str]) -> dict[str, str]:
    """The tags with which a run that registers a model begins."""
    return {
        **{f"{run_tags.INPUT}{name}": value for name, value in inputs.items()},
        **{f"{run_tags.CODE}{name}": value for name, value in provenance.code().items()},
        run_tags.DAY: str(day),
        run_tags.SPEC_DIGEST: spec.digest(),
        run_tags.OWNER: spec.owner,
    }


def _taken_late(work: Work, day: dt.date) -> dict[str, str]:
    """Warn of days of the window that may hold more than was known then; the tag that names them."""
    first, _, last = training_set.window(work.spec, day)
    late = taken.late(work.services.lake, work.spec, first, last)
    if late:
        log.warning("%s", taken.warning(work.spec, late))
    return {run_tags.TAKEN_LATE: days.ranges(late)} if late else {}


def _earlier(work: Work, inputs: Mapping[str, str]) -> TrainingResult | None:
    """The finished run that had the same inputs, if there is one and its version is registered."""
    services, spec = work.services, work.spec
    versions = {version.training_run: version.version for version in services.tracker.versions(spec.name)}
    for record in services.tracker.runs(spec.name):
        same = all(record.tags.get(f"{run_tags.INPUT}{name}") == value for name, value in inputs.items())
        there = record.training_run in versions and run_tags.FILES_DELETED not in record.tags
        if record.status == "finished" and there and same:
            return TrainingResult(
                pipeline=spec.name,
                day=dt.date.fromisoformat(record.tags[run_tags.DAY]),
                training_run=record.training_run,
                version=versions[record.training_run],
                candidate=record.params["candidate"],
                metrics={
                    name.removeprefix("holdout."): value for name, value in record.metrics.items() if "holdout." in name
                },
                model_digest=record.tags[run_tags.MODEL_DIGEST],
                unchanged=True,
                url=record.url,
            )
    return None


def _register(
    work: Work,
    training_run: str,
    *,
    data: TrainingSet,
    trained: Trained,
    holdout: Distribution,
    metrics: Mapping[str, float],
    params: Mapping[str, Any],
) -> str:
    """Log what the training found, and register its model; the version."""
    tracker, model = work.services.tracker, trained.model
    best = {f"best.{name}": value for name, value in trained.best.parameters.items()}
    tracker.log(
        training_run,
        params={"candidate": trained.best.candidate, **params, **best},
        metrics={
            **{f"holdout.{name}": value for name, value in metrics.items()},
            "rows.learning": data.learning.rows,
            "rows.holdout": data.holdout.num_rows,
        },
        tags={
            run_tags.MODEL_DIGEST: model.digest(),
            run_tags.MODEL_KIND: model.kind,
            run_tags.HOLDOUT_SCORES: holdout.to_json(),
        },
    )
    example = example_of(data).select(list(model.features))
    with tempfile.TemporaryDirectory(prefix="tailrace-train-") as scratch:
        saved, search = Path(scratch, "model"), Path(scratch, "search")
        saved.mkdir()
        search.mkdir()
        (search / Path(TRIALS).name).write_text(json.dumps([asdict(trial) for trial in trained.trials], default=str))
        tracker.log_files(training_run, search, Path(TRIALS).parent.name)
        model.save(saved)
        return tracker.log_model(training_run, saved, example, example_predictions(model, example))


def example_of(data: TrainingSet) -> pa.Table:
    """The first rows to learn from, as the signature is to declare them: by what the holdout holds, too."""
    rows = data.learning.head(EXAMPLE_ROWS)
    return doubles_where_null(rows, [name for name in rows.column_names if data.holdout[name].null_count])


def holdout_labels(data: TrainingSet) -> np.ndarray:
    """The holdout's encoded labels, in the order of its scores."""
    return data.holdout_labels.to_numpy(zero_copy_only=False)
