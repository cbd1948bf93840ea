"""From what an operator asks for (`as-of`, `current`, a version) to a loaded model."""

from __future__ import annotations

import contextlib
import datetime as dt
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tailrace.champions import promotions
from tailrace.champions.promotions import Promotion
from tailrace.contracts import Commit, Model, ModelVersion, RunRecord, Services
from tailrace.errors import BadInput, ModelGone, NoChampion, SignatureMismatch, UnknownName
from tailrace.lineage import identity, run_tags
from tailrace.lineage.identity import Identity
from tailrace.spec import PipelineSpec

AS_OF, CURRENT = "as-of", "current"
CHAMPION, CHALLENGER = "champion", "challenger"
NAME_MODELS = ("promotions", "predictions", "performance")
"""Tables of the lake (or folders of them) whose rows and commits name model versions and runs."""
"""The run's tag that holds the distribution of its holdout's scores."""
NUMBER = re.compile("[1-9][0-9]{0,9}")
"""A version's number, in ASCII digits: `str.isdigit` lets others pass."""


@dataclass(frozen=True)
class ChosenVersion:
    """The model that scores a day. `look_ahead` says that its training data reaches into that day."""

    model: Identity
    effective_from: dt.date | None
    look_ahead: bool

    @property
    def version(self) -> str:
        """The model's number in the registry."""
        return self.model.version


def check_choice(model: str) -> str:
    """`model` if it can be asked for. Raises BadInput."""
    if model in (AS_OF, CURRENT) or NUMBER.fullmatch(model):
        return model
    raise BadInput(f"model is {model!r}; ask for {AS_OF!r}, {CURRENT!r} or a version number such as 3.")


def resolve(services: Services, spec: PipelineSpec, day: dt.date, model: str) -> ChosenVersion:
    """The version asked for, resolved once per run: of a champion what was decided, whatever the registry has.

    Raises BadInput, NoChampion, UnknownName; ModelGone where the number asked for names two models.
    """
    check_choice(model)
    if model not in (AS_OF, CURRENT):
        return _explicit(services, spec, day, model)
    past = promotions.history(services.lake, spec.name)
    promotion = promotions.as_of(past, day) if model == AS_OF else promotions.current(past)
    if promotion is None:
        earliest = f" The first one took effect on {past[-1].effective_from}." if past else ""
        raise NoChampion(
            f"{spec.name}: no model was champion on {day}.{earliest} Train one as of an earlier day "
            f"(tailrace train {spec.name} --date ...), or name a version with --model."
        )
    chosen = promotions.with_digest(services.lake, promotion.model)
    return ChosenVersion(chosen, promotion.effective_from, promotion.effective_from > day)


def load(services: Services, spec: PipelineSpec, version: str) -> Model:
    """The fitted model of a version. Raises UnknownName, SignatureMismatch, Refused if it was tampered with."""
    with tempfile.TemporaryDirectory(prefix="tailrace-model-") as folder:
        return services.engine.load(services.tracker.model_folder(spec.name, version, Path(folder)))


def numbered(services: Services, spec: PipelineSpec, version: str) -> ModelVersion:
    """The version of this number that the registry has. Raises UnknownName."""
    known = {known.version: known for known in services.tracker.versions(spec.name)}
    if version not in known:
        raise UnknownName(f"version of model {spec.name}", version, known)
    return known[version]


def record_of(services: Services, spec: PipelineSpec, version: str) -> RunRecord:
    """The training run of a version. Raises UnknownName."""
    return services.tracker.run(numbered(services, spec, version).run_id)


def registered(services: Services, spec: PipelineSpec, model: Identity, day: dt.date | None = None) -> Identity:
    """The very model, as the registry names it. Raises ModelGone saying what else can be done, of `day` if given."""
    found = _found(services, spec, model.version)
    if found is None or found.differs(model):
        raise ModelGone(f"{spec.name}: {_missing(model, found)} {_ways_out(services, spec, day)}")
    return found


def why_gone(services: Services, spec: PipelineSpec, model: Identity) -> str:
    """Why the registry does not have this very model, as a sentence; empty if it has."""
    found = _found(services, spec, model.version)
    return "" if found and not found.differs(model) else _missing(model, found)


def made_by(services: Services, spec: PipelineSpec, commit: Commit, model: Identity) -> bool:
    """Whether a commit's predictions are this model's; the registry is read only where the number alone is recorded."""
    recorded = identity.of_commit(commit.metadata)
    if recorded.version != model.version or recorded.differs(model):
        return False
    return bool(recorded.run_id) or identity.made_by_number(commit, model, services.tracker.versions(spec.name))


def trained_by(services: Services, spec: PipelineSpec, commit: Commit) -> RunRecord:
    """The training run of the model whose predictions a commit holds. Raises ModelGone if it is not known any more."""
    recorded = identity.of_commit(commit.metadata)
    if run_id := identity.training_run(commit, services.tracker.versions(spec.name)):
        with contextlib.suppress(UnknownName):
            return services.tracker.run(run_id)
    found = _found(services, spec, recorded.version)
    again = f"tailrace predict {spec.name} --date {commit.day} --model N"
    way_out = f"Restore the registry from a backup, or predict the day with a version that is there: {again}."
    raise ModelGone(f"{_missing(recorded, found)} {way_out}")


def holdout_scores(trained: RunRecord, version: str) -> str:
    """The distribution of a version's scores on its training's holdout, as JSON. Raises SignatureMismatch."""
    if run_tags.HOLDOUT_SCORES not in trained.tags:
        raise SignatureMismatch(
            f"Version {version} of {trained.pipeline} was registered without its holdout's scores, which the audit "
            "compares with; score with another version, or train again."
        )
    return trained.tags[run_tags.HOLDOUT_SCORES]


def _explicit(services: Services, spec: PipelineSpec, day: dt.date, version: str) -> ChosenVersion:
    model = identity.of_version(numbered(services, spec, version))
    _refuse_second_meaning(services, spec, model)
    effective_from = _trained(services, model)
    return ChosenVersion(model, effective_from, effective_from is not None and effective_from > day)


def _trained(services: Services, model: Identity) -> dt.date | None:
    """The day that a model was trained as of."""
    day = services.tracker.run(model.run_id).tags.get(run_tags.DAY)
    return dt.date.fromisoformat(day) if day else None


def _refuse_second_meaning(services: Services, spec: PipelineSpec, model: Identity) -> None:
    """Raises ModelGone where the last decision on a version of this number was on another model."""
    last = _last_decided(promotions.decisions(services.lake, spec.name), model)
    if last.differs(model):
        raise ModelGone(
            f"{spec.name}: {_missing(last, model)} So the number {model.version} names two models. Restore the "
            "registry that was used before; or decide on the model that is there, which gives it the number: tailrace "
            f"promote {spec.name} --run {model.run_id} --reason '...'."
        )


def _last_decided(decided: Sequence[Promotion], model: Identity) -> Identity:
    """The model of the last decision on a version of this model's number; the model itself if there was none."""
    return next((row.model for row in decided if row.version == model.version), model)


def _found(services: Services, spec: PipelineSpec, version: str) -> Identity | None:
    """What the registry has under a number."""
    versions = services.tracker.versions(spec.name)
    return next((identity.of_version(known) for known in versions if known.version == version), None)


def _missing(recorded: Identity, found: Identity | None) -> str:
    if found is None:
        return f"The lake records {recorded}, and the model registry has no such version any more."
    return (
        f"The lake records {recorded}, and the model registry has another model under this number: {found}. The "
        "registry was started over, or it is not the one that was used before."
    )


def _ways_out(services: Services, spec: PipelineSpec, day: dt.date | None) -> str:
    """What can be done where a champion is gone; every way that is named works."""
    past = promotions.history(services.lake, spec.name)
    known = {each.version: identity.of_version(each) for each in services.tracker.versions(spec.name)}
    there = [row for row in past if row.version in known and not known[row.version].differs(row.model)]
    number = _number_for(services, spec, there, known, day)
    if there and not there[0].model.differs(past[0].model):
        # The champion of today is there, a former one is gone: no rollback or training brings the former one back.
        return f"Restore the registry from a backup{f', or score the day with {number}' if number else ''}."
    back = (
        f" roll back to a former champion (tailrace rollback {spec.name} --version {there[0].version} --reason '...');"
        if there
        else ""
    )
    single = f" score single days with {number};" if number else ""
    since = past[0].effective_from if past else "DAY"
    return (
        f"Restore the registry from a backup;{back}{single} or train as of {since} or a later day and promote by hand: "
        f"tailrace train {spec.name} --date {since}, then tailrace promote {spec.name} --run RUN --reason '...'."
    )


def _number_for(
    services: Services,
    spec: PipelineSpec,
    there: Sequence[Promotion],
    known: Mapping[str, Identity],
    day: dt.date | None,
) -> str:
    """The champion that is there, can be asked for by its number, and fits the day best, as words; empty if none."""
    decided = promotions.decisions(services.lake, spec.name)
    meant = [row for row in there if not _last_decided(decided, known[row.version]).differs(known[row.version])]
    # A champion of the day itself was not trained on later data.
    fitting = next((row for row in meant if day is None or row.effective_from <= day), next(iter(meant), None))
    if fitting is None:
        return ""
    model = known[fitting.version]
    trained = _trained(services, model) if day else None
    ahead = f"; it was trained as of {trained}, so it looks ahead" if day and trained and trained > day else ""
    return f"another model: --model {model.version} (training run {model.run_id}{ahead})"
