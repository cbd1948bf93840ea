"""What the published rows say: features that tell the label too well, and labels that changed after they were used."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from tailrace.champions import model_versions, promotions
from tailrace.contracts import LakeReader, Services
from tailrace.errors import TailraceError
from tailrace.lineage import pins
from tailrace.profiling.associations import Association, associations
from tailrace.profiling.columns import profiled
from tailrace.profiling.leaks import Times, leaks
from tailrace.spec import DAY, PipelineSpec
from tailrace.training.join import last_known

MONTH = dt.timedelta(days=28)
JUMP = 0.3
"""On the way from chance to perfect: by so much more than a month before, a single feature tells the label suddenly."""
STRONG = 0.6


@dataclass(frozen=True, kw_only=True)
class Suspicion:
    """A column that the published rows cast doubt on, and why. `leak`: it should not be used as it is."""

    column: str
    why: str
    leak: bool


def suspicions(services: Services, spec: PipelineSpec) -> list[Suspicion]:
    """What the last month of published rows says of each feature, compared with the month before, and of the labels."""
    lake = services.lake
    published = lake.days(spec.outcomes_table)
    if not published or not lake.days(spec.features_table):
        return []
    end = max(published)
    now, before = (_labelled(lake, spec, last - MONTH, last) for last in (end, end - MONTH - dt.timedelta(days=1)))
    if not now.num_rows:
        return []
    names = [name for name in spec.features.columns if name in now.column_names]
    alone = associations(now, spec.outcome.label, spec.problem, names=names)
    earlier = associations(before, spec.outcome.label, spec.problem, names=names) if before.num_rows else {}
    times = Times(spec.features.event_time, DAY, spec.features.known_column)
    found = leaks(
        now.select([*dict.fromkeys([*spec.features.key, spec.features.event_time, DAY, *names, spec.outcome.label])]),
        [each for each in profiled(now, names) if each.name in names],
        label=spec.outcome.label,
        problem=spec.problem,
        found=alone,
        key=spec.features.key,
        times=times,
    )
    said = [Suspicion(column=name, why=f"{why}{_then(earlier.get(name))}", leak=True) for name, why in found]
    named = {each.column for each in said}
    said += [each for each in _jumps(alone, earlier) if each.column not in named]
    return said + changed_labels(services, spec)


def changed_labels(services: Services, spec: PipelineSpec) -> list[Suspicion]:
    """Whether labels that the champion learned from are other ones today."""
    champion = promotions.current(promotions.history(services.lake, spec.name))
    if champion is None:
        return []
    try:
        trained = model_versions.record_of(services, spec, champion.version)
        pin = pins.from_tags(trained.tags).get("outcomes")
        if pin is None:
            return []
        now = services.lake.pin(spec.outcomes_table, first=pin.first, last=pin.last)
        if now.digest == pin.digest:
            return []
        then, today = (_labels(spec, services.lake.scan(each).reader().read_all()) for each in (pin, now))
    except TailraceError as error:
        return [Suspicion(column=spec.outcome.label, why=f"its past could not be read: {error}", leak=False)]
    label = spec.outcome.label
    both = then.join(today, keys=spec.features.key, join_type="inner", right_suffix=" now")
    same = pc.fill_null(pc.equal(both[label], both[f"{label} now"]), False)
    nulls = pc.and_(pc.is_null(both[label]), pc.is_null(both[f"{label} now"]))
    changed = both.num_rows - (pc.sum(pc.or_(same, nulls)).as_py() or 0)
    gone = then.num_rows - both.num_rows
    if not changed and not gone:
        return []
    why = (
        f"{changed:,} of {then.num_rows:,} labels that version {champion.version} learned from have changed since, and "
        f"{gone:,} are gone: a correction that comes late is a label that nobody knew at the time"
    )
    return [Suspicion(column=label, why=why, leak=False)]


def _jumps(now: Mapping[str, Association], before: Mapping[str, Association]) -> list[Suspicion]:
    found = []
    for name, each in now.items():
        then = before.get(name)
        if then and each.strength >= STRONG and each.strength - then.strength >= JUMP:
            why = f"it alone predicts the label much better than before ({each.metric} {each.value:.3f}{_then(then)})"
            found.append(Suspicion(column=name, why=why, leak=False))
    return found


def _then(then: Association | None) -> str:
    return "" if then is None else f"; in the month before {then.metric} was {then.value:.3f}"


def _labelled(lake: LakeReader, spec: PipelineSpec, first: dt.date, last: dt.date) -> pa.Table:
    """The features of the days with their labels."""
    features = lake.read(spec.features_table, first=first, last=last).read_all()
    labels = _labels(spec, lake.read(spec.outcomes_table, first=first, last=last + MONTH).read_all())
    return features.join(labels, keys=spec.features.key, join_type="inner")


def _labels(spec: PipelineSpec, outcomes: pa.Table) -> pa.Table:
    """Each key with the label that became known last."""
    ordered = outcomes.sort_by([(name, "ascending") for name in spec.features.key])
    return last_known(spec, ordered).select([*spec.features.key, spec.outcome.label])
