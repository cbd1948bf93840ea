"""Train again from a run's pins, and report whether the result is the same."""

from __future__ import annotations

import datetime as dt
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tailrace.champions import model_versions
from tailrace.contracts import Pin, RunRecord, Services, Trial
from tailrace.engines.models import digest_to_compare
from tailrace.errors import BadInput, PinLost
from tailrace.lineage import pins, run_tags
from tailrace.spec import PipelineSpec
from tailrace.stages.train import fit_best, holdout_labels, inputs_of
from tailrace.training import training_set

Data = Literal["pinned", "current"]


@dataclass(frozen=True)
class ReproducedValue:
    """One value as the run recorded it, and as it is now."""

    name: str
    recorded: str
    now: str

    @property
    def same(self) -> bool:
        return self.recorded == self.now


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """`inputs` are in the order in which differences are searched; `results` are the model digest and the metrics.

    `changed_since` names the days whose published contents differ from the pinned contents.
    """

    training_run: str
    pipeline: str
    data: Data
    inputs: tuple[ReproducedValue, ...]
    results: tuple[ReproducedValue, ...]
    changed_since: tuple[str, ...]

    @property
    def same(self) -> bool:
        return bool(self.results) and all(result.same for result in self.results)

    @property
    def first_difference(self) -> ReproducedValue | None:
        return next((compared for compared in self.inputs if not compared.same), None)

    def sentence(self) -> str:
        if self.same:
            since = f" Changed since it was pinned: {'; '.join(self.changed_since)}." if self.changed_since else ""
            return f"Run {self.training_run} is reproduced: same model digest, same metrics.{since}"
        if self.first_difference is None:
            differing = ", ".join(result.name for result in self.results if not result.same)
            return f"Run {self.training_run} is NOT reproduced: {differing} differ although every input is the same."
        first = self.first_difference
        return (
            f"Run {self.training_run} is NOT reproduced; the first input that differs is {first.name}: "
            f"{first.recorded} then, {first.now} now."
        )


def run(
    services: Services,
    spec: PipelineSpec,
    training_run: str,
    *,
    data: Data = "pinned",
    on_trial: Callable[[Trial], None] = lambda trial: None,
) -> Reproduction:
    """Retrain from the run's pins, or (`current`) on what these days contain now.

    If the bytes of a pinned input are gone or were changed, that input is reported as the difference.
    Raises UnknownName, BadInput if the run recorded no model, TrackerUnavailable.
    """
    record = services.tracker.run(training_run)
    model_versions.refuse_baseline(record, "reproduced")
    if run_tags.MODEL_DIGEST not in record.tags:
        raise BadInput(f"Run {training_run} of {record.pipeline} ended as {record.status} before it produced a model.")
    day = dt.date.fromisoformat(record.tags[run_tags.DAY])
    pinned = pins.from_tags(record.tags)
    chosen = pinned if data == "pinned" else training_set.pin_inputs(services.lake, spec, day)
    made = functools.partial(
        Reproduction,
        training_run=training_run,
        pipeline=spec.name,
        data=data,
        changed_since=_changed_since(services, spec, pinned),
    )
    unreadable = _unreadable(services, chosen)
    if unreadable:
        inputs = [
            ReproducedValue(role, record.tags[f"{run_tags.INPUT}{role}"], why) for role, why in unreadable.items()
        ]
        return made(inputs=tuple(inputs), results=())
    loaded = training_set.load(services.lake, services.engine, spec, day, pins=chosen)
    seed, trials = int(record.tags[run_tags.INPUT + "seed"]), int(record.tags[run_tags.INPUT + "trials"])
    trained, scores = fit_best(services, spec, loaded, seed=seed, trials=trials, on_trial=on_trial)
    metrics = spec.problem.measure(holdout_labels(loaded), scores)
    recorded = record.tags[run_tags.MODEL_DIGEST]
    now = inputs_of(spec, day, digests=loaded.digests, seed=seed, trials=trials)
    return made(
        inputs=tuple(
            ReproducedValue(name, record.tags[f"{run_tags.INPUT}{name}"], value) for name, value in now.items()
        ),
        results=(
            ReproducedValue("model digest", recorded, digest_to_compare(trained.model, recorded)),
            *(
                ReproducedValue(name, repr(recorded), repr(metric_to_compare(value, recorded)))
                for name, value in metrics.items()
                for recorded in (_metric(record, name),)
            ),
        ),
    )


def metric_to_compare(value: float, recorded: float | None) -> float:
    """The metric; the recorded one if they differ by rounding alone: earlier releases computed R² differently."""
    only_rounding = recorded is not None and math.isclose(value, recorded, rel_tol=1e-9, abs_tol=1e-9)
    return recorded if recorded is not None and only_rounding else value


def _metric(record: RunRecord, name: str) -> float | None:
    return record.metrics.get(f"holdout.{name}")


def _unreadable(services: Services, chosen: dict[str, Pin]) -> dict[str, str]:
    """The pinned inputs whose original bytes cannot be read any more, and why."""
    found = {}
    for role, pin in chosen.items():
        try:
            for _ in services.lake.read_pin(pin):
                pass
        except PinLost as error:
            found[role] = str(error)
    return found


def _changed_since(services: Services, spec: PipelineSpec, pinned: dict[str, Pin]) -> tuple[str, ...]:
    """The days that were published again with other contents after the run pinned them."""
    changed = []
    for pin in pinned.values():
        for day, commit in sorted(services.lake.days(pin.table).items()):
            within = (pin.first is None or day >= pin.first) and (pin.last is None or day <= pin.last)
            if within and services.lake.came_after(pin.table, commit.version, pin.version):
                changed.append(f"{pin.table} of {day} (version {commit.version}, pinned {pin.version})")
    return tuple(changed)
