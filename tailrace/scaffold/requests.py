"""What a person says of a new pipeline."""

from __future__ import annotations

import keyword
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from zoneinfo import available_timezones

from tailrace.errors import did_you_mean
from tailrace.spec.pipeline import NAME, WAREHOUSE


@dataclass(frozen=True, kw_only=True)
class NewPipeline:
    """A new pipeline as it is asked for; what is empty or None is proposed from the rows.

    `table` has the features, `outcomes_table` the label; by default the same table has both. `day` and `known_at` name
    columns of the first, `outcome_day` and `outcome_known_at` of the second one. `include` are columns that become
    features though they look like leaks, `exclude` columns that do not. `marts`: dbt models are written that select
    from the tables; otherwise the spec names the tables themselves.
    """

    name: str
    table: str
    key: tuple[str, ...]
    time: str
    label: str
    outcomes_table: str = ""
    day: str = ""
    known_at: str = ""
    outcome_day: str = ""
    outcome_known_at: str = ""
    kind: str = ""
    zone: str = "UTC"
    owner: str = ""
    description: str = ""
    lag_days: int | None = None
    days_back: int | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    marts: bool = False

    @property
    def label_table(self) -> str:
        """The table that has the label."""
        return self.outcomes_table or self.table

    def problems(self, pipelines: Collection[str]) -> Iterator[str]:
        """A sentence for each thing that is wrong before any table is read; `pipelines` are those that exist."""
        if not NAME.fullmatch(self.name) or keyword.iskeyword(self.name):
            near = re.sub(r"[^a-z0-9]+", "_", self.name.lower()).strip("_")
            hint = f" Did you mean {near!r}?" if NAME.fullmatch(near) and not keyword.iskeyword(near) else ""
            yield f"The name is {self.name!r}; use lower-case letters, digits and underscores, a letter first.{hint}"
        elif self.name == WAREHOUSE:
            yield f"The name {self.name!r} is that of the warehouse's own DAG; choose another."
        elif self.name in pipelines:
            yield f"There is a pipeline {self.name!r} already: pipelines/{self.name}.py. Choose another name."
        if self.zone not in available_timezones():
            yield f"--zone is {self.zone!r}, which is no time zone.{did_you_mean(self.zone, available_timezones())}"
        for option, days in (("--lag-days", self.lag_days), ("--days-back", self.days_back)):
            least = 1 if option == "--lag-days" else 0
            if days is not None and not least <= days <= 365:
                yield f"{option} is {days}; it must be between {least} and 365."
        if not self.key:
            yield "--key is missing: name the column that identifies a row, or several."
        for option, value in (("--from-table", self.table), ("--time", self.time), ("--label", self.label)):
            if not value:
                yield f"{option} is missing."
        if self.label and self.label in (self.time, *self.key):
            yield f"--label is {self.label!r}, which is also a key or the time."
        for column in sorted(set(self.include) & set(self.exclude)):
            yield f"--include and --exclude both name {column!r}."

    def named_columns(self) -> Iterator[tuple[str, str]]:
        """The columns of the features' table that are named, each with the option that names it."""
        yield from (("--key", name) for name in self.key)
        yield "--time", self.time
        yield from (("--day", self.day), ("--known-at", self.known_at))
        yield from (("--include", name) for name in self.include)
        yield from (("--exclude", name) for name in self.exclude)
        if not self.outcomes_table:
            yield "--label", self.label

    def named_outcome_columns(self) -> Iterator[tuple[str, str]]:
        """The columns of the outcomes' table that are named, each with the option that names it."""
        if self.outcomes_table:
            yield from (("--key", name) for name in self.key)
        yield "--label", self.label
        yield from (("--outcome-day", self.outcome_day), ("--outcome-known-at", self.outcome_known_at))
