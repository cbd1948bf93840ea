"""The lake on Delta tables through delta-rs, on local disk or any object store: no JVM, no service.

`reading`, `publishing` and `upkeep` each implement one of the lake's three protocols.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping

from tailrace.lake import manifests
from tailrace.lake.publishing import DeltaPublisher
from tailrace.lake.tables import Tables
from tailrace.lake.upkeep import DeltaUpkeep
from tailrace.settings import Settings


class DeltaLake(DeltaPublisher, DeltaUpkeep):
    """Tables under a root: a folder, `file://` or an object-store URL such as `s3://bucket/lake`.

    `storage_options` are delta-rs's own (credentials, endpoint, region, timeouts). With `native_reader` the engine can
    read tables whose features need one. `keep_open` is for processes that read many tables again and again and write
    none: a table is opened once, and after that only its new commits are read. `now` is the time that `vacuum`
    compares the age of files with.
    """

    def __init__(
        self,
        root: str,
        storage_options: Mapping[str, str] | None = None,
        *,
        native_reader: bool = False,
        keep_open: bool = False,
        now: Callable[[], dt.datetime] = manifests.now,
    ) -> None:
        super().__init__(Tables(root, storage_options, native_reader=native_reader, keep_open=keep_open), now)

    @classmethod
    def from_settings(cls, settings: Settings, *, keep_open: bool) -> DeltaLake:
        """The configured lake; `native_reader` if the engine is Spark and the settings give it one."""
        native = settings.engine == "spark" and settings.spark.native_reader != ""
        return cls(settings.lake, settings.storage_options, native_reader=native, keep_open=keep_open)
