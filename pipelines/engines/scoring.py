"""The one scoring function, and the stream around it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.engines.models import check_columns
from pipelines.interfaces import Model
from pipelines.spec import PipelineSpec


def score_batch(spec: PipelineSpec, model: Model, version: str, rows: pa.RecordBatch) -> pa.RecordBatch:
    """The published columns for a batch: key, event time, score, decision, model version, ds. Pure."""
    schema = prediction_schema(spec, rows.schema)
    scores = model.predict(rows)
    columns = [rows.column(name) for name in (*spec.features.key, spec.features.event_time)]
    columns += [
        scores,
        pc.greater_equal(scores, spec.predictions.threshold),
        pa.repeat(version, rows.num_rows),
        rows.column("ds"),
    ]
    return pa.record_batch(columns, schema=schema)


def prediction_schema(spec: PipelineSpec, features: pa.Schema) -> pa.Schema:
    """The schema of the predictions table, given the features'."""
    return pa.schema(
        [features.field(name) for name in (*spec.features.key, spec.features.event_time)]
        + [
            pa.field(spec.predictions.score, pa.float64()),
            pa.field(spec.predictions.decision, pa.bool_()),
            pa.field("model_version", pa.string()),
            features.field("ds"),
        ]
    )


def score_stream(spec: PipelineSpec, model: Model, version: str, rows: pa.RecordBatchReader) -> pa.RecordBatchReader:
    """Scores batch after batch, one ahead of the reader, so that memory does not grow with rows.

    Raises SignatureMismatch before the first batch if rows lack what the model takes.
    """
    check_columns(model.features, rows.schema)

    def ahead() -> Iterator[pa.RecordBatch]:
        # The next batch is read and scored while the consumer writes the one before.
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(_next_scored, spec, model, version, rows)
            while (batch := waiting.result()) is not None:
                waiting = pool.submit(_next_scored, spec, model, version, rows)
                yield batch

    return pa.RecordBatchReader.from_batches(prediction_schema(spec, rows.schema), ahead())


def _next_scored(spec: PipelineSpec, model: Model, version: str, rows: pa.RecordBatchReader) -> pa.RecordBatch | None:
    try:
        batch = rows.read_next_batch()
    except StopIteration:
        return None
    return score_batch(spec, model, version, batch)
