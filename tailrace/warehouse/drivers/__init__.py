"""How rows come out of each kind of database: one file per driver. `connected` chooses by the profile's adapter."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from importlib import import_module

from tailrace.warehouse.adapter import DbtAdapter
from tailrace.warehouse.drivers.base import Session

_DRIVERS: Mapping[str, str] = {
    **{name: name for name in ("bigquery", "databricks", "duckdb", "postgres", "redshift", "snowflake", "spark")},
    **dict.fromkeys(["trino", "starburst"], "trino"),
}
"""dbt's name of an adapter -> the module that reads its rows; `cursor` reads all others."""


def connected(adapter: DbtAdapter) -> AbstractContextManager[Session]:
    """An open connection to the target's database, closed at the end of the block."""
    module = import_module(f"{__name__}.{_DRIVERS.get(adapter.type, 'cursor')}")
    opened: AbstractContextManager[Session] = module.connected(adapter)
    return opened
