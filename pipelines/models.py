"""From what an operator asks for (`as-of`, `current`, a version) to a loaded model."""

from __future__ import annotations

import datetime as dt
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pipelines import promotions
from pipelines.errors import BadInput, NoChampion, SignatureMismatch, UnknownName
from pipelines.interfaces import Model, RunRecord, Services
from pipelines.spec import PipelineSpec

AS_OF, CURRENT = "as-of", "current"
CHAMPION, CHALLENGER = "champion", "challenger"
NAME_MODELS = ("promotions", "predictions", "performance")
"""Tables of the lake (or folders of them) whose rows and commits name model versions and runs."""
SCORES_TAG = "tailrace.holdout_scores"
"""The run's tag that holds the distribution of its holdout's scores."""


@dataclass(frozen=True)
class Choice:
    """The version that scores a day. `look_ahead` says that its training data reaches into that day."""

    version: str
    effective_from: dt.date | None
    look_ahead: bool


def check_choice(model: str) -> str:
    """`model` if it can be asked for. Raises BadInput."""
    if model in (AS_OF, CURRENT) or (model.isdigit() and int(model) > 0):
        return model
    raise BadInput(f"model is {model!r}; ask for {AS_OF!r}, {CURRENT!r} or a version number such as 3.")


def resolve(services: Services, spec: PipelineSpec, day: dt.date, model: str) -> Choice:
    """The version asked for, resolved once per run. Raises BadInput, NoChampion, UnknownName."""
    check_choice(model)
    past = promotions.history(services.lake, spec.name)
    if model not in (AS_OF, CURRENT):
        return _explicit(services, spec, day, model)
    promotion = promotions.as_of(past, day) if model == AS_OF else promotions.current(past)
    if promotion is None:
        earliest = f" The first one took effect on {past[-1].effective_from}." if past else ""
        raise NoChampion(
            f"{spec.name}: no model was champion on {day}.{earliest} Train one as of an earlier day "
            f"(tailrace train {spec.name} --date ...), or name a version with --model."
        )
    return Choice(promotion.version, promotion.effective_from, promotion.effective_from > day)


def load(services: Services, spec: PipelineSpec, version: str) -> Model:
    """The fitted model of a version. Raises UnknownName, SignatureMismatch, Refused if it was tampered with."""
    with tempfile.TemporaryDirectory(prefix="tailrace-model-") as folder:
        return services.engine.load(services.tracker.model_folder(spec.name, version, Path(folder)))


def record_of(services: Services, spec: PipelineSpec, version: str) -> RunRecord:
    """The training run of a version. Raises UnknownName."""
    run_ids = {known.version: known.run_id for known in services.tracker.versions(spec.name)}
    if version not in run_ids:
        raise UnknownName(f"version of model {spec.name}", version, run_ids)
    return services.tracker.run(run_ids[version])


def holdout_scores(trained: RunRecord, version: str) -> str:
    """The distribution of a version's scores on its training's holdout, as JSON. Raises SignatureMismatch."""
    if SCORES_TAG not in trained.tags:
        raise SignatureMismatch(
            f"Version {version} of {trained.pipeline} was registered without its holdout's scores, which the audit "
            "compares with; score with another version, or train again."
        )
    return trained.tags[SCORES_TAG]


def _explicit(services: Services, spec: PipelineSpec, day: dt.date, version: str) -> Choice:
    trained = record_of(services, spec, version).tags.get("tailrace.day")
    effective_from = dt.date.fromisoformat(trained) if trained else None
    return Choice(version, effective_from, effective_from is not None and effective_from > day)
