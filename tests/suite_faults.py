"""Rows that break an expectation: how tests of expectation suites plant faults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def replace(table: pa.Table, column: str, values: pa.Array | pa.ChunkedArray) -> pa.Table:
    return table.set_column(table.schema.get_field_index(column), column, values)


def with_value(table: pa.Table, column: str, value: Any, row: int = 0) -> pa.Table:
    """The table with `value` in one row of a column, which becomes a float column for a float."""
    values = table[column].combine_chunks()
    kind = pa.float64() if isinstance(value, float) else values.type
    mask = pa.array(np.arange(len(values)) == row)
    return replace(table, column, pc.replace_with_mask(values.cast(kind), mask, pa.array([value], kind)))


def faults(table: pa.Table, expectation: Mapping[str, Any]) -> list[pa.Table]:
    """Tables that each break this expectation in one row, by the least that breaks it."""
    kwargs = expectation["kwargs"]
    match expectation["type"]:
        case "expect_column_values_to_not_be_null":
            return [with_value(table, kwargs["column"], None)]
        case "expect_column_values_to_be_unique":
            return [with_value(table, kwargs["column"], table[kwargs["column"]][1].as_py())]
        case "expect_column_values_to_be_in_set":
            return [with_value(table, kwargs["column"], "XXX")]
        case "expect_column_values_to_be_between":
            broken = [(kwargs.get("min_value"), -0.5), (kwargs.get("max_value"), 0.5)]
            return [with_value(table, kwargs["column"], end + step) for end, step in broken if end is not None]
        case "expect_column_pair_values_a_to_be_greater_than_b":
            return [with_value(table, kwargs["column_A"], table[kwargs["column_B"]][1].as_py(), row=1)]
        case "expect_table_columns_to_match_set":
            return [table.drop_columns([column]) for column in kwargs["column_set"]]
    raise AssertionError(f"no fault is planted for {expectation['type']}")
