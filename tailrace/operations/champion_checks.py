"""Whether the champions in force can score what the specs and marts give: tonight's scoring would refuse otherwise."""

from __future__ import annotations

import json
import socket
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from tailrace.champions import promotions
from tailrace.champions.promotions import Promotion
from tailrace.contracts import Services
from tailrace.engines.signatures import DESCRIPTION, PROBLEM, described_features
from tailrace.errors import TailraceError, did_you_mean
from tailrace.operations.passed_checks import PassedChecks
from tailrace.problems import from_description
from tailrace.spec import PipelineSpec

PATIENCE_SECONDS = 1.0
"""How long the registry's server may take to answer at all."""


class ChampionChecks:
    """Checks champions against specs. What the registry says of a model is asked once, and written down."""

    def __init__(self, services: Services, passed: PassedChecks, registry: str) -> None:
        self._services, self._passed, self._registry = services, passed, registry
        self.notes: list[str] = []
        self._away = ""

    def of(self, spec: PipelineSpec, columns: Collection[str] | None) -> list[str]:
        """What the champion needs and the spec or the mart does not give; `columns` are the mart's, if certain."""
        champion = self.champion(spec)
        described = self.described(spec, champion) if champion is not None else None
        if champion is None or described is None:
            return []
        return [f"{spec.name}: {wrong}" for wrong in _problems(spec, champion, described, columns)]

    def champion(self, spec: PipelineSpec) -> Promotion | None:
        """The champion in force; None, with a note if the lake cannot be read, if there is none."""
        try:
            return promotions.current(promotions.history(self._services.lake, spec.name))
        except TailraceError as error:
            self.notes.append(f"{spec.name}: its champion was not checked: {error}")
            return None

    def described(self, spec: PipelineSpec, champion: Promotion) -> dict[str, Any] | None:
        """What the stored model says of itself: its features and its question; None, with a note, if unknown here."""
        key = ("champion", spec.name, champion.version, champion.training_run)
        if (known := self._passed.notes_of(*key)) is not None:
            return dict(json.loads(known[0]))
        try:
            self._refuse_silence()
            with tempfile.TemporaryDirectory(prefix="tailrace-check-") as folder:
                stored = self._services.tracker.model_folder(spec.name, champion.version, Path(folder))
                model = json.loads((stored / DESCRIPTION).read_text())
        except TailraceError as error:
            self.notes.append(f"{spec.name}: the signature of its champion was not checked: {error}")
            return None
        described = {"features": described_features(model), PROBLEM: model.get(PROBLEM)}
        self._passed.passed(*key, notes=[json.dumps(described)])
        return described

    def _refuse_silence(self) -> None:
        """Raise TailraceError at once if the registry is a server that does not answer: it is asked only once."""
        address = urlparse(self._registry)
        if self._away:
            raise TailraceError(self._away)
        if address.scheme not in ("http", "https"):
            return
        port = address.port or (443 if address.scheme == "https" else 80)
        try:
            socket.create_connection((address.hostname or "", port), PATIENCE_SECONDS).close()
        except OSError as error:
            self._away = f"the registry at {self._registry} does not answer ({error})."
            raise TailraceError(self._away) from error


def _problems(
    spec: PipelineSpec, champion: Promotion, described: dict[str, Any], columns: Collection[str] | None
) -> Iterator[str]:
    who = f"the champion, version {champion.version} (from {champion.effective_from} on),"
    way_out = (
        f"Train again and make that version champion (tailrace train {spec.name}, tailrace promote), or keep the "
        "column until then."
    )
    for name in described["features"]:
        if name not in spec.features.columns:
            near = did_you_mean(name, spec.features.columns)
            yield f"{who} needs the feature {name!r}, which features.columns does not have.{near} {way_out}"
        elif columns is not None and name.lower() not in {each.lower() for each in columns}:
            yield f"{who} needs the feature {name!r}, which its mart does not have. {way_out}"
    trained = from_description(described[PROBLEM])
    if not spec.problem.answered_by(trained):
        yield f"{who} was trained for {trained!r}, and the spec asks {spec.problem!r}. {way_out}"
