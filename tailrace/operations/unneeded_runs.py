"""Which training runs nobody needs the trials and the model of any more."""

from __future__ import annotations

import datetime as dt

from tailrace.champions import promotions
from tailrace.champions.model_versions import CHAMPION
from tailrace.contracts import RunRecord, Services
from tailrace.lineage import identity, run_tags
from tailrace.lineage.identity import Identity
from tailrace.spec import PipelineSpec


def unneeded_runs(services: Services, spec: PipelineSpec, before: dt.datetime) -> tuple[RunRecord, ...]:
    """The runs that ended, were started before that time, and whose version, if they have one, is not needed.

    A version is needed if it is the newest one, has an alias, was made champion by any decision, or published a day,
    even if another version published that day later. What rules registered is needed, too: it is small.

    Empty if the lake does not know of the champion: then it is not the lake of these models, or was lost, and cannot
    say which of them are needed.
    """
    if not _knows_the_champion(services, spec):
        return ()
    versions = {version.training_run: version for version in services.tracker.versions(spec.name)}
    newest = max(versions.values(), key=lambda version: version.created_at, default=None)
    used = _used(services, spec)

    def is_needed(run: RunRecord) -> bool:
        version = versions.get(run.training_run)
        if version is None:
            return False
        known = identity.of_version(version)
        return version is newest or bool(version.aliases) or any(_may_be(known, other) for other in used)

    return tuple(
        run
        for run in services.tracker.runs(spec.name)
        if run.status != "running"
        and run.started_at < before
        and run_tags.FILES_DELETED_ALL not in run.tags
        and run.tags.get(run_tags.MODEL_KIND) != run_tags.BASELINE
        and not is_needed(run)
    )


def _knows_the_champion(services: Services, spec: PipelineSpec) -> bool:
    """Whether the lake has a decision about the registry's champion; also where no version is champion yet."""
    champions = [each for each in services.tracker.versions(spec.name) if CHAMPION in each.aliases]
    decided = {one.version for one in promotions.decisions(services.lake, spec.name)}
    return all(each.version in decided for each in champions)


def _used(services: Services, spec: PipelineSpec) -> set[Identity]:
    """The models that were champion, or published a day."""
    decided = promotions.decisions(services.lake, spec.name)
    champions = {one.model for one in decided if one.decision != "rejected"}
    champions |= {Identity(one.previous) for one in decided if one.previous}
    return champions | {identity.of_commit(commit.metadata) for commit in services.lake.commits(spec.predictions_table)}


def _may_be(known: Identity, other: Identity) -> bool:
    """Whether the two may be the same model: in doubt it is kept."""
    return known.version == other.version or (bool(other.training_run) and known.training_run == other.training_run)
