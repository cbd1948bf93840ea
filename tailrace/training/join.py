"""The point-in-time join in this process's memory, on Arrow.

Rows stay in the order of the files while they are checked, and are hashed in the order of their keys. The labelled ones
are then moved into the order of their events, in their own memory: all rows lie in memory once. In between it works on
keys and numbers.
"""

from __future__ import annotations

import datetime as dt
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tailrace.contracts import Joined, Scan
from tailrace.errors import ContractBroken, LookAhead
from tailrace.lineage.digests import rows_digest
from tailrace.rows import refusals, roles, row_checks
from tailrace.spec import LABEL, PipelineSpec
from tailrace.training import whole_columns
from tailrace.training.arrow_rows import ArrowRows
from tailrace.training.row_order import row_order

_ROW = "number of the row"
_MOMENT = "event time of the row"
_DIGESTS = 2


def join(spec: PipelineSpec, features: Scan, outcomes: Scan, *, known_by: dt.datetime, holdout_from: dt.date) -> Joined:
    """`Engine.join` in this process's memory. Raises LookAhead, KeysRepeated, ContractBroken, PinLost."""
    key, rows = list(spec.features.key), whole_columns.read(features)
    by_key = row_order(rows, key)
    with ThreadPoolExecutor(_DIGESTS) as pool:
        # Hashing the features takes longest of what is left, and one core.
        digests = {"features": pool.submit(rows_digest, rows, by_key)}
        known = whole_columns.read(outcomes)
        known = known.take(row_order(known, [*key, spec.outcome.order_column]))
        digests["outcomes"] = pool.submit(rows_digest, known)
        try:
            _refuse_unfit(spec, rows, known)
        except (ContractBroken, LookAhead):
            digests["features"].result()  # or it would read rows that are moved meanwhile
            # The sentence names the same rows however they lie.
            _refuse_unfit(spec, whole_columns.moved(rows, by_key), known)
        keys = rows.select(key).take(by_key)
        refuse_repeated_keys(spec, keys)
        refuse_repeated_outcomes(spec, known)

        found = _labelled(keys, _labels(spec, known, known_by))
        found = found.set_column(0, _ROW, by_key.take(found[_ROW].combine_chunks()))
        # A stable sort: rows of one moment stay in the order of their keys.
        moments = pa.table({_MOMENT: rows[spec.features.event_time].take(found[_ROW])})
        found = found.take(row_order(moments, [_MOMENT]))
        in_holdout = pc.greater_equal(rows["ds"].take(found[_ROW]), pa.scalar(holdout_from))
        found = pa.concat_tables([found.filter(pc.invert(in_holdout)), found.filter(in_holdout)])
        named = {name: digest.result() for name, digest in digests.items()}
    # Nothing reads the rows in the order of the files any more.
    joined = whole_columns.moved(rows, found[_ROW].combine_chunks())
    joined = joined.append_column(LABEL, found[LABEL].combine_chunks())
    begun = found.num_rows - pc.sum(in_holdout, min_count=0).as_py()
    return Joined(ArrowRows(joined.slice(0, begun), spec.features.learned_from), joined.slice(begun), named)


def refuse_look_ahead(spec: PipelineSpec, rows: pa.Table) -> None:
    """Raises LookAhead if a row of features contains values that were unknown at its day's cutoff."""
    for problem in roles.look_ahead(spec, rows):
        raise problem from None


def refuse_repeated_keys(spec: PipelineSpec, features: pa.Table) -> None:
    """Raises KeysRepeated, with examples, if a key has more than one row of features, which are sorted by key."""
    keys, examples = row_checks.repeated(spec.features.key, features)
    if keys:
        raise refusals.repeated_keys(spec, keys, examples)


def refuse_repeated_outcomes(spec: PipelineSpec, outcomes: pa.Table) -> None:
    """Raises KeysRepeated, with examples, if two outcomes of a key became known at the same moment.

    The outcomes are sorted by key.
    """
    keys, examples = row_checks.repeated(spec.features.key, outcomes, spec.outcome.order_column)
    if keys:
        raise refusals.repeated_outcomes(spec, keys, examples)


def last_known(spec: PipelineSpec, outcomes: pa.Table) -> pa.Table:
    """For each key, the outcome that became known last: a corrected outcome has the same key as the original.

    The outcomes are sorted by key; so are those returned.
    """
    key, order = list(spec.features.key), spec.outcome.order_column
    if not row_checks.repeated(key, outcomes)[0]:
        return outcomes
    newest_last = outcomes.sort_by([(name, "ascending") for name in (*key, order)])
    last = _numbered(newest_last.select(key)).group_by(key).aggregate([(_ROW, "max")])[f"{_ROW}_max"]
    return newest_last.take(last.take(pc.sort_indices(last)))


def _refuse_unfit(spec: PipelineSpec, features: pa.Table, outcomes: pa.Table) -> None:
    """Raises ContractBroken and LookAhead."""
    roles.check_joinable(spec, features, outcomes)
    refuse_look_ahead(spec, features)


def _labels(spec: PipelineSpec, known: pa.Table, known_by: dt.datetime) -> pa.Table:
    """Each key that has a label known by then, and its last one."""
    if spec.outcome.known_at is not None:
        # Where the mart says only on which day, all of them: no later day is pinned.
        known = known.filter(pc.less_equal(known[spec.outcome.known_at], pa.scalar(known_by)))
    last = last_known(spec, known)
    learnt = roles.labels(spec, spec.outcomes_table, last[spec.outcome.label])
    labels = last.select(list(spec.features.key)).append_column(LABEL, learnt)
    return labels.filter(pc.is_valid(learnt))


def _labelled(keys: pa.Table, labels: pa.Table) -> pa.Table:
    """The numbers of the rows that have a label, and the label, sorted by key; `keys` are sorted."""
    names, numbered = keys.column_names, _numbered(keys)
    if keys.equals(labels.select(names)):
        return pa.table({_ROW: numbered[_ROW], LABEL: labels[LABEL]})
    found = numbered.join(labels, keys=names, join_type="inner").select([_ROW, LABEL])
    return found.take(pc.sort_indices(found[_ROW]))


def _numbered(rows: pa.Table) -> pa.Table:
    return rows.append_column(_ROW, pa.array(np.arange(rows.num_rows)))
