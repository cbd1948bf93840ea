"""What other libraries' errors become in a sentence of ours."""

from __future__ import annotations

import pytest
from mlflow.exceptions import MlflowException

from tailrace.errors import TrackerUnavailable, cause_of
from tailrace.tracking.mlflow_seam import mlflow_call


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ("No such file.", "No such file."),
        ("", "OSError"),
        (" \n\n ", "OSError"),
        ("The following failures occurred:\n\n  /a/b: gone\nand more", "The following failures occurred: /a/b: gone"),
        ("Failed:\n##### File a #####\n404 Not Found", "Failed: ##### File a ##### 404 Not Found"),
        ("Failed:\nbecause of:\n", "Failed: because of"),
        ("first\nsecond", "first"),
        ("x" * 400, "x" * 300),
    ],
)
def test_a_cause_is_a_line_that_is_never_empty_and_never_ends_at_a_colon(said, cause):
    assert cause_of(OSError(said)) == cause


@pytest.mark.parametrize(
    "said", ["", "The following failures occurred while downloading from /data/artifacts:\n- gone"]
)
def test_the_trackers_errors_name_a_cause(said):
    class Tracker:
        uri = "sqlite:////data/mlflow.db"

        @mlflow_call("download a model")
        def fail(self):
            raise MlflowException(said)

    with pytest.raises(TrackerUnavailable) as raised:
        Tracker().fail()
    assert "could not download a model: " in str(raised.value)
    assert ": Check" not in str(raised.value)
    assert not str(raised.value).endswith(":")
