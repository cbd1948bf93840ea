"""The tables of the warehouse that a pipeline reads."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass

DAY = "ds"
"""The column of every lake table that holds the day; also of a mart, unless the spec names another one."""
KNOWN_AT = "known_at"
"""The column with the moment at which a row became known, unless the spec names another one."""
PARTS = ("features", "outcomes")
"""The tables of a pipeline."""


@dataclass(frozen=True, kw_only=True)
class Mart:
    """A table of the warehouse that a pipeline reads.

    `table` is its name as dbt names it: `model`, `schema.name` or `database.schema.name`. `day` is its column that
    holds the day; the rows of a run are those whose `day` is `days_back` days before the run's own. `known_at` is the
    column with the moment at which a row became known; None if the mart has none.
    """

    table: str
    day: str = DAY
    days_back: int = 0
    known_at: str | None = KNOWN_AT

    def day_of(self, run_day: dt.date) -> dt.date:
        """The day whose rows the run of a day reads."""
        return run_day - dt.timedelta(days=self.days_back)


def table_problems(where: str, table: str) -> Iterator[str]:
    """A sentence if this is no name of a table."""
    parts = table.split(".")
    if len(parts) > 3 or not all(part and part.isprintable() and part == part.strip() for part in parts):
        yield (
            f"{where} is {table!r}; write it as dbt names it: the model's name, schema.name, or database.schema.name."
        )
