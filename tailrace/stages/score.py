"""Score the day's features with a resolved model version, staging the predictions."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from tailrace.champions import model_versions, policies
from tailrace.contracts import Commit, LakeReader, Pin
from tailrace.engines.scoring import check_question, prediction_schema, published_schema
from tailrace.errors import SchemaMismatch, UpstreamMissing
from tailrace.lake import rows as accepted
from tailrace.lineage import identity, pins, provenance
from tailrace.lineage.identity import Identity
from tailrace.rows import taken
from tailrace.spec import PipelineSpec, content_of
from tailrace.work import Work

PREDICTIONS_DIGEST = "predictions_digest"
PUBLISHED_COLUMNS = "published_columns"
"""The note of the columns that hold what the model predicts, as a JSON list: the spec may name others later."""
FEATURES_TAKEN_AT = "features_taken_at"
"""The note of the moment at which the features were taken, if their mart does not say when they became known."""

log = logging.getLogger("tailrace")


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Predictions staged by this run, which no reader sees yet.

    `already` is empty, or says by whom they are published from the same inputs: nothing is staged then; `own`: by this
    very run, which began again after it had published. `model_url` is the page of the model's training run in the
    tracker; empty if none is served, or nothing was scored.
    """

    pipeline: str
    day: dt.date
    run_id: str
    rows: int
    model_version: str
    model_choice: str
    features_version: str
    already: str = ""
    own: bool = False
    model_url: str = ""


def run(
    work: Work,
    day: dt.date,
    *,
    model: str = model_versions.AS_OF,
    force: bool = False,
    dry_run: bool = False,
) -> Scored:
    """Stage the day's predictions, unless they are published from these very features by this very version.

    `force` and `dry_run`, of which nothing will be published, score them all the same. The request goes into the
    commit. Raises UpstreamMissing, NoChampion, UnknownName, ModelGone, SignatureMismatch, SchemaMismatch, StorageFull.
    """
    services, spec, run_id = work.services, work.spec, work.run_id
    lake = services.lake
    if day not in lake.days(spec.features_table, first=day, last=day):
        raise UpstreamMissing(
            f"{spec.features_table} has no published features of {day}; "
            f"run the warehouse for this day first: tailrace warehouse --date {day}."
        )
    now, stated = policies.in_force(lake, spec, day), spec
    # From here on the spec has the policy of the day: threshold, ends of intervals, classes.
    spec = policies.under(spec, now.policy)
    work = replace(work, spec=spec)
    chosen = model_versions.resolve(services, spec, day, model)
    pin = lake.pin(spec.features_table, first=day, last=day)
    if not (force or dry_run) and (held := _published(work, day, chosen.model, pin)) is not None:
        by = held.metadata["run_id"]
        already = (
            f"{spec.predictions_table} of {day} is already published by {by} from the same "
            f"features by {chosen.model} (commit {held.version}): nothing was scored."
        )
        return Scored(
            pipeline=spec.name,
            day=day,
            run_id=run_id,
            rows=held.rows,
            model_version=chosen.version,
            model_choice=model,
            features_version=pin.version,
            already=already,
            own=by == run_id,
        )
    used = model_versions.registered(services, spec, chosen.model, day)
    trained = services.tracker.run(used.training_run)
    expected = model_versions.holdout_scores(trained, chosen.version)
    fitted = model_versions.load(services, spec, chosen.version, chosen.model.digest)
    rows = lake.scan(pin, read_columns(lake, spec))
    check_question(spec, fitted, chosen.version)
    lacking = lacking_columns(lake, spec, day, features=rows.schema, stated=stated)
    if dry_run:
        _refuse_new_columns(lake, spec)
    else:
        # Such as the ends of intervals, in the table of a pipeline that published none before.
        lake.add_columns(spec.predictions_table, published_schema(spec))
    target = lake.target(spec.predictions_table, day, run_id, may_lack=lacking)
    staged = services.engine.score(spec, fitted, version=chosen.version, rows=rows, target=target)
    lake.annotate(
        staged,
        {
            **identity.notes(used),
            "model_choice": model,
            "model_effective_from": str(chosen.effective_from or ""),
            "look_ahead": str(chosen.look_ahead).lower(),
            "engine": services.engine.name,
            # Written here so that the audit needs no tracker.
            "holdout_scores": expected,
            "features_pin": pins.to_json(pin),
            PREDICTIONS_DIGEST: predictions_digest(spec),
            PUBLISHED_COLUMNS: json.dumps(published_schema(spec).names),
            **_taken(work, day),
            **now.notes(),
            **provenance.request_notes(work.request),
        },
    )
    return Scored(
        pipeline=spec.name,
        day=day,
        run_id=run_id,
        rows=staged.rows,
        model_version=chosen.version,
        model_choice=model,
        features_version=pin.version,
        model_url=trained.url,
    )


def _taken(work: Work, day: dt.date) -> dict[str, str]:
    """When the features were taken, if their mart does not say when they became known; warns if it was too late."""
    lake, spec = work.services.lake, work.spec
    if spec.features.known_at is not None:
        return {}
    if late := taken.late(lake, spec, day, day):
        log.warning("%s", taken.warning(spec, late))
    noted = lake.days(spec.features_table, first=day, last=day)[day].metadata
    return {FEATURES_TAKEN_AT: noted[taken.TAKEN_AT]} if taken.TAKEN_AT in noted else {}


def _refuse_new_columns(lake: LakeReader, spec: PipelineSpec) -> None:
    """Raises SchemaMismatch if a run that publishes would add columns to the predictions table."""
    if not lake.exists(spec.predictions_table):
        return
    known = lake.schema(spec.predictions_table).names
    if new := [name for name in published_schema(spec).names if name not in known]:
        raise SchemaMismatch(
            f"{spec.predictions_table} has no {', '.join(new)} yet, which {spec.name} publishes from now on. The first "
            "run that publishes adds what is new; a dry run adds nothing, so it can only be tried after that one."
        )


def may_lack(spec: PipelineSpec) -> frozenset[str]:
    """Columns of the predictions table that a day need not have, because its policy may not publish them.

    What the spec of today publishes, such as a new class, and the ends of intervals, also after they were switched off.
    """
    return frozenset([*published_schema(spec).names, *spec.problem.optional_columns(spec.predictions)])


def lacking_columns(
    lake: LakeReader, spec: PipelineSpec, day: dt.date, *, features: pa.Schema, stated: PipelineSpec
) -> frozenset[str]:
    """The columns of the predictions table that the day's rows will not have.

    `spec` has the policy of the day, `stated` that of today. Raises SchemaMismatch if the rows would not fit the table
    once it has their new columns. This must be known before a column is added, since the table cannot lose it again.
    """
    if not lake.exists(spec.predictions_table):
        return frozenset()
    table, due = lake.schema(spec.predictions_table), prediction_schema(spec, features)
    lacking = frozenset(table.names) - set(due.names)
    former = sorted(lacking - may_lack(stated))
    if former and (filled := _with_values(lake, spec, former)):
        raise SchemaMismatch(
            f"{spec.predictions_table} has {'the column' if len(filled) == 1 else 'the columns'} {', '.join(filled)}, "
            f"which {spec.name} does not publish any more. A table of the lake cannot lose or rename a column, so "
            f"nothing was scored or added. Give the published columns their former names in pipelines/{spec.name}.py "
            "(predictions, classes, key and event_time), or publish under other names from a pipeline of another name."
        )
    new = [field for field in published_schema(spec) if field.name not in table.names]
    where = f"{spec.predictions_table} of {day}"
    kept = accepted.without(table, lacking)
    accepted.check_same(accepted.lake_schema(due, where), pa.schema([*kept, *new]), where)
    return lacking


def _with_values(lake: LakeReader, spec: PipelineSpec, names: Sequence[str]) -> list[str]:
    """Those of the columns in which a published row has a value.

    Others were added by a run that failed afterwards, and nothing is lost without them.
    """
    empty = set(names)
    for batch in lake.read(spec.predictions_table, columns=names):
        empty -= {name for name in empty if batch.column(name).null_count < batch.num_rows}
        if not empty:
            break
    return [name for name in names if name not in empty]


def predictions_digest(spec: PipelineSpec) -> str:
    """SHA-256 of what the spec says of the columns that are published."""
    said = [content_of(spec.predictions), spec.features.key, spec.features.event_time, sorted(spec.features.columns)]
    said += [it for name, it in content_of(spec.outcome).items() if name == "problem"]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _published(work: Work, day: dt.date, model: Identity, features: Pin) -> Commit | None:
    """The commit the day holds, if it was made from these features by this very model and its files are sound."""
    services, spec = work.services, work.spec
    held = services.lake.days(spec.predictions_table, first=day, last=day).get(day)
    if held is None or not {"features_pin", identity.VERSION, PREDICTIONS_DIGEST} <= held.metadata.keys():
        return None
    now = {"features_pin": pins.to_json(features), PREDICTIONS_DIGEST: predictions_digest(spec)}
    same = made_from(held.metadata) == made_from(now) and model_versions.made_by(services, spec, held, model)
    return held if same and services.lake.sound(spec.predictions_table, day) else None


def made_from(notes: Mapping[str, str]) -> tuple[Any, ...]:
    """What predictions were made from besides the model, by the notes of their commit: features, and what is published.

    Equal for equal contents, whichever version of the features was read.
    """
    pinned = notes.get("features_pin")
    pin = pins.from_json(pinned) if pinned else None
    return (pin and (pin.table, pin.rows, pin.digest), notes.get(PREDICTIONS_DIGEST))


def read_columns(lake: LakeReader, spec: PipelineSpec) -> list[str]:
    """The columns of the features that are read: the model's inputs as far as the table has them.

    The engine says in one sentence which inputs it lacks.
    """
    held = lake.schema(spec.features_table).names
    inputs = [name for name in spec.features.columns if name in held]
    return [*spec.features.key, spec.features.event_time, "ds", *inputs]
