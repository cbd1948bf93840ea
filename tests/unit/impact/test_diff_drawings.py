"""Numbers of any size are drawn."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from tailrace.impact import diff_drawings
from tailrace.impact.pipeline_diff import PipelineDiff


@pytest.mark.parametrize(
    "values",
    [
        pa.array([2**63 - 1 - number for number in range(50)]),
        pa.array([10**19 + number for number in range(50)], pa.decimal128(20, 0)),
        pa.array(np.linspace(-1, 1, 50) * 1.7e308),
        pa.array([1e17] * 50),
    ],
    ids=["long ids", "decimals", "largest", "one large number"],
)
def test_numbers_of_any_size_are_drawn(values):
    rows = pa.table({"before": values, "after": values[::-1]})
    found = PipelineDiff(pipeline="churn", days=(), drawn={"number": rows})
    assert [each.title for each in diff_drawings.of_pipeline(found)] == [
        "number, before and after",
        "number, row by row",
    ]
