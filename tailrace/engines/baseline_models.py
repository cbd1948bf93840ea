"""Models that learned nothing: rules of a spec, stored as JSON and scored like any other model."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tailrace.engines.encoding import check_numbers, to_numpy
from tailrace.engines.signatures import check_columns, describe, identity, no_predictions, problem_of
from tailrace.errors import SignatureMismatch, did_you_mean
from tailrace.lineage import run_tags
from tailrace.problems import Problem, as_batch
from tailrace.rows.role_values import as_text
from tailrace.spec import Baseline

_RULE = "rule"
_ROWS = "rows"
_QUERY = "select (\n{sql}\n) from rows"
_threads = threading.local()


class BaselineModel:
    """Predicts by a rule; `features` are all of the spec's, although the rule reads few or none of them."""

    kind = run_tags.BASELINE

    def __init__(self, rule: Baseline, problem: Problem, features: Mapping[str, str]) -> None:
        self.rule, self.problem, self.features = rule, problem, dict(features)

    def predict(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        check_columns(self.features, rows.schema)
        check_numbers(rows, [name for name, kind in self.features.items() if kind == "numeric"])
        if rows.num_rows == 0:
            return no_predictions(self.problem)
        return as_batch(self.problem, self.problem.of_rule(self._values(rows)))

    def save(self, folder: Path) -> None:
        describe(folder, self, features=self.features, **{_RULE: asdict(self.rule)})

    def digest(self) -> str:
        said = [asdict(self.rule), self.features, *identity(self.problem)]
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()

    def importance(self) -> Mapping[str, float]:
        """The same share for each feature that the rule reads; empty if it reads none."""
        read = [self.rule.column] if self.rule.column else columns_of(self.rule.sql) if self.rule.sql else []
        lower = {name.lower() for name in read if name}
        used = [name for name in self.features if name.lower() in lower]
        return {name: 1 / len(used) if name in used else 0.0 for name in self.features} if used else {}

    def _values(self, rows: pa.RecordBatch) -> np.ndarray:
        """A number for each row, as `Problem.of_rule` reads it."""
        rule, otherwise = self.rule, self.rule.otherwise
        if rule.constant is not None:
            return to_numpy(self.problem.rule_values(pa.array([rule.constant] * rows.num_rows)))
        if rule.column is not None:
            column = rows.column(rule.column)
            column = as_text(column) if self.problem.rule_type == pa.string() else column
        else:
            column = self._evaluated(rows)
        found = self.problem.rule_values(column)
        filling = self.problem.rule_values(pa.array([otherwise]))[0]
        return to_numpy(pc.fill_null(found, filling))

    def _evaluated(self, rows: pa.RecordBatch) -> pa.Array:
        try:
            return evaluated(str(self.rule.sql), rows.select(list(self.features)), self.problem.rule_type)
        except duckdb.Error as error:
            message = " ".join(str(error).split())
            raise SignatureMismatch(f"The baseline {self.rule.name!r} cannot be computed: {message}") from error


def load(folder: Path, description: Mapping[str, Any]) -> BaselineModel:
    """The model that was stored with this description."""
    return BaselineModel(Baseline(**description[_RULE]), problem_of(description), description["features"])


def evaluated(sql: str, rows: pa.RecordBatch, type_: pa.DataType) -> pa.Array:
    """The values of an expression for rows, in their order. NaN is missing, as for every model. Raises duckdb.Error."""
    kind = "varchar" if type_ == pa.string() else "double"
    query = f"select cast((\n{sql}\n) as {kind}) as value from {_ROWS}"  # noqa: S608 - a spec's own, checked by `wrong_sql`
    connection = _connection()
    connection.register(_ROWS, pa.Table.from_batches([_without_nan(rows)]))
    try:
        found = connection.sql(query).to_arrow_table()["value"]
    finally:
        connection.unregister(_ROWS)
    return pa.concat_arrays(found.chunks) if found.num_chunks else pa.array([], type_)


def wrong_sql(sql: str, features: Mapping[str, str]) -> Iterator[str]:
    """Why an expression is no rule, as ends of sentences: it must read the features of one row and nothing else."""
    parsed = _parsed(sql)
    if parsed.get("error"):
        yield f"is no SQL expression ({' '.join(str(parsed.get('error_message')).split())})."
        return
    nodes = [each["node"] for each in parsed["statements"]]
    source = nodes[0].get("from_table", {}) if len(nodes) == 1 else {}
    if (source.get("type"), source.get("table_name")) != ("BASE_TABLE", _ROWS) or len(nodes[0]["select_list"]) != 1:
        yield "is not a single expression."
        return
    inside = list(_inside(nodes[0]["select_list"]))
    kinds = {each.get("class") for each in inside}
    yield from (
        f"has {words}, and a rule reads one row at a time."
        for kind, words in {"SUBQUERY": "a query inside", "WINDOW": "a window function", "STAR": "a star"}.items()
        if kind in kinds
    )
    lower = {name.lower() for name in features}
    for name in columns_of(sql):
        if name.lower() not in lower:
            yield f"reads {name!r}, which is not in features.columns.{did_you_mean(name, features)}"
    yield from _wrong_functions({each["function_name"] for each in inside if each.get("class") == "FUNCTION"})


def columns_of(sql: str) -> list[str]:
    """The columns that an expression reads."""
    read = (each["column_names"][-1] for each in _inside(_parsed(sql)) if each.get("class") == "COLUMN_REF")
    return list(dict.fromkeys(read))


def _wrong_functions(names: set[str]) -> Iterator[str]:
    listed = _connection().execute(
        "select function_name, list(distinct function_type), list(distinct stability) from duckdb_functions() "
        "where function_name in (select unnest(?)) group by 1",
        [sorted(names)],
    )
    for name, kinds, stabilities in sorted(listed.fetchall()):
        if "aggregate" in kinds and "scalar" not in kinds:
            yield f"has {name}(), which needs several rows, and a rule reads one row at a time."
        elif {"VOLATILE", "CONSISTENT_WITHIN_QUERY"} & set(stabilities):
            yield f"has {name}(), which gives another value each time; a day that is scored again must be the same."


def _parsed(sql: str) -> dict[str, Any]:
    found = _connection().execute("select json_serialize_sql(?)", [_QUERY.format(sql=sql)]).fetchall()
    parsed: dict[str, Any] = json.loads(found[0][0])
    return parsed


def _inside(value: Any) -> Iterator[dict[str, Any]]:
    """Every node of a parsed statement."""
    if isinstance(value, dict):
        yield value
        for each in value.values():
            yield from _inside(each)
    elif isinstance(value, list):
        for each in value:
            yield from _inside(each)


def _without_nan(rows: pa.RecordBatch) -> pa.RecordBatch:
    columns = [
        pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
        if pa.types.is_floating(column.type)
        else column
        for column in rows.columns
    ]
    return pa.record_batch(columns, names=rows.schema.names)


def _connection() -> duckdb.DuckDBPyConnection:
    """This thread's connection, which reads no files and no network."""
    if not hasattr(_threads, "connection"):
        _threads.connection = duckdb.connect(config={"threads": 1})
        _threads.connection.execute("set TimeZone = 'UTC'")
        _threads.connection.execute("set python_enable_replacements = false")
        _threads.connection.execute("set enable_external_access = false")
        _threads.connection.execute("set lock_configuration = true")
    found: duckdb.DuckDBPyConnection = _threads.connection
    return found
