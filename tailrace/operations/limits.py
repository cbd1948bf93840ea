"""How many days are worked on at once, so that backfills leave the nights a worker."""

from __future__ import annotations

from collections.abc import Mapping

AT_ONCE: Mapping[str, int] = {"warehouse": 1, "train": 1, "predict": 4, "monitor": 4}
"""By the kind of DAG: what stands before the two underscores of its name."""
