"""The Spark application that an engine runs: what training and scoring need of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@dataclass(frozen=True, kw_only=True)
class Application:
    """A session whose cluster runs `slots` tasks at once; `tell` is given the progress of its jobs as text.

    `native_reader` is the data source by which Spark reads tables with deleted rows; empty if it has none.
    """

    session: SparkSession
    slots: int
    tell: Callable[[str], None]
    native_reader: str = ""
