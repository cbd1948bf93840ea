"""`tailrace new pipeline`: proposes a pipeline for a table of the warehouse, and writes its files into the project."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tailrace.errors import ProblemList
from tailrace.operations import exposures
from tailrace.scaffold import files, writing
from tailrace.scaffold.files import Destination
from tailrace.scaffold.proposal import Proposal, propose
from tailrace.scaffold.requests import NewPipeline
from tailrace.scaffold.tables import HEADING
from tailrace.settings import Project
from tailrace.spec import registry
from tailrace.warehouse.manifest import DbtManifest
from tailrace.warehouse.reader import MartReader

if TYPE_CHECKING:
    from tailrace.warehouse.dbt import DbtWarehouse


@dataclass(frozen=True, kw_only=True)
class NewFiles:
    """A proposal with the text of its files, by their path in the project. Nothing is written yet."""

    project: Project
    proposal: Proposal
    files: Mapping[str, str]

    @property
    def columns(self) -> list[dict[str, str]]:
        """A line for each column of the table: the kind of its feature, or why it is none."""
        left_out = self.proposal.left_out
        used = [
            {"column": name, "feature": kind, "why": ""} for name, kind in self.proposal.spec.features.columns.items()
        ]
        return [*used, *({"column": name, "feature": "no", "why": why} for name, why in left_out.items())]

    @property
    def warnings(self) -> list[str]:
        """What a person should look at, leaks first."""
        leaks = [f"{leak.column} looks like a leak: {leak.why}." for leak in self.proposal.leaks]
        return [*leaks, *self.proposal.warnings]

    def summary(self, *, written: bool) -> str:
        """What the pipeline is, its files, and the commands that publish its first predictions."""
        name, first, last = self.proposal.request.name, self.proposal.first_day, self.proposal.last_day
        spec = self.proposal.spec
        beat = f"{spec.gate.metric} better than that of {spec.gate.beat!r}"
        return "\n".join(
            (
                *self.proposal.notes,
                f"Window: {spec.window.days} days, of which the last {spec.window.holdout_days} are the holdout. "
                f"Gate: {beat}.",
                "Written:" if written else "Would be written:",
                *(f"  {file}" for file in self.files),
                "Next:",
                "  tailrace check",
                f"  tailrace warehouse --pipeline {name} --date {first} --to {last}",
                f"  tailrace train {name} --date {last}",
                f"  tailrace predict {name} --date {last}",
            )
        )


def proposed(
    request: NewPipeline,
    *,
    project: Project,
    warehouse: DbtWarehouse,
    reader: MartReader,
    marts: bool | None,
    today: dt.date,
) -> NewFiles:
    """The pipeline that the rows suggest, with its files.

    `marts` None: the project gets dbt models if its dbt project lies inside of it. Raises BadInput with everything that
    is wrong, also if a file exists already, and what `MartReader` raises.
    """
    inside = warehouse.project.is_relative_to(project.root)
    own = inside if marts is None else marts
    problems = list(replace(request, marts=own).problems(registry.names()))
    if own and not inside:
        problems.append(
            f"--marts: the dbt project {warehouse.project} lies outside of this project, so nothing is written there. "
            "Leave the option out: the spec then names the tables themselves."
        )
    if problems:
        raise ProblemList(HEADING, problems)
    made = propose(replace(request, marts=own), reader, today=today)
    manifest = DbtManifest.read(warehouse.parse(), warehouse.project) if own else None
    found = files.files(made, Destination(project=project, manifest=manifest))
    if there := writing.existing(project.root, found):
        raise ProblemList("Nothing was written: no file is overwritten.", [f"{each} exists." for each in there])
    return NewFiles(project=project, proposal=made, files=found)


def write(made: NewFiles, warehouse: DbtWarehouse) -> list[Path]:
    """Write all files, or none; then the dbt project's exposures, if it has any. Raises BadInput."""
    writing.write(made.project.root, made.files)
    has_dbt = (warehouse.project / "dbt_project.yml").is_file()
    renewed = exposures.renew(warehouse) if has_dbt else None
    return [*(made.project.root / name for name in made.files), *([renewed] if renewed else [])]
