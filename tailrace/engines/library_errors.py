"""What an error of scikit-learn, XGBoost or skops says, as a sentence may quote it."""

from __future__ import annotations

import re

from tailrace.errors import ClusterRefused, OutOfMemory, TailraceError, Unavailable

NO_CANDIDATES_FAULT = (Unavailable, ClusterRefused, OutOfMemory)
"""What a machine or a cluster fails with, whatever the candidate and its parameters are."""

FROM_XGBOOST = re.compile(r"^\[\d\d:\d\d:\d\d\] \S+:\d+: ")
"""The time and the line of its source that XGBoost puts before its errors."""


def error_text(error: Exception) -> str:
    """The error's text: without XGBoost's stack trace, and with its class where the text needs it."""
    text = FROM_XGBOOST.sub("", str(error).partition("\nStack trace:")[0].strip())
    plain = isinstance(error, ValueError | RuntimeError | ArithmeticError | TailraceError)
    return text if plain and text else f"{type(error).__name__}: {text}".removesuffix(": ")
