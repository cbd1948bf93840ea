"""Trino (and Starburst): the client's cursor, which streams. The adapter's wrapper would fetch all rows at once.

Written against trino 0.340 and dbt-trino 1.11; tested with a stand-in of the same methods.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tailrace.warehouse.adapter import DbtAdapter
from tailrace.warehouse.drivers.cursor import CursorSession


class TrinoSession(CursorSession):
    def _cursor(self) -> Any:
        return self._handle.handle.cursor()


@contextmanager
def connected(adapter: DbtAdapter) -> Iterator[TrinoSession]:
    with adapter.connected() as handle:
        yield TrinoSession(adapter, handle)
