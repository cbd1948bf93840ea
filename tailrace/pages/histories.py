"""Pipelines without a spec that can be used: their file is broken or was removed, and their history is still shown.

The lake and MLflow know a pipeline by its name. What only a spec says, such as the limits of the audit and the names of
columns, is not known then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tailrace.champions import promotions
from tailrace.errors import UnknownName
from tailrace.pages import catalog
from tailrace.pages.sources import Sources
from tailrace.problems.metrics import METRICS
from tailrace.spec import Features, Gate, Outcome, PipelineSpec, Schedule, Window


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A pipeline as the pages show it. `problem` is empty, or says why its spec cannot be used: then only its history
    is known."""

    spec: PipelineSpec
    problem: str = ""


def shown(sources: Sources, name: str) -> Shown:
    """The pipeline with this name. Raises UnknownName if there is neither a file nor a history, LakeUnavailable."""
    specs, broken = catalog.read()
    if name in specs:
        return Shown(spec=specs[name])
    if name in broken:
        return Shown(spec=stand_in(sources, name), problem=broken[name])
    if name in decided(sources):
        return Shown(spec=stand_in(sources, name), problem=removed(name))
    raise UnknownName("pipeline", name, [*specs, *broken])


def without_spec(sources: Sources, specs: Mapping[str, PipelineSpec], broken: Mapping[str, str]) -> dict[str, str]:
    """The problems of the pipelines whose spec cannot be used, by name; removed ones are those that had a champion.

    Raises LakeUnavailable.
    """
    gone = [name for name in decided(sources) if name not in specs and name not in broken]
    return {**broken, **{name: removed(name) for name in gone}}


def removed(name: str) -> str:
    """Says that there is no file of this pipeline."""
    return f"pipelines/{name}.py does not exist any more."


def is_stand_in(spec: PipelineSpec) -> bool:
    """Whether this spec only stands for one that cannot be used. No spec of a pipeline is without candidates."""
    return not spec.candidates


def stand_in(sources: Sources, name: str) -> PipelineSpec:
    """A spec with the pipeline's name, from which the names of its tables and DAGs follow; times are in UTC.

    Its metric is the first that was measured.
    """
    rows: Sequence[Mapping[str, object]] = sources.performance(name) or ()
    measured = [metric for row in reversed(rows) for metric in _metrics(row) if metric in METRICS]
    return PipelineSpec(
        name=name,
        owner="–",
        description="",
        features=Features(key=(), event_time="", columns={}),
        outcome=Outcome(label=""),
        candidates=(),
        window=Window(days=1, holdout_days=1),
        schedule=Schedule(train=None, predict=None),
        gate=Gate(metric=measured[0] if measured else ""),
    )


def decided(sources: Sources) -> list[str]:
    """The pipelines about whose versions anything was decided. Raises LakeUnavailable."""
    if not sources.lake.exists(promotions.TABLE):
        return []
    names = sources.lake.read(promotions.TABLE).read_all()["pipeline"].unique().to_pylist()
    return sorted(names)


def _metrics(row: Mapping[str, object]) -> list[str]:
    found = row.get("metrics")
    return list(found) if isinstance(found, Mapping) else []
