"""From the model that an operator requests (`as-of`, `current` or a version number) to a loaded model."""

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
NAME_MODELS = ("promotions", "policies", "predictions", "performance")
"""Tables of the lake (or folders of tables) whose rows and commits name model versions and runs."""
"""The tag of a training run that stores the distribution of the scores on its holdout."""
NUMBER = re.compile("[1-9][0-9]{0,9}")
"""A version number in ASCII digits. `str.isdigit` would also accept other digits."""


@dataclass(frozen=True)
class ChosenVersion:
    """The model that scores a day. `look_ahead`: its training data includes that day or later days."""

    model: Identity
    effective_from: dt.date | None
    look_ahead: bool

    @property
    def version(self) -> str:
        """The model's number in the registry."""
        return self.model.version


def check_choice(model: str) -> str:
    """`model` if it is a valid request. Raises BadInput."""
    if model in (AS_OF, CURRENT) or NUMBER.fullmatch(model):
        return model
    raise BadInput(f"model is {model!r}; use {AS_OF!r}, {CURRENT!r} or a version number such as 3.")


def resolve(services: Services, spec: PipelineSpec, day: dt.date, model: str) -> ChosenVersion:
    """The requested version, resolved once per run. A champion is taken from the recorded decisions, not the registry.

    Raises BadInput, NoChampion, UnknownName; ModelGone if the requested number stands for two models.
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


def load(services: Services, spec: PipelineSpec, version: str, digest: str = "") -> Model:
    """The fitted model of a version. Raises UnknownName, SignatureMismatch, Refused if its files were changed.

    `digest` is that of the files when the version was decided about, as the lake recorded it; empty if it did not.
    """
    with tempfile.TemporaryDirectory(prefix="tailrace-model-") as folder:
        return services.engine.load(services.tracker.model_folder(spec.name, version, Path(folder), digest))


def numbered(services: Services, spec: PipelineSpec, version: str) -> ModelVersion:
    """The registered version with this number. Raises UnknownName."""
    known = {known.version: known for known in services.tracker.versions(spec.name)}
    if version not in known:
        raise UnknownName(f"version of model {spec.name}", version, known)
    return known[version]


def record_of(services: Services, spec: PipelineSpec, version: str) -> RunRecord:
    """The training run of a version. Raises UnknownName."""
    return services.tracker.run(numbered(services, spec, version).training_run)


def refuse_baseline(trained: RunRecord, what: str) -> None:
    """Raises BadInput if a run registered a baseline, of which there is nothing to evaluate or to repeat."""
    if trained.tags.get(run_tags.MODEL_KIND) == run_tags.BASELINE:
        raise BadInput(
            f"Run {trained.training_run} of {trained.pipeline} registered a baseline, which learned nothing, so it "
            f"cannot be {what}. Challengers are compared with it once it is champion."
        )


def registered(services: Services, spec: PipelineSpec, model: Identity, day: dt.date | None = None) -> Identity:
    """Exactly this model, as it is in the registry. Raises ModelGone, which says what else can be done (for `day`)."""
    found = _found(services, spec, model.version)
    if found is None or found.differs(model):
        raise ModelGone(f"{spec.name}: {_missing(model, found)} {_ways_out(services, spec, day)}")
    return found


def why_gone(services: Services, spec: PipelineSpec, model: Identity) -> str:
    """Why this exact model is not in the registry, as a sentence; empty if it is there."""
    found = _found(services, spec, model.version)
    return "" if found and not found.differs(model) else _missing(model, found)


def made_by(services: Services, spec: PipelineSpec, commit: Commit, model: Identity) -> bool:
    """Whether this model made the predictions of a commit. Reads the registry only if the commit has just a number."""
    recorded = identity.of_commit(commit.metadata)
    if recorded.version != model.version or recorded.differs(model):
        return False
    return bool(recorded.training_run) or identity.made_by_number(commit, model, services.tracker.versions(spec.name))


def trained_by(services: Services, spec: PipelineSpec, commit: Commit) -> RunRecord:
    """The training run of the model that made a commit's predictions. Raises ModelGone if it is no longer known."""
    recorded = identity.of_commit(commit.metadata)
    if training_run := identity.training_run(commit, services.tracker.versions(spec.name)):
        with contextlib.suppress(UnknownName):
            return services.tracker.run(training_run)
    found = _found(services, spec, recorded.version)
    again = f"tailrace predict {spec.name} --date {commit.day} --model N"
    way_out = f"Restore the registry from a backup, or predict the day with a version that is there: {again}."
    raise ModelGone(f"{_missing(recorded, found)} {way_out}")


def holdout_scores(trained: RunRecord, version: str) -> str:
    """The distribution of a version's scores on the holdout of its training, as JSON. Raises SignatureMismatch."""
    if run_tags.HOLDOUT_SCORES not in trained.tags:
        raise SignatureMismatch(
            f"Version {version} of {trained.pipeline} was registered without the scores on its holdout, which the "
            "audit needs for comparison. Score with another version, or train again."
        )
    return trained.tags[run_tags.HOLDOUT_SCORES]


def _explicit(services: Services, spec: PipelineSpec, day: dt.date, version: str) -> ChosenVersion:
    model = identity.of_version(numbered(services, spec, version))
    _refuse_second_meaning(services, spec, model)
    effective_from = _trained(services, model)
    decided = promotions.with_digest(services.lake, Identity(model.version, model.training_run))
    chosen = decided if decided.digest else model
    return ChosenVersion(chosen, effective_from, effective_from is not None and effective_from > day)


def _trained(services: Services, model: Identity) -> dt.date | None:
    """The day as of which a model was trained."""
    day = services.tracker.run(model.training_run).tags.get(run_tags.DAY)
    return dt.date.fromisoformat(day) if day else None


def _refuse_second_meaning(services: Services, spec: PipelineSpec, model: Identity) -> None:
    """Raises ModelGone if the last decision on a version with this number was about another model."""
    last = _last_decided(promotions.decisions(services.lake, spec.name), model)
    if last.differs(model):
        raise ModelGone(
            f"{spec.name}: {_missing(last, model)} So the number {model.version} stands for two models. Restore the "
            "registry that was used before, or decide about the model that is there now, which assigns it the number: "
            f"tailrace promote {spec.name} --run {model.training_run} --reason '...'."
        )


def _last_decided(decided: Sequence[Promotion], model: Identity) -> Identity:
    """The model of the last decision on this version number; the model itself if there was no decision."""
    return next((row.model for row in decided if row.version == model.version), model)


def _found(services: Services, spec: PipelineSpec, version: str) -> Identity | None:
    """The model that is registered under a number."""
    versions = services.tracker.versions(spec.name)
    return next((identity.of_version(known) for known in versions if known.version == version), None)


def _missing(recorded: Identity, found: Identity | None) -> str:
    if found is None:
        return f"The lake records {recorded}, but the model registry no longer has such a version."
    if recorded.training_run and recorded.training_run == found.training_run:
        return (
            f"The lake records {recorded}, but the model registry has other files of the same training run: {found}. "
            "Somebody changed the registry after the decision, so the model must not score."
        )
    return (
        f"The lake records {recorded}, but the model registry has another model under this number: {found}. The "
        "registry was recreated, or it is not the one that was used before."
    )


def _ways_out(services: Services, spec: PipelineSpec, day: dt.date | None) -> str:
    """What can be done if a champion is no longer in the registry; every way that is listed works."""
    past = promotions.history(services.lake, spec.name)
    known = {each.version: identity.of_version(each) for each in services.tracker.versions(spec.name)}
    there = [row for row in past if row.version in known and not known[row.version].differs(row.model)]
    number = _number_for(services, spec, there, known=known, day=day)
    if there and not there[0].model.differs(past[0].model):
        # Today's champion exists, but a former one is missing: no rollback or training brings the former one back.
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
    *,
    known: Mapping[str, Identity],
    day: dt.date | None,
) -> str:
    """As text: the registered champion that can be requested by its number and fits the day best; empty if none."""
    decided = promotions.decisions(services.lake, spec.name)
    meant = [row for row in there if not _last_decided(decided, known[row.version]).differs(known[row.version])]
    # A champion of the day itself was not trained on later data.
    fitting = next((row for row in meant if day is None or row.effective_from <= day), next(iter(meant), None))
    if fitting is None:
        return ""
    model = known[fitting.version]
    trained = _trained(services, model) if day else None
    ahead = f"; it was trained as of {trained}, so it looks ahead" if day and trained and trained > day else ""
    return f"another model: --model {model.version} (training run {model.training_run}{ahead})"
