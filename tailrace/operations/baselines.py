"""Register a rule of the spec as a model version, before there are any labels: a person may make it champion.

It gets what every version has: a training run, the distributions that audit and monitor compare with, a signature and
files without pickle. Nothing is searched or judged, because there is nothing to judge by.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from tailrace.champions.gate import Decision, Rule
from tailrace.contracts import Pin
from tailrace.engines.baseline_models import BaselineModel
from tailrace.engines.encoding import doubles_where_null
from tailrace.engines.signatures import predictions
from tailrace.errors import TrackerUnavailable, UnknownName, UpstreamMissing
from tailrace.lineage import provenance, run_tags
from tailrace.monitoring import references
from tailrace.spec import Baseline, PipelineSpec
from tailrace.stages import evaluate, promote, train
from tailrace.stages.promote import Promoted
from tailrace.work import Work

NOT_JUDGED = "A baseline learned nothing and was compared with nothing: a person decides whether it is champion."


@dataclass(frozen=True, kw_only=True)
class RegisteredBaseline:
    """A model version that predicts by a rule, from `day` on. `unchanged`: it was registered before."""

    pipeline: str
    day: dt.date
    training_run: str
    version: str
    baseline: str
    unchanged: bool = False


def run(work: Work, name: str, day: dt.date | None = None) -> RegisteredBaseline:
    """Register a baseline of the spec, for predictions from `day` on; by default the last day with features.

    Registering the same rule for the same day again changes nothing. Raises UnknownName if the spec has no such
    baseline, UpstreamMissing if the lake has no features yet, SignatureMismatch if the rule does not fit them,
    TrackerUnavailable.
    """
    services, spec = work.services, work.spec
    model = _model(spec, name)
    days = _days(work, day)
    earlier = _earlier(work, model, day)
    if earlier is not None:
        return earlier
    pin, rows = _rows(work, days)
    since, tracker = day or days[-1], services.tracker
    inputs = {"spec": spec.digest(), "day": str(since), "features": pin.digest}
    tags = train.tags_of(spec, since, inputs) | provenance.request_tags(work.request)
    training_run = tracker.start_run(spec.name, f"{spec.name}: baseline {name}", tags)
    try:
        tracker.log_inputs(training_run, {"features": pin})
        version = _register(work, training_run, model, pin=pin, rows=rows)
    except BaseException:
        with contextlib.suppress(TrackerUnavailable):
            tracker.end_run(training_run, "failed")
        raise
    tracker.end_run(training_run, "finished")
    return RegisteredBaseline(pipeline=spec.name, day=since, training_run=training_run, version=version, baseline=name)


def make_champion(
    work: Work,
    name: str,
    *,
    recorded_at: dt.datetime,
    decided_by: str,
    reason: str,
    takes_over: dt.date | None = None,
    airflow_run: str = "",
) -> Promoted:
    """Register a baseline as `run` does, and promote it from that day on, by a person's decision.

    Raises what `run` and the promotion raise. A day that the promotion would refuse is refused before anything is
    registered: the version would keep that day, and a retry without a day would take it up.
    """
    begins = takes_over or _day(work, name)
    promote.refuse_day(work, "of this baseline", begins, recorded_at)
    return promote.run(
        work,
        run(work, name, takes_over).training_run,
        recorded_at=recorded_at,
        decided_by=decided_by,
        reason=reason,
        takes_over=takes_over,
        airflow_run=airflow_run,
    )


def preview(work: Work, name: str, day: dt.date | None = None) -> RegisteredBaseline:
    """What `run` would register, tried on the same rows; without a version if there is none yet. Changes nothing.

    Raises what `run` raises.
    """
    model = _model(work.spec, name)
    days = _days(work, day)
    earlier = _earlier(work, model, day)
    if earlier is not None:
        return earlier
    predictions(model, _rows(work, days)[1])
    return RegisteredBaseline(pipeline=work.spec.name, day=day or days[-1], training_run="", version="", baseline=name)


def _model(spec: PipelineSpec, name: str) -> BaselineModel:
    return BaselineModel(_named(spec, name), spec.problem, spec.features.columns)


def _rows(work: Work, days: list[dt.date]) -> tuple[Pin, pa.Table]:
    """The features of these days, and what pins them."""
    lake, spec = work.services.lake, work.spec
    pin = lake.pin(spec.features_table, first=days[0], last=days[-1])
    return pin, lake.read_pin(pin, ["ds", *spec.features.columns]).read_all().combine_chunks()


def _day(work: Work, name: str) -> dt.date:
    """From which day on a baseline is registered if nobody names one."""
    last = _days(work, None)[-1]
    earlier = _earlier(work, _model(work.spec, name), None)
    return earlier.day if earlier else last


def _named(spec: PipelineSpec, name: str) -> Baseline:
    known = {baseline.name: baseline for baseline in spec.baselines}
    if name not in known:
        hint = f"Baselines are written in pipelines/{spec.name}.py: baselines=(Baseline(name=..., constant=...),)."
        raise UnknownName(f"baseline of {spec.name}", name, known, hint)
    return known[name]


def _days(work: Work, day: dt.date | None) -> list[dt.date]:
    """The last days with features, as many as the spec holds out: up to `day`, or else the first day there is."""
    spec = work.spec
    published = [each for each, commit in work.services.lake.days(spec.features_table).items() if commit.rows]
    if not published:
        raise UpstreamMissing(
            f"{spec.features_table} has no rows yet. A baseline is registered with features that it will score, so "
            "that audit and monitor know what is usual. Build a day and take it into the lake first: "
            "tailrace warehouse --date YYYY-MM-DD."
        )
    used = [each for each in published if day is None or each <= day] or published[:1]
    return used[-spec.window.holdout_days :]


def _earlier(work: Work, model: BaselineModel, day: dt.date | None) -> RegisteredBaseline | None:
    """The version of the very same rule: for this day, or the newest if none is named."""
    services, spec, digest = work.services, work.spec, model.digest()
    for version in services.tracker.versions(spec.name):
        record = services.tracker.run(version.training_run)
        if record.tags.get(run_tags.MODEL_DIGEST) != digest or record.status != "finished":
            continue
        since = dt.date.fromisoformat(record.tags[run_tags.DAY])
        if day in (None, since):
            return RegisteredBaseline(
                pipeline=spec.name,
                day=since,
                training_run=version.training_run,
                version=version.version,
                baseline=model.rule.name,
                unchanged=True,
            )
    return None


def _register(work: Work, training_run: str, model: BaselineModel, *, pin: Pin, rows: pa.Table) -> str:
    """Log what audit, monitor and promotion read of a version, and register it; its number."""
    services, spec = work.services, work.spec
    scores = predictions(model, rows)
    drift = spec.problem.drift_of(scores)
    window = references.window(services.lake, spec, pin, rows)
    references.keep(services, spec, training_run, window=window, holdout=rows, scores=drift)
    services.tracker.log(
        training_run,
        params={"candidate": model.rule.name},
        metrics={"rows.holdout": rows.num_rows},
        tags={
            run_tags.MODEL_DIGEST: model.digest(),
            run_tags.MODEL_KIND: model.kind,
            run_tags.HOLDOUT_SCORES: train.distribution_of(spec, scores, rows["ds"]).to_json(),
        },
    )
    example = rows.select(list(model.features)).slice(0, train.EXAMPLE_ROWS)
    example = doubles_where_null(example, [name for name in model.features if rows[name].null_count])
    with tempfile.TemporaryDirectory(prefix="tailrace-baseline-") as scratch:
        saved, judged = Path(scratch, "model"), Path(scratch, "judged")
        saved.mkdir()
        judged.mkdir()
        decision = Decision("keep", (Rule(False, NOT_JUDGED),))
        (judged / evaluate.DECISION).write_text(decision.to_json())
        services.tracker.log_files(training_run, judged, evaluate.FOLDER)
        model.save(saved)
        return services.tracker.log_model(training_run, saved, example, train.example_predictions(model, example))
