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

import numpy as np
import pyarrow as pa

from tailrace.champions import model_versions
from tailrace.contracts import Model, Services, Trained, Trial
from tailrace.engines.encoding import doubles_where_null
from tailrace.errors import TrackerUnavailable
from tailrace.lineage import provenance, run_tags
from tailrace.monitoring import references
from tailrace.problems.metrics import Distribution, measure
from tailrace.spec import PipelineSpec
from tailrace.training import training_set
from tailrace.training.training_set import TrainingSet

log = logging.getLogger("tailrace")

EXAMPLE_ROWS = 5
TRIALS = "search/trials.json"


@dataclass(frozen=True)
class TrainingResult:
    """A registered model version. `unchanged`: an earlier run had the same inputs, so it stands.

    `url` is the training run's page in the tracker, empty if none is served; `not_trained` has a line for each
    candidate none of whose trials completed.
    """

    pipeline: str
    day: dt.date
    run_id: str
    version: str
    candidate: str
    metrics: Mapping[str, float]
    model_digest: str
    unchanged: bool = False
    url: str = ""
    not_trained: str = ""


def run(
    services: Services,
    spec: PipelineSpec,
    day: dt.date,
    *,
    seed: int,
    trials: int | None = None,
    on_trial: Callable[[Trial], None] = lambda trial: None,
    force: bool = False,
    challenge: bool = True,
    asked: Mapping[str, str] | None = None,
) -> TrainingResult:
    """Train as of `day`, unless a registered version has the same inputs; `force` trains all the same.

    `challenge=False` registers the version without naming it challenger. `asked` is what the run was asked for: it goes
    into the run's tags, or those of the earlier run that stands. Raises UpstreamMissing, LookAhead, TrainingFailed,
    TrackerUnavailable.
    """
    budget = trials or spec.search.trials
    pins = training_set.pin_inputs(services.lake, spec, day)
    data = training_set.load(services.lake, services.engine, spec, day, pins)
    inputs = inputs_of(spec, day, data.digests, seed, budget)
    tracker = services.tracker
    if not force and (earlier := _earlier(services, spec, inputs)) is not None:
        if challenge:
            # It may have been trained by a dry run.
            tracker.set_alias(spec.name, model_versions.CHALLENGER, earlier.version)
        if asked:
            tracker.log(earlier.run_id, tags=provenance.asked_again_tags(asked))
        return earlier
    tags = _tags(spec, day, inputs) | provenance.asked_tags(asked or {}) | {run_tags.ENGINE: services.engine.name}
    run_id = tracker.start_run(spec.name, f"{spec.name} as of {day}", tags)
    try:
        tracker.log_inputs(run_id, pins)

        def record(trial: Trial) -> None:
            tracker.log_trial(run_id, trial)
            on_trial(trial)

        trained, scores = fit_best(services, spec, data, seed=seed, trials=budget, on_trial=record)
        metrics = measure(holdout_labels(data), scores)
        references.keep(services.lake, tracker, spec, run_id, pins["features"], data.holdout, scores)
        version = _register(services, spec, run_id, data, trained, scores, metrics, seed, budget)
        if challenge:
            tracker.set_alias(spec.name, model_versions.CHALLENGER, version)
    except BaseException:
        # If the tracker is what failed, the next run closes this one.
        with contextlib.suppress(TrackerUnavailable):
            tracker.end_run(run_id, "failed")
        raise
    tracker.end_run(run_id, "finished")
    digest, url = trained.model.digest(), tracker.run(run_id).url
    return TrainingResult(
        spec.name,
        day,
        run_id,
        version,
        trained.best.candidate,
        metrics,
        digest,
        url=url,
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
    """The best model of a search on the learning rows, and its scores of the holdout, float64."""
    trained = services.engine.train(spec, data.learning, seed=seed, trials=trials, on_trial=on_trial)
    for sentence in trained.not_trained:
        log.warning("%s: candidate %s", spec.name, sentence)
    return trained, predict(trained.model, data.holdout)


def predict(model: Model, rows: pa.Table) -> np.ndarray:
    """Scores of rows, float64, in their order."""
    return np.concatenate([model.predict(batch).to_numpy(zero_copy_only=False) for batch in rows.to_batches()])


def inputs_of(spec: PipelineSpec, day: dt.date, digests: Mapping[str, str], seed: int, trials: int) -> dict[str, str]:
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


def _tags(spec: PipelineSpec, day: dt.date, inputs: Mapping[str, str]) -> dict[str, str]:
    return {
        **{f"{run_tags.INPUT}{name}": value for name, value in inputs.items()},
        **{f"{run_tags.CODE}{name}": value for name, value in provenance.code().items()},
        run_tags.DAY: str(day),
        run_tags.SPEC_DIGEST: spec.digest(),
        run_tags.OWNER: spec.owner,
    }


def _earlier(services: Services, spec: PipelineSpec, inputs: Mapping[str, str]) -> TrainingResult | None:
    """The finished run that had the same inputs, if there is one and its version is registered."""
    versions = {version.run_id: version.version for version in services.tracker.versions(spec.name)}
    for record in services.tracker.runs(spec.name):
        same = all(record.tags.get(f"{run_tags.INPUT}{name}") == value for name, value in inputs.items())
        if record.status == "finished" and record.run_id in versions and same:
            return TrainingResult(
                spec.name,
                dt.date.fromisoformat(record.tags[run_tags.DAY]),
                record.run_id,
                versions[record.run_id],
                record.params["candidate"],
                {name.removeprefix("holdout."): value for name, value in record.metrics.items() if "holdout." in name},
                record.tags[run_tags.MODEL_DIGEST],
                unchanged=True,
                url=record.url,
            )
    return None


def _register(
    services: Services,
    spec: PipelineSpec,
    run_id: str,
    data: TrainingSet,
    trained: Trained,
    scores: np.ndarray,
    metrics: Mapping[str, float],
    seed: int,
    trials: int,
) -> str:
    tracker, model = services.tracker, trained.model
    params = {f"best.{name}": value for name, value in trained.best.parameters.items()}
    tracker.log(
        run_id,
        params={"candidate": trained.best.candidate, "trials": trials, "seed": seed, **params},
        metrics={
            **{f"holdout.{name}": value for name, value in metrics.items()},
            "rows.learning": data.learning.rows,
            "rows.holdout": data.holdout.num_rows,
        },
        tags={
            run_tags.MODEL_DIGEST: model.digest(),
            run_tags.MODEL_KIND: model.kind,
            run_tags.HOLDOUT_SCORES: Distribution.of(scores).to_json(),
        },
    )
    example = example_of(data)
    with tempfile.TemporaryDirectory(prefix="tailrace-train-") as scratch:
        saved, search = Path(scratch, "model"), Path(scratch, "search")
        saved.mkdir()
        search.mkdir()
        (search / Path(TRIALS).name).write_text(json.dumps([asdict(trial) for trial in trained.trials], default=str))
        tracker.log_files(run_id, search, Path(TRIALS).parent.name)
        model.save(saved)
        return tracker.log_model(run_id, saved, example, pa.array(predict(model, example)))


def example_of(data: TrainingSet) -> pa.Table:
    """The first rows to learn from, as the signature is to declare them: by what the holdout holds, too."""
    rows = data.learning.head(EXAMPLE_ROWS)
    return doubles_where_null(rows, [name for name in rows.column_names if data.holdout[name].null_count])


def holdout_labels(data: TrainingSet) -> np.ndarray:
    """The holdout's labels, bool, in the order of its scores."""
    return data.holdout_labels.to_numpy(zero_copy_only=False)
