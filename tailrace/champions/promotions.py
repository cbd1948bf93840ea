"""Which model version was champion at what time: the append-only `promotions` table.

Each row has two times: `effective_from`, the end of the data that the version was trained on, and
`recorded_at`, when somebody decided, by the clock of the writing machine. The champion *as of* a day is
the last promotion in effect by then. So a backfill neither uses a model that has seen the day nor
rewrites the past. Of two decisions, the later one is the one committed later: clocks differ between
machines, but the table has one order. A rejected version has a row too, which changes nothing.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from tailrace.contracts import LakePublisher, LakeReader
from tailrace.lineage import identity
from tailrace.lineage.identity import Identity

_Row = TypeVar("_Row")

TABLE = "promotions"
AIRFLOW_RUN = "airflow_run"
"""The keys, in the metadata of a decision's commit, of the Airflow run that made it: DAG id and run id."""
Decided = Literal["promoted", "rejected", "rolled_back"]

SCHEMA = pa.schema(
    [
        pa.field("pipeline", pa.string(), nullable=False),
        pa.field("version", pa.string(), nullable=False),
        pa.field("effective_from", pa.date32(), nullable=False),
        pa.field("recorded_at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("run_id", pa.string()),
        pa.field("decided_by", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("previous", pa.string()),
        pa.field("decision", pa.string()),
        pa.field("model_digest", pa.string()),
    ]
)

FIELDS = {"run_id": "training_run", "model_digest": "digest"}
"""Columns that have another name than their field; the table keeps the names it was made with."""


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """One decision: the version is the champion from a day on, or (`rejected`) it is not.

    `rolled_back`: an earlier champion was made champion again. `previous` is the champion at the time of the decision.
    """

    pipeline: str
    version: str
    effective_from: dt.date
    recorded_at: dt.datetime
    training_run: str
    decided_by: str
    reason: str
    previous: str | None = None
    decision: Decided = "promoted"
    digest: str | None = None
    """The digest of the model's files at the time of the decision. MLflow's users cannot write here."""

    @property
    def model(self) -> Identity:
        """The model that was decided about, without the digest."""
        return Identity(self.version, self.training_run or "")


def as_row(promotion: Promotion) -> dict[str, Any]:
    """The decision under the table's names: its column `run_id` holds the training run."""
    fields = asdict(promotion)
    return {name: fields[FIELDS.get(name, name)] for name in SCHEMA.names}


def _of_row(row: Mapping[str, Any]) -> Promotion:
    return Promotion(**{FIELDS.get(name, name): value for name, value in row.items()})


def record(lake: LakePublisher, promotion: Promotion, digest: str = "", airflow_run: str = "") -> None:
    """Append a decision about the model with that digest. Records the Airflow run that made it, if there was one."""
    rows = pa.Table.from_pylist([as_row(replace(promotion, digest=digest))], schema=SCHEMA)
    # The table of an earlier release has no column for the digest.
    lake.add_columns(TABLE, SCHEMA)
    model = identity.notes(replace(promotion.model, digest=digest))
    metadata = {"pipeline": promotion.pipeline, "decision": promotion.decision, **model}
    by_airflow = {AIRFLOW_RUN: airflow_run} if airflow_run else {}
    lake.append(TABLE, rows, metadata | by_airflow)


def airflow_run(lake: LakeReader, promotion: Promotion) -> str:
    """The Airflow run that last made this decision about this model; empty if the decision's commit names none."""
    made = (commit.metadata for commit in lake.commits(TABLE))
    kind = {"pipeline": promotion.pipeline, "decision": promotion.decision, identity.VERSION: promotion.version}
    same = (each for each in made if kind.items() <= each.items())
    of_model = (each for each in same if not identity.of_commit(each).differs(promotion.model))
    return next(of_model, {}).get(AIRFLOW_RUN, "")


def made_by(lake: LakeReader, pipeline: str, run: str) -> Promotion | None:
    """The last decision that an Airflow run made on a pipeline's versions; None if it made none, or `run` is empty.

    None too if the commit is no longer in the table's log.
    """
    own = with_notes(lake, TABLE, pipeline, decisions(lake, pipeline)) if run else ()
    return next(
        (row for noted, row in own if noted.get(AIRFLOW_RUN) == run and noted.get("decision") == row.decision), None
    )


def with_notes(
    lake: LakeReader, table: str, pipeline: str, rows: Sequence[_Row]
) -> Iterator[tuple[Mapping[str, str], _Row]]:
    """Each row of a pipeline in an appended table, last committed first, with the metadata of its commit.

    Rows whose commits are no longer in the table's log are left out.
    """
    noted = [commit.metadata for commit in lake.commits(table) if commit.metadata.get("pipeline") == pipeline]
    # Both have one order, the newest first. A log that was cleaned up lacks the oldest commits.
    yield from zip(noted, rows, strict=False)


def decisions(lake: LakeReader, pipeline: str) -> tuple[Promotion, ...]:
    """All decisions about a pipeline's versions, rejections included, last committed first."""
    if not lake.exists(TABLE):
        return ()
    rows = lake.read(TABLE).read_all().filter(pc.field("pipeline") == pipeline).to_pylist()
    # Tables of earlier releases have no column `decision`: they contained only promotions.
    decided = [_of_row({**row, "decision": row.get("decision") or "promoted"}) for row in rows]
    return tuple(reversed(decided))


def with_digest(lake: LakeReader, model: Identity) -> Identity:
    """The model with its digest, if a decision about it recorded the digest."""
    recorded = _recorded(lake) if model.training_run and lake.exists(TABLE) else ()
    return next((known for known in recorded if known.digest and known.training_run == model.training_run), model)


def _recorded(lake: LakeReader) -> Iterator[Identity]:
    """The models of all decisions, last committed first; then those of earlier releases, whose commits have the digest.

    A row is never lost. A commit's metadata may be, once the log is cleaned up.
    """
    for row in reversed(lake.read(TABLE).read_all().to_pylist()):
        yield Identity(row["version"], row["run_id"] or "", row.get("model_digest") or "")
    yield from (identity.of_commit(commit.metadata) for commit in lake.commits(TABLE))


def history(lake: LakeReader, pipeline: str) -> tuple[Promotion, ...]:
    """A pipeline's champions, the one that took effect last first; empty if it has none."""
    champions = [row for row in decisions(lake, pipeline) if row.decision != "rejected"]
    # A stable sort, also in reverse: within one day, the latest decision stays first.
    return tuple(sorted(champions, key=lambda row: row.effective_from, reverse=True))


def as_of(promotions: Sequence[Promotion], day: dt.date) -> Promotion | None:
    """The promotion in effect on a day, from a history in the order of `history`."""
    return next((promotion for promotion in promotions if promotion.effective_from <= day), None)


def current(promotions: Sequence[Promotion]) -> Promotion | None:
    """The promotion with the latest effective day: what `champion` means today."""
    return next(iter(promotions), None)
