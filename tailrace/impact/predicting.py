"""The predictions of a day from given features, by the champion of that day, as a night would publish them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import pyarrow as pa

from tailrace.champions import model_versions, policies
from tailrace.contracts import Model, Services
from tailrace.engines import models
from tailrace.engines.scoring import score_stream
from tailrace.errors import NoChampion
from tailrace.lineage import identity
from tailrace.lineage.identity import Identity
from tailrace.spec import PipelineSpec


class Scorer:
    """Scores days as the stage `score` does, and keeps each model that it has loaded."""

    def __init__(self, services: Services, name: str) -> None:
        self._services, self._name = services, name
        self._models: dict[str, Model] = {}
        self._champions: dict[dt.date, Identity] = {}

    def champion(self, spec: PipelineSpec, day: dt.date) -> Identity:
        """The champion as of a day, as it is registered; before the first one, the model that the day is published by.

        Raises NoChampion, ModelGone.
        """
        if day not in self._champions:
            self._champions[day] = model_versions.registered(self._services, spec, self._chosen(spec, day), day)
        return self._champions[day]

    def _chosen(self, spec: PipelineSpec, day: dt.date) -> Identity:
        try:
            return model_versions.resolve(self._services, spec, day, model_versions.AS_OF).model
        except NoChampion:
            published = self._services.lake.days(spec.predictions_table).get(day)
            recorded = identity.of_commit(published.metadata) if published is not None else None
            if recorded is None or not recorded.version:
                raise
            return recorded

    def model(self, spec: PipelineSpec, version: str) -> Model:
        """The fitted model of a version."""
        if version not in self._models:
            import tempfile
            from pathlib import Path

            with tempfile.TemporaryDirectory(prefix="tailrace-model-") as folder:
                self._models[version] = models.load(
                    self._services.tracker.model_folder(self._name, version, Path(folder))
                )
        return self._models[version]

    def under(self, spec: PipelineSpec, day: dt.date, *, edited: bool) -> PipelineSpec:
        """The spec with the policy that is in force on the day; an edited spec has its own."""
        if edited:
            return spec
        return policies.under(spec, policies.in_force(self._services.lake, spec, day).policy)

    def scored(self, spec: PipelineSpec, version: str, rows: pa.Table) -> pa.Table:
        """The predictions, in the columns that are published. Raises SignatureMismatch if the model lacks a column."""
        wanted = [*spec.features.key, spec.features.event_time, "ds", *_inputs(spec, rows.column_names)]
        return score_stream(spec, self.model(spec, version), version, rows.select(wanted).to_reader()).read_all()


def _inputs(spec: PipelineSpec, there: Sequence[str]) -> list[str]:
    """The model's inputs that are there; scoring says in one sentence what it lacks."""
    taken = {*spec.features.key, spec.features.event_time, "ds"}
    return [name for name in spec.features.columns if name in there and name not in taken]
