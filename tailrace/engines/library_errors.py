"""The message of an error of scikit-learn, XGBoost or skops, in a form that a sentence can quote."""

from __future__ import annotations

import re

from tailrace.errors import ClusterRefused, OutOfMemory, TailraceError, Unavailable

NO_CANDIDATES_FAULT = (Unavailable, ClusterRefused, OutOfMemory)
"""What a machine or a cluster fails with, whatever the candidate and its parameters are."""

FROM_XGBOOST = re.compile(r"^\[\d\d:\d\d:\d\d\] \S+:\d+: ")
"""The time and source line that XGBoost puts before its errors."""


def error_text(error: Exception) -> str:
    """The error's text, without XGBoost's stack trace, and with the error's class where the text needs it."""
    text = FROM_XGBOOST.sub("", str(error).partition("\nStack trace:")[0].strip())
    plain = isinstance(error, ValueError | RuntimeError | ArithmeticError | TailraceError)
    return text if plain and text else f"{type(error).__name__}: {text}".removesuffix(": ")
