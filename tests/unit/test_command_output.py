"""What the commands print."""

from __future__ import annotations

import json

from tailrace.commands import output


def test_json_has_null_where_a_metric_is_no_number(capsys):
    output.table("t", [{"rmse": float("inf"), "mae": float("nan"), "by_slice": {"a": [float("-inf"), 1.5]}}], True)
    (row,) = json.loads(capsys.readouterr().out, parse_constant=lambda name: name)
    assert row == {"rmse": None, "mae": None, "by_slice": {"a": [None, 1.5]}}
