"""Which model a version number stands for.

A registry that was recreated numbers its versions from 1 again, so one number may stand for two models. The id of the
training run is random and tells them apart in any registry. The digest identifies the model's files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tailrace.contracts import Commit, ModelVersion
from tailrace.lineage import run_tags

VERSION, RUN, DIGEST = "model_version", "model_run_id", "model_digest"
"""The keys of the model in the metadata of commits."""
SHOWN = 12
"""How many characters of a digest a message shows."""


@dataclass(frozen=True)
class Identity:
    """A model version; `training_run` and `digest` are empty if an earlier release of Tailrace did not record them."""

    version: str
    training_run: str = ""
    digest: str = ""

    def differs(self, other: Identity) -> bool:
        """Whether these are two different models, judged by the fields that both have."""
        pairs = (self.version, other.version), (self.training_run, other.training_run), (self.digest, other.digest)
        return any(mine != theirs for mine, theirs in pairs if mine and theirs)

    def __str__(self) -> str:
        known = [f"training run {self.training_run}"] if self.training_run else []
        known += [f"model digest {self.digest[:SHOWN]}"] if self.digest else []
        return f"version {self.version}" + (f" ({', '.join(known)})" if known else "")


def of_version(known: ModelVersion) -> Identity:
    """The model that is registered under this number."""
    return Identity(known.version, known.training_run, known.tags.get(run_tags.MODEL_DIGEST, ""))


def of_commit(metadata: Mapping[str, str]) -> Identity:
    """The model that a commit names; its version is empty if the commit names none."""
    return Identity(metadata.get(VERSION, ""), metadata.get(RUN, ""), metadata.get(DIGEST, ""))


def notes(model: Identity) -> dict[str, str]:
    """The model as metadata for a commit."""
    return {VERSION: model.version, RUN: model.training_run, DIGEST: model.digest}


def training_run(commit: Commit, registered: Iterable[ModelVersion]) -> str:
    """The training run of the model that made a commit; empty if it is no longer known."""
    recorded = of_commit(commit.metadata)
    if recorded.training_run:
        return recorded.training_run
    there = _numbered(recorded.version, registered)
    return there.training_run if there and _is_before(there, commit) else ""


def made_by_number(commit: Commit, model: Identity, registered: Iterable[ModelVersion]) -> bool:
    """Whether a model made a commit that records only the model's number, as earlier releases of Tailrace did.

    The registered model with this number did, unless it was created after the commit: then an earlier one did.
    """
    there = _numbered(model.version, registered)
    if there is None:
        return True
    return _is_before(there, commit) == (model.training_run in ("", there.training_run))


def _numbered(version: str, registered: Iterable[ModelVersion]) -> ModelVersion | None:
    return next((each for each in registered if each.version == version), None)


def _is_before(version: ModelVersion, commit: Commit) -> bool:
    return version.created_at <= commit.recorded_at
