"""How many days are processed at once, so that backfills leave a worker free for the nightly runs."""

from __future__ import annotations

from collections.abc import Mapping

AT_ONCE: Mapping[str, int] = {"warehouse": 1, "train": 1, "predict": 4, "monitor": 4}
"""By the kind of DAG: the part of its id before the two underscores."""
