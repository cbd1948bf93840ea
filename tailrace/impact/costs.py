"""What it would cost to make a pipeline's days again, as far as past runs tell."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from tailrace.champions.promotions import Promotion
from tailrace.contracts import Services
from tailrace.errors import TailraceError
from tailrace.operations import past_runs
from tailrace.operations.passed_checks import PassedChecks
from tailrace.spec import PipelineSpec


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What past runs took; None where no run tells.

    `days` and `rows` are those of the published features. `build_seconds` is one build of the touched tables,
    `train_seconds` one training, `night_seconds` a day from its published features to its published predictions.
    """

    days: int = 0
    rows: int = 0
    predicted_days: int = 0
    build_seconds: float | None = None
    train_seconds: float | None = None
    night_seconds: float | None = None

    @property
    def words(self) -> str:
        if not self.days:
            return "nothing is published, so nothing has to be made again"
        said = [f"{self.days} published days with {self.rows:,} rows of features"]
        if self.build_seconds is not None:
            said.append(f"a build of the touched tables took {_seconds(self.build_seconds)}")
        if self.train_seconds is not None:
            said.append(f"a training {_seconds(self.train_seconds)}")
        if self.night_seconds is not None:
            said.append(
                f"publishing a day's predictions {_seconds(self.night_seconds)}, all "
                f"{self.predicted_days} days of them about {_seconds(self.night_seconds * self.predicted_days)}"
            )
        return "; ".join(said)


def of(
    services: Services,
    spec: PipelineSpec,
    *,
    nodes: Collection[str],
    run_results: Path | None,
    champion: Promotion | None,
    passed: PassedChecks,
) -> Cost:
    """The cost of a pipeline whose mart needs these dbt nodes to be built again. Raises LakeUnavailable.

    `passed` keeps what the registry said, since asking it takes seconds.
    """
    features = services.lake.days(spec.features_table)
    return Cost(
        days=len(features),
        rows=sum(commit.rows for commit in features.values()),
        predicted_days=len(services.lake.days(spec.predictions_table)),
        build_seconds=_build(run_results, nodes),
        train_seconds=_training(services, spec, champion, passed),
        night_seconds=past_runs.seconds_a_day(services, spec),
    )


def _build(run_results: Path | None, nodes: Collection[str]) -> float | None:
    """How long dbt worked on these nodes in its last build."""
    try:
        read = json.loads(run_results.read_text(encoding="utf-8")) if run_results is not None else {}
        taken = {each["unique_id"]: float(each["execution_time"]) for each in read.get("results", ())}
    except (OSError, ValueError, KeyError, TypeError):
        return None
    there = [taken[node] for node in nodes if node in taken]
    return sum(there) if there else None


def _training(services: Services, spec: PipelineSpec, champion: Promotion | None, passed: PassedChecks) -> float | None:
    """From the start of the champion's training to its registered version."""
    if champion is None or not champion.training_run:
        return None
    key = ("training seconds", spec.name, champion.version, champion.training_run)
    if (known := passed.notes_of(*key)) is not None:
        return float(known[0])
    with contextlib.suppress(TailraceError):
        begun = services.tracker.run(champion.training_run).started_at
        made = {version.version: version.created_at for version in services.tracker.versions(spec.name)}
        if champion.version in made:
            seconds = max(0.0, (made[champion.version] - begun).total_seconds())
            passed.passed(*key, notes=[str(seconds)])
            return seconds
    return None


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else f"{seconds / 60:.0f} min"
