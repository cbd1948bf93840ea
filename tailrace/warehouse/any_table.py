"""The reader of any table of a warehouse's database, whoever built the table."""

from __future__ import annotations

from tailrace.warehouse.adapter import DbtAdapter
from tailrace.warehouse.dbt import DbtWarehouse
from tailrace.warehouse.dbt_project import DbtProjectWarehouse
from tailrace.warehouse.reader import MartReader


def reader_of(warehouse: DbtWarehouse, *, zone: str) -> MartReader:
    """The reader; timestamps without a zone are taken as local times of `zone`."""
    if isinstance(warehouse, DbtProjectWarehouse):
        return warehouse.reader
    target, variables, work = warehouse.connection
    return MartReader(DbtAdapter(warehouse.project, work=work, target=target, variables=variables), zone=zone)
