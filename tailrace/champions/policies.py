"""Under which policy a day is scored: the append-only `policies` table.

The policy is what turns a model's output into published columns: the threshold of a decision, the ends of intervals,
the order of classes. Each promotion records it. An operator may set another threshold from a day on. Like a promotion,
a row has two times: `effective_from`, and `recorded_at` by the clock of the writing machine; of two rows of one day,
the one committed later counts. So a day that is scored again has the policy of that day, not today's.

An edit of the spec takes effect on the last published day, if that is scored again, and on every later day. A pipeline
whose champions were promoted before policies were recorded has no rows: there the spec counts for every day.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from tailrace.champions.promotions import AIRFLOW_RUN, with_notes
from tailrace.contracts import Commit, Lake, LakeReader
from tailrace.spec import PipelineSpec

TABLE = "policies"
POLICY, IN_FORCE, SINCE, RECORDED = "policy", "policy_in_force", "policy_effective_from", "policy_recorded"
"""What a commit of predictions says: the policy as JSON; how it was set; since which day; `false` where none is known.
"""
NOT_RECORDED = "the spec's: no policy was recorded with the champion of this day"
SetBy = Literal["promotion", "threshold", "spec"]

SCHEMA = pa.schema(
    [
        pa.field("pipeline", pa.string(), nullable=False),
        pa.field("effective_from", pa.date32(), nullable=False),
        pa.field("recorded_at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("set_by", pa.string(), nullable=False),
        pa.field("version", pa.string()),
        pa.field("threshold", pa.float64()),
        pa.field("problem", pa.string()),
        pa.field("spec_threshold", pa.float64()),
        pa.field("new_threshold", pa.bool_()),
        pa.field("decided_by", pa.string()),
        pa.field("reason", pa.string()),
    ]
)


@dataclass(frozen=True, kw_only=True)
class Policy:
    """A threshold (None where the problem has none), and those fields of the problem that decide what is published."""

    threshold: float | None
    problem: Mapping[str, Any]

    def to_json(self) -> str:
        """The policy as text, for a commit or a column."""
        return json.dumps({"threshold": self.threshold, "problem": dict(self.problem)}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Policy:
        """The policy from the text that `to_json` wrote."""
        return cls(**json.loads(text))


@dataclass(frozen=True, kw_only=True)
class PolicyDecision:
    """One row: the policy from a day on, and what set it.

    `promotion`: it came with a champion. `threshold`: an operator set the threshold. `spec`: the spec was edited.
    `spec_threshold` is what the spec said at that time. `new_threshold` is false for a promotion that left the
    threshold as it was: then an earlier row still decides it.
    """

    pipeline: str
    effective_from: dt.date
    recorded_at: dt.datetime
    set_by: SetBy
    threshold: float | None
    problem: Mapping[str, Any]
    spec_threshold: float | None
    decided_by: str
    reason: str
    version: str | None = None
    new_threshold: bool = True


@dataclass(frozen=True, kw_only=True)
class InForce:
    """The policy of a day, and the row that set it: None where none is recorded, or where an edited spec counts."""

    policy: Policy
    row: PolicyDecision | None
    recorded: bool
    edited: bool = False
    """Whether this is the edited spec's policy, of which no row says from which day on it counts."""

    def words(self) -> str:
        """How the policy was set, as part of a sentence."""
        if self.edited:
            return "the spec was edited"
        if self.row is None:
            return NOT_RECORDED
        by = {"promotion": f"promotion of version {self.row.version}", "spec": "the spec was edited"}
        return by.get(self.row.set_by, f"set by {self.row.decided_by}: {self.row.reason}")

    def notes(self) -> dict[str, str]:
        """What a commit of predictions says of it."""
        since = {SINCE: str(self.row.effective_from)} if self.row else {}
        recorded = str(self.recorded).lower()
        return {POLICY: self.policy.to_json(), IN_FORCE: self.words(), RECORDED: recorded, **since}


def of_spec(spec: PipelineSpec) -> Policy:
    """The policy that the spec states today."""
    problem = spec.problem
    stated = {name: getattr(problem, name) for name in problem.policy_fields}
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in stated.items()}
    return Policy(threshold=spec.predictions.threshold if problem.uses_threshold else None, problem=plain)


def under(spec: PipelineSpec, policy: Policy) -> PipelineSpec:
    """The spec with this policy in place of its own; what the problem does not have is left out."""
    kind = spec.problem
    given = {name: value for name, value in policy.problem.items() if name in kind.policy_fields}
    plain = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    problem = replace(kind, **plain) if plain else kind
    if policy.threshold is None or not kind.uses_threshold:
        return replace(spec, outcome=replace(spec.outcome, problem=problem))
    predictions = replace(spec.predictions, threshold=policy.threshold)
    return replace(spec, outcome=replace(spec.outcome, problem=problem), predictions=predictions)


def of_commit(metadata: Mapping[str, str]) -> Policy | None:
    """The policy that a commit of predictions was made under; None for those of earlier releases."""
    return Policy.from_json(metadata[POLICY]) if POLICY in metadata else None


def as_published(spec: PipelineSpec, metadata: Mapping[str, str]) -> PipelineSpec:
    """The spec with the policy that a commit of predictions was made under: what its columns mean.

    Today's spec if the commit names no policy, or other classes: its columns cannot be compared with today's labels.
    """
    made = of_commit(metadata)
    if made is None or set(made.problem.get("classes", ())) != set(getattr(spec.problem, "classes", ())):
        return spec
    return under(spec, made)


def history(lake: LakeReader, pipeline: str) -> tuple[PolicyDecision, ...]:
    """A pipeline's policies, the one that took effect last first; of one day, the one committed last first."""
    return _in_order(_decisions(lake, pipeline))


def _in_order(decisions: Sequence[PolicyDecision]) -> tuple[PolicyDecision, ...]:
    """Rows, of which the last committed comes first, in the order of `history`."""
    return tuple(sorted(decisions, key=lambda row: row.effective_from, reverse=True))


def made_by(lake: LakeReader, pipeline: str, run: str) -> PolicyDecision | None:
    """The threshold that an operator set in an Airflow run; None if none was set in it, or `run` is empty.

    None too if the commit is no longer in the table's log.
    """
    own = with_notes(lake, TABLE, pipeline, _decisions(lake, pipeline)) if run else ()
    of_run = (row for noted, row in own if noted.get(AIRFLOW_RUN) == run and noted.get("set_by") == row.set_by)
    return next((row for row in of_run if row.set_by == "threshold"), None)


def _decisions(lake: LakeReader, pipeline: str) -> list[PolicyDecision]:
    """All rows of a pipeline, last committed first."""
    if not lake.exists(TABLE):
        return []
    rows = lake.read(TABLE).read_all().filter(pc.field("pipeline") == pipeline).to_pylist()
    known = {each.name for each in fields(PolicyDecision)}
    return [_of_row({name: value for name, value in row.items() if name in known}) for row in reversed(rows)]


def recorded(past: Sequence[PolicyDecision], day: dt.date) -> InForce | None:
    """The recorded policy of a day, from a history; None if none was in effect by then."""
    counting = _counting(past, day)
    if not counting:
        return None
    of_threshold = next((row for row in counting if row.new_threshold), counting[0])
    policy = Policy(threshold=of_threshold.threshold, problem=counting[0].problem)
    return InForce(policy=policy, row=of_threshold, recorded=True)


def _counting(past: Sequence[PolicyDecision], day: dt.date) -> list[PolicyDecision]:
    """The rows of a history that count for a day, the one that decides first."""
    return [row for row in past if row.effective_from <= day and not ended(row, past)]


def ended(row: PolicyDecision, past: Sequence[PolicyDecision]) -> bool:
    """Whether an operator's threshold was ended by an edit of the spec before the day that it was to begin on.

    It stays ended if the spec is edited back: the operator decided about a threshold that has been replaced since.
    """
    return row.set_by == "threshold" and any(
        edit.set_by == "spec"
        and edit.spec_threshold != row.spec_threshold
        and edit.recorded_at > row.recorded_at
        and edit.effective_from <= row.effective_from
        for edit in past
    )


def in_force(lake: LakeReader, spec: PipelineSpec, day: dt.date) -> InForce:
    """The policy under which the day is scored."""
    return _in_force(history(lake, spec.name), spec, day, last=_last_published(lake, spec))


def _in_force(past: Sequence[PolicyDecision], spec: PipelineSpec, day: dt.date, *, last: dt.date) -> InForce:
    """The policy of a day, from a history and the last published day."""
    found, stated = recorded(past, day), of_spec(spec)
    if found is None:
        return InForce(policy=stated, row=None, recorded=False)
    edited = None if day < last else _edited(past, stated, day)
    return found if edited is None else InForce(policy=edited, row=None, recorded=True, edited=True)


def _edited(past: Sequence[PolicyDecision], stated: Policy, day: dt.date) -> Policy | None:
    """The policy of a day by a spec that was edited since the day's rows; None if it was not, or there are none."""
    found = recorded(past, day)
    if found is None or found.row is None:
        return None
    # Also a spec that now says what an operator has set is an edit: edited once more, it ends the operator's threshold.
    same_threshold = found.row.spec_threshold == stated.threshold
    edited = Policy(threshold=found.policy.threshold if same_threshold else stated.threshold, problem=stated.problem)
    return None if same_threshold and edited == found.policy else edited


def with_promotion(
    lake: LakeReader, spec: PipelineSpec, day: dt.date, *, version: str, recorded_at: dt.datetime, decided_by: str
) -> PolicyDecision:
    """The policy that a promotion from that day on records: the problem that was trained for, and the threshold then.

    An operator's threshold stays in force until it is set again, or the spec's is edited.
    """
    now, stated = in_force(lake, spec, day), of_spec(spec)
    before = now.row
    return PolicyDecision(
        pipeline=spec.name,
        effective_from=day,
        recorded_at=recorded_at,
        set_by="promotion",
        version=version,
        threshold=now.policy.threshold,
        problem=stated.problem,
        spec_threshold=before.spec_threshold if before else stated.threshold,
        new_threshold=before is None,
        decided_by=decided_by,
        reason=now.words() if before else f"as the spec says when version {version} is promoted",
    )


def edited_spec(
    lake: LakeReader, spec: PipelineSpec, day: dt.date, *, recorded_at: dt.datetime, code: str
) -> tuple[PolicyDecision, ...]:
    """The rows that say since which day an edited spec counts, when this day is published; none if it is not edited.

    It counts on all days after the last published one, whichever of them is published first. So there is one row from
    the first of these days on, and one for each recorded row up to this day that would replace it.
    """
    past, last, stated = history(lake, spec.name), _last_published(lake, spec), of_spec(spec)
    begins = min(day, last + dt.timedelta(days=1))
    replaced = {row.effective_from for row in past if begins < row.effective_from <= day}
    rows: list[PolicyDecision] = []
    for first in sorted({begins, *replaced}) if day >= last else ():
        policy = _edited(_in_order([*reversed(rows), *past]), stated, first)
        if policy is None:
            continue
        rows.append(
            PolicyDecision(
                pipeline=spec.name,
                effective_from=first,
                recorded_at=recorded_at,
                set_by="spec",
                threshold=policy.threshold,
                problem=policy.problem,
                spec_threshold=stated.threshold,
                decided_by="spec",
                reason=f"pipelines/{spec.name}.py of commit {code}",
            )
        )
    return tuple(rows)


def record(lake: Lake, decision: PolicyDecision, airflow_run: str = "") -> None:
    """Append a policy; one that the same decision recorded already is left as it is."""
    key = ("effective_from", "set_by", "version", "threshold", "problem", "spec_threshold", "decided_by", "reason")
    now = tuple(getattr(decision, name) for name in key)
    if any(now == tuple(getattr(row, name) for name in key) for row in history(lake, decision.pipeline)[:1]):
        return
    row = asdict(decision) | {"problem": json.dumps(dict(decision.problem), sort_keys=True)}
    rows = pa.Table.from_pylist([{name: row[name] for name in SCHEMA.names}], schema=SCHEMA)
    by_airflow = {AIRFLOW_RUN: airflow_run} if airflow_run else {}
    lake.append(TABLE, rows, {"pipeline": decision.pipeline, "set_by": decision.set_by, **by_airflow})


def otherwise(
    past: Sequence[PolicyDecision], spec: PipelineSpec, published: Mapping[dt.date, Commit], day: dt.date
) -> str:
    """How the policy of a published day differs from its commit's, by a later decision; empty if it does not.

    An edit of the spec is no decision until a day is published under it. But if the day is the last published one, it
    would be scored under the edit, whatever was decided.
    """
    made_under, decided = of_commit(published[day].metadata) if day in published else None, recorded(past, day)
    if made_under is None or decided is None or not any(differences(decided.policy, made_under)):
        return ""
    now = _in_force(past, spec, day, last=max(published))
    found = list(differences(now.policy, made_under))
    return f"{', '.join(found)} ({now.words()})" if found else ""


def differences(now: Policy, then: Policy) -> Iterator[str]:
    """What differs between two policies, as parts of a sentence."""
    if now.threshold != then.threshold:
        yield f"threshold {_number(now.threshold)} instead of {_number(then.threshold)}"
    for name in sorted({*now.problem, *then.problem}):
        if now.problem.get(name) != then.problem.get(name):
            yield f"{name} {now.problem.get(name)} instead of {then.problem.get(name)}"


def _number(threshold: float | None) -> str:
    return "none" if threshold is None else f"{threshold:g}"


def _last_published(lake: LakeReader, spec: PipelineSpec) -> dt.date:
    return max(lake.days(spec.predictions_table), default=dt.date.min)


def _of_row(row: Mapping[str, Any]) -> PolicyDecision:
    return PolicyDecision(**{**row, "problem": json.loads(row["problem"] or "{}")})
