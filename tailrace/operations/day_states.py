"""The state of a pipeline's day, from everything that is recorded about it: one answer, which every page shows.

A day goes through a chain of stages. `of` takes the day's records and returns one state, with the links of the chain
that are broken, the first one first. It reads nothing itself.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from tailrace.champions.promotions import Promotion
from tailrace.contracts import Commit
from tailrace.lineage import dag_ids, identity

RunState = Literal["success", "failed", "running", "queued"]
DayStatus = Literal["published", "out of date", "refused", "failed", "running", "not published", "not due"]

AS_OF = "as-of"
"""As in `tailrace.champions.model_versions`, which takes longer to import."""
CHAIN: Mapping[str, tuple[str, ...]] = {
    "warehouse": ("ingest", "build", "validate", "snapshot"),
    "predict": ("score", "audit", "publish"),
    "monitor": ("monitor",),
}
"""By kind of DAG, in the order in which a day goes through them: the links of the chain."""
UNNAMED = {"warehouse": "build", "predict": "score", "monitor": "monitor"}
"""The link of a task with another name, such as that of a single dbt model."""
JUDGES = ("validate", "audit")
NOT_JUDGED = ("does not answer", "cannot be read", "could not be reached")
"""What errors say of a service that is away: the task failed, and refused nothing."""
OPEN: tuple[DayStatus, ...] = ("refused", "failed", "out of date", "not published")
"""States of a day that somebody should look at."""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """A DAG run that tried to produce a day. `task` and `error` belong to the task that failed or is running.

    `waits`: that task failed, and will be retried. `scheduled`: the schedule started the run, and no person.
    """

    dag_id: str
    run_id: str
    day: dt.date | None
    outcome: RunState
    at: dt.datetime
    """When it ended; if it has not ended, when it started or was queued."""
    task: str = ""
    error: str = ""
    by: str = ""
    waits: bool = False
    scheduled: bool = False

    @property
    def kind(self) -> str:
        """`warehouse`, `predict` or `monitor`."""
        return dag_ids.kind_of(self.dag_id)

    @property
    def link(self) -> str:
        """The link of the chain at which the run stopped, or is now."""
        name = self.task.rpartition(".")[2]
        return name if name in CHAIN.get(self.kind, ()) else UNNAMED.get(self.kind, name)

    @property
    def unfinished(self) -> bool:
        return self.outcome in ("running", "queued")

    @property
    def refused(self) -> bool:
        """Whether it failed because data or a model was not good enough, as far as its error says so."""
        said = self.error.lower()
        judged = self.link in JUDGES and not any(words in said for words in NOT_JUDGED)
        return self.outcome == "failed" and ("refuse" in said or judged)


@dataclass(frozen=True, kw_only=True)
class DayRecords:
    """What is recorded about one day of a pipeline.

    `attempts` has the last run of each kind of DAG that worked on the day. `monitored` is the publication of its
    performance. `champion` is the champion as of the day, by the decisions that are in force now. `newer_features`: the
    features were taken again after the predictions were made from them. `scheduled`: the pipeline's schedule has the
    day. `drift` is ok, watch, alarm, or '' if it is not known.
    """

    day: dt.date
    published: Commit | None = None
    features: Commit | None = None
    monitored: Commit | None = None
    attempts: Mapping[str, Attempt]
    champion: Promotion | None = None
    newer_features: bool = False
    scheduled: bool = True
    drift: str = ""
    other_policy: str = ""
    """How the policy of the day, by the decisions in force now, differs from the one that it was published under."""

    @property
    def is_known(self) -> bool:
        """Whether the pipeline came to this day, and not only somebody who asked for it.

        A run by hand for a day that was never landed or built, such as a mistyped one, makes no day due.
        """
        if self.published is not None or self.features is not None:
            return True
        predict, warehouse = self.attempts.get("predict"), self.attempts.get("warehouse")
        if predict is not None and (predict.scheduled or predict.outcome == "success"):
            return True
        if warehouse is None or warehouse.outcome == "success":
            return False
        return warehouse.scheduled or warehouse.link != CHAIN["warehouse"][0]


@dataclass(frozen=True, kw_only=True)
class BrokenLink:
    """A link of the chain that failed or refused the day, later than what it would have made was made."""

    name: str
    refused: bool
    attempt: Attempt


@dataclass(frozen=True, kw_only=True)
class DayState:
    """One status, and why. `broken` has the broken links, in the order of the chain.

    A published day stays published although a later run was refused or failed: then `broken` says so. `outdated` has
    the reasons why it is out of date. `running` is the run that works on the day.
    """

    day: dt.date
    status: DayStatus
    published: Commit | None = None
    broken: tuple[BrokenLink, ...] = ()
    outdated: tuple[str, ...] = ()
    running: Attempt | None = None
    champion: Promotion | None = None
    drift: str = ""

    @property
    def first_broken(self) -> BrokenLink | None:
        return self.broken[0] if self.broken else None

    @property
    def warnings(self) -> int:
        """The expectations that warned when the day was published."""
        noted = self.published.metadata.get("audit_warnings") if self.published else ""
        return int(noted) if noted and noted.isdecimal() else 0


def of(records: DayRecords, *, due: bool) -> DayState:
    """The state of the day. `due`: by now, the day should be published."""
    broken = tuple(_broken(records))
    running = _running(records, broken)
    return DayState(
        day=records.day,
        status=_status(records, broken, running=running, due=due),
        published=records.published,
        broken=broken,
        outdated=tuple(_outdated(records)),
        running=running,
        champion=records.champion,
        drift=records.drift,
    )


def all_of(records: Iterable[DayRecords], today: dt.date) -> dict[dt.date, DayState]:
    """The states of these days, oldest first. A day is due by now if it lies between known days, or is one itself."""
    in_order = sorted(records, key=lambda each: each.day)
    known = [each.day for each in in_order if each.is_known]
    first, last = (known[0], min(known[-1], today)) if known else (dt.date.max, dt.date.min)
    return {
        each.day: of(each, due=first <= each.day <= last and (each.scheduled or each.is_known)) for each in in_order
    }


def headline(states: Mapping[dt.date, DayState]) -> DayState | None:
    """The state that stands for the pipeline: that of its last day that is due, or that is running."""
    told = [state for state in states.values() if state.status != "not due"]
    return max(told, key=lambda state: state.day, default=None)


def open_days(states: Mapping[dt.date, DayState]) -> dict[str, list[dt.date]]:
    """The days that somebody should look at, by status, oldest first; a published day that was refused or failed again
    is among the refused or failed ones."""
    found: dict[str, list[dt.date]] = {}
    for day, state in sorted(states.items()):
        if (status := _open_status(state)) in OPEN:
            found.setdefault(status, []).append(day)
    return {status: found[status] for status in OPEN if status in found}


def _open_status(state: DayState) -> DayStatus:
    first = state.first_broken
    if state.status in ("published", "out of date") and first is not None:
        return "refused" if first.refused else "failed"
    return state.status


def _broken(records: DayRecords) -> Iterator[BrokenLink]:
    made = {"warehouse": records.features, "predict": records.published, "monitor": records.monitored}
    for kind in CHAIN:
        attempt = records.attempts.get(kind)
        if attempt is None or attempt.outcome != "failed" or (kind == "monitor" and records.published is None):
            continue
        before = made[kind]
        if before is None or attempt.at > before.recorded_at:
            yield BrokenLink(name=attempt.link, refused=attempt.refused, attempt=attempt)


def _running(records: DayRecords, broken: tuple[BrokenLink, ...]) -> Attempt | None:
    """The run that works on the day. One that waits for features that were refused is none: it waits in vain."""
    predict, warehouse = records.attempts.get("predict"), records.attempts.get("warehouse")
    if predict is not None and predict.unfinished and not (predict.waits and broken):
        return predict
    if warehouse is not None and warehouse.unfinished and records.published is None:
        return warehouse
    return None


def _outdated(records: DayRecords) -> Iterator[str]:
    """Why the day would be predicted otherwise now; a version that a person asked for is no reason."""
    made, champion = records.published, records.champion
    if made is None:
        return
    if champion is not None and made.metadata.get("model_choice", AS_OF) == AS_OF:
        used = identity.of_commit(made.metadata)
        if used.version and used.differs(champion.model):
            yield (
                f"v{champion.version} is the champion as of this day by a later decision "
                f"({champion.decision.replace('_', ' ')} by {champion.decided_by}, from {champion.effective_from} on)"
            )
    if records.newer_features:
        yield "its features were taken again after it was predicted"
    if records.other_policy:
        yield records.other_policy


def _status(records: DayRecords, broken: tuple[BrokenLink, ...], *, running: Attempt | None, due: bool) -> DayStatus:
    if running is not None:
        return "running"
    if records.published is not None:
        return "out of date" if any(_outdated(records)) else "published"
    if not due:
        return "not due"
    if broken:
        return "refused" if broken[0].refused else "failed"
    return "not published"
