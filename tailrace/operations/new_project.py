"""Writes a new project: what `tailrace init` does."""

from __future__ import annotations

import datetime as dt
import keyword
import os
import random
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from tailrace import __version__
from tailrace.errors import BadInput, did_you_mean
from tailrace.scaffold import foreign_dbt
from tailrace.scaffold.templating import SUFFIX, TEMPLATES, templates
from tailrace.settings.project import FILE

HIDDEN = "dot_"
"""How the name of a template begins whose file begins with a dot: git must not take it for its own."""
FIRST, DAYS, ROWS_A_DAY = dt.date(2026, 1, 1), 10, 6
"""The days of the example, and its rows."""
ONE_DAY = dt.timedelta(days=1)
TAKEN = ("airflow", "dbt", "dbt_duckdb", "tailrace")
"""Names that a package or a dbt project of Tailrace's dependencies has."""
MOST_LETTERS = 40


@dataclass(frozen=True, kw_only=True)
class NewProject:
    """What a new project is like.

    `dbt_project` is the folder of a dbt project that exists and `target` the target of its profile; without one, the
    new project has a dbt project of its own, on DuckDB. `landing`: it lands extracts of its own before dbt builds.
    `example`: it has an example of a pipeline, on made-up rows; one on an existing dbt project has none.
    """

    name: str
    folder: Path
    zone: str = "UTC"
    landing: bool = False
    example: bool = True
    dbt_project: Path | None = None
    target: str = ""

    def problems(self) -> list[str]:
        """A sentence for each thing that is wrong."""
        return [*_name_problems(self.name), *_folder_problems(self.folder), *_zone_problems(self.zone), *self._dbt()]

    def _dbt(self) -> Iterator[str]:
        if self.landing and not self.example:
            yield "--landing writes a source for the example to land; leave --no-example out, or --landing."
        if self.dbt_project is None:
            if self.target:
                yield f"--target is {self.target!r}, a target of an existing dbt project; name --dbt-project too."
            return
        if not (self.dbt_project / "dbt_project.yml").is_file():
            yield f"--dbt-project is {str(self.dbt_project)!r}, and there is no dbt_project.yml in that folder."
        if self.landing:
            yield "--landing needs a dbt project of the new project's own, which reads the landed files; leave one out."

    @property
    def has_example(self) -> bool:
        return self.example and self.dbt_project is None


def write(new: NewProject) -> list[str]:
    """Write the project and return its files, sorted.

    It is written into a folder beside its own and renamed when it is complete, so nothing is ever half written. Raises
    BadInput, listing all problems, before anything is written.
    """
    if problems := new.problems():
        raise BadInput("\n".join(["The project cannot be made:", *(f"  - {problem}" for problem in problems)]))
    target = new.folder.absolute()
    with tempfile.TemporaryDirectory(prefix=f".{new.name}.", dir=target.parent) as scratch:
        made = Path(scratch) / new.name
        files = dict(rendered(new, target))
        for name, text in files.items():
            (made / name).parent.mkdir(parents=True, exist_ok=True)
            (made / name).write_text(text)
        try:
            made.rename(target)
        except OSError as error:
            raise BadInput(f"{target} cannot be made ({error.strerror}); nothing was written.") from error
    return sorted(files)


def rendered(new: NewProject, root: Path) -> Iterator[tuple[str, str]]:
    """Each file of the project by its path, with its text."""
    values = _values(new, root)
    for layer in _layers(new):
        for file in sorted((TEMPLATES / layer).rglob(f"*{SUFFIX}")):
            parts = file.relative_to(TEMPLATES / layer).with_suffix("").parts
            name = "/".join(re.sub(f"^{HIDDEN}", ".", part) for part in parts)
            yield name, templates().from_string(file.read_text()).render(values)
    if new.has_example and new.landing:
        yield from _extracts(values["rows"])


def _extracts(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """The files of the example's source: the visits of a day, and on the day after whether they ended in a purchase."""
    tables = {
        "visits": (dt.timedelta(0), ("visit_id", "visited_at", "channel", "pages", "minutes")),
        "purchases": (ONE_DAY, ("visit_id", "decided_at", "bought")),
    }
    days = sorted({row["ds"] for row in rows})
    for table, (delay, columns) in tables.items():
        for day in (day for day in days if day + delay <= days[-1]):
            lines = [",".join(str(row[name]) for name in columns) for row in rows if row["ds"] == day]
            yield f"example_extracts/{table}/{day + delay}.csv", "\n".join([",".join(columns), *lines, ""])


def _layers(new: NewProject) -> Iterator[str]:
    """The folders of templates of which the project is made."""
    yield "project"
    if new.dbt_project is None:
        yield "dbt_project"
    if new.has_example:
        yield "example"
        yield "example_landed" if new.landing else "example_seeded"


def _values(new: NewProject, root: Path) -> Mapping[str, Any]:
    dbt_project = new.dbt_project and os.path.relpath(new.dbt_project.absolute(), root)
    return {
        "name": new.name,
        "version": __version__,
        "zone": new.zone,
        "landing": new.landing and new.has_example,
        "example": new.has_example,
        "dbt_project": dbt_project,
        "dbt_in_container": dbt_project and os.path.normpath(f"/project/{dbt_project}"),
        "target": new.target,
        "adapters": _adapters(new),
        "first": FIRST,
        "second": FIRST + ONE_DAY,
        "last": FIRST + (DAYS - 1) * ONE_DAY,
        "days": DAYS,
        "rows": example_rows(ZoneInfo(new.zone)),
    }


def _adapters(new: NewProject) -> list[str]:
    """What pyproject.toml must name so that dbt's adapter of the existing project is installed too."""
    if new.dbt_project is None:
        return []
    return foreign_dbt.requirements(new.dbt_project, new.target, f">={__version__}")


def example_rows(zone: ZoneInfo) -> list[dict[str, Any]]:
    """The visits of the example, always the same: long visits end in a purchase, more often after a mail or a search.

    A visit ended in the hours before its day begins in the zone; its outcome is known on the evening of the day.
    """
    chance = random.Random(9)  # noqa: S311 - an example, not a secret
    rows = []
    for day in (FIRST + number * ONE_DAY for number in range(DAYS)):
        begins = dt.datetime.combine(day, dt.time(), zone).astimezone(dt.UTC)
        for number in range(ROWS_A_DAY):
            channel, pages = chance.choice(("ad", "mail", "search")), chance.randint(1, 5) + number % 2 * 5
            minutes = round(pages * chance.uniform(0.5, 1.5), 1)
            rows.append(
                {
                    "ds": day,
                    "visit_id": f"{day}/{number + 1}",
                    "visited_at": (begins - dt.timedelta(minutes=chance.randint(5, 600))).isoformat(),
                    "channel": channel,
                    "pages": pages,
                    "minutes": minutes,
                    "decided_at": (begins + dt.timedelta(hours=18)).isoformat(),
                    "bought": str(minutes + (channel != "ad") + chance.gauss(0, 2) > 6).lower(),
                }
            )
    return rows


def _name_problems(name: str) -> Iterator[str]:
    if not re.fullmatch("[a-z][a-z0-9_]*", name) or keyword.iskeyword(name) or keyword.issoftkeyword(name):
        near = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
        valid = re.fullmatch("[a-z][a-z0-9_]*", near) and not keyword.iskeyword(near)
        hint = f" Did you mean {near!r}?" if valid and len(near) <= MOST_LETTERS else ""
        yield (
            f"The name is {name!r}; it must be a Python name in small letters: a to z, digits and _, the first one a "
            f"letter, and no word that Python reserves.{hint}"
        )
    elif len(name) > MOST_LETTERS:
        yield f"The name has {len(name)} letters; use at most {MOST_LETTERS}."
    elif name in TAKEN:
        yield f"The name is {name!r}, which a package that the project needs has; choose another."


def _folder_problems(folder: Path) -> Iterator[str]:
    target = folder.absolute()
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        yield f"{target} exists, and is no folder; choose another with --folder."
    elif target.is_dir() and (there := sorted(path.name for path in target.iterdir())):
        named = ", ".join(there[:3]) + (f" and {len(there) - 3} more" if len(there) > 3 else "")
        yield f"The folder {target} is not empty ({named}); nothing there is overwritten. Choose another with --folder."
    if not target.parent.is_dir():
        yield f"There is no folder {target.parent} to put the project into."
    elif not os.access(target.parent, os.W_OK | os.X_OK):
        yield f"This user has no right to write in {target.parent}."
    if outer := next((above for above in target.parents if (above / FILE).is_file()), None):
        yield f"{target} lies inside the project {outer}; projects must not be nested. Choose a folder outside of it."


def _zone_problems(zone: str) -> Iterator[str]:
    known = available_timezones()
    if zone not in known:
        yield f"The time zone is {zone!r}; use a name such as 'Europe/Berlin'.{did_you_mean(zone, known)}"
