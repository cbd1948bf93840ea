"""The seams between the stages and the tools, one file each.

A stage works on these protocols alone. `wiring` chooses the implementations. Each protocol has a real
implementation and one in memory; both pass the same contract suite in `tests/contracts`.

Words used throughout: a *day* is the partition key `ds` a run works on; a *pin* names
the exact bytes of some days of a lake table; a *run* is one attempt to produce a day.
"""

from tailrace.contracts.engine import (
    DryRun,
    Engine,
    Joined,
    LabelledRows,
    Model,
    Trained,
    Trial,
    not_trained,
)
from tailrace.contracts.lake import (
    Commit,
    Lake,
    LakePublisher,
    LakeReader,
    LakeUpkeep,
    NativeTable,
    Part,
    PartWriter,
    Pin,
    Scan,
    Staged,
    Target,
    Vacuumed,
    between,
    last_of_each_day,
)
from tailrace.contracts.services import Services
from tailrace.contracts.source import LandingZone, Source
from tailrace.contracts.tracker import ModelVersion, RunRecord, Shrunk, Tracker
from tailrace.contracts.validator import (
    ColumnKind,
    ExpectationResult,
    KnownColumns,
    Severity,
    Validator,
    Verdict,
)
from tailrace.contracts.warehouse import EvolvingWarehouse, LandedWarehouse, ModelResult, Warehouse

__all__ = [
    "ColumnKind",
    "Commit",
    "DryRun",
    "Engine",
    "EvolvingWarehouse",
    "ExpectationResult",
    "Joined",
    "KnownColumns",
    "LabelledRows",
    "Lake",
    "LakePublisher",
    "LakeReader",
    "LakeUpkeep",
    "LandedWarehouse",
    "LandingZone",
    "Model",
    "ModelResult",
    "ModelVersion",
    "NativeTable",
    "Part",
    "PartWriter",
    "Pin",
    "RunRecord",
    "Scan",
    "Services",
    "Severity",
    "Shrunk",
    "Source",
    "Staged",
    "Target",
    "Tracker",
    "Trained",
    "Trial",
    "Vacuumed",
    "Validator",
    "Verdict",
    "Warehouse",
    "between",
    "last_of_each_day",
    "not_trained",
]
