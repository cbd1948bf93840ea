"""Which model a version number stands for.

A registry that was started over counts its versions from 1 again, so a number alone may name two models. The id of the
training run tells them apart, in whatever registry they are: it is random. The digest names the model's files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipelines.interfaces import ModelVersion

DIGEST_TAG = "tailrace.model_digest"
"""A model version's tag: SHA-256 of the files that were registered."""
VERSION, RUN, DIGEST = "model_version", "model_run_id", "model_digest"
"""How commits name the model, in their metadata."""
SHOWN = 12
"""Characters of a digest in a message."""


@dataclass(frozen=True)
class Identity:
    """A model version; `run_id` and `digest` are empty where earlier versions of Tailrace did not record them."""

    version: str
    run_id: str = ""
    digest: str = ""

    def differs(self, other: Identity) -> bool:
        """Whether these are two models, as far as both are known."""
        pairs = (self.version, other.version), (self.run_id, other.run_id), (self.digest, other.digest)
        return any(mine != theirs for mine, theirs in pairs if mine and theirs)

    def __str__(self) -> str:
        known = [f"training run {self.run_id}"] if self.run_id else []
        known += [f"model digest {self.digest[:SHOWN]}"] if self.digest else []
        return f"version {self.version}" + (f" ({', '.join(known)})" if known else "")


def of_version(known: ModelVersion) -> Identity:
    """The model that a registry has under this number."""
    return Identity(known.version, known.run_id, known.tags.get(DIGEST_TAG, ""))


def of_commit(metadata: Mapping[str, str]) -> Identity:
    """The model that a commit names; its version is empty if it names none."""
    return Identity(metadata.get(VERSION, ""), metadata.get(RUN, ""), metadata.get(DIGEST, ""))


def notes(model: Identity) -> dict[str, str]:
    """The model, as a commit's metadata."""
    return {VERSION: model.version, RUN: model.run_id, DIGEST: model.digest}
