"""The architecture on one page: the seams between the stages and the tools.

A stage works on these protocols alone. `wiring` chooses the implementations. Each protocol has a
real one and one in memory, held to the same contract suite in `tests/contracts`.

Words used throughout: a *day* is the partition key `ds` a run works on; a *pin* names
the exact bytes of some days of a lake table; a *run* is one attempt to produce a day.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import pyarrow as pa

    from tailrace.spec import PipelineSpec

Severity = Literal["critical", "warning"]

# ---------------------------------------------------------------- source and landing


class Source(Protocol):
    """An operational system that hands over one extract a night."""

    @property
    def name(self) -> str: ...

    @property
    def tables(self) -> Mapping[str, pa.Schema]:
        """The declared schema of each table's extract."""
        ...

    @property
    def calendar(self) -> tuple[dt.date, dt.date]:
        """First and last day there is an extract of."""
        ...

    def extract(self, table: str, day: dt.date) -> pa.Table:
        """What became known in the 24 hours before the cutoff of `day`. Raises OutOfCalendar."""
        ...

    def may_be_empty(self, table: str, day: dt.date) -> bool:
        """Whether it is right if a table's extract of that day has no rows; an empty one is refused otherwise.

        A source without this method has no such days.
        """
        ...


class LandingZone(Protocol):
    """Where extracts lie until dbt reads them, a folder per table and day."""

    def write(self, table: str, day: dt.date, rows: pa.Table) -> int:
        """Replace the day whole; rows written. Raises StorageFull, LandingRefused."""
        ...


# ---------------------------------------------------------------- warehouse


@dataclass(frozen=True)
class ModelResult:
    """One dbt node of a build: a model, a test, a seed.

    `sql` is what was run, compiled; `log` what dbt said of the node; `depends_on` holds unique ids. `kept`: an earlier
    try of the same run built it, and this one did not repeat it.
    """

    name: str
    kind: str
    status: str
    seconds: float
    rows: int | None = None
    message: str = ""
    unique_id: str = ""
    sql: str = ""
    log: str = ""
    depends_on: tuple[str, ...] = ()
    kept: bool = False


class Warehouse(Protocol):
    """Where dbt builds the tables a pipeline starts from."""

    def build(
        self,
        first: dt.date,
        last: dt.date,
        run_id: str = "",
        on_node: Callable[[ModelResult], None] = lambda node: None,
    ) -> tuple[ModelResult, ...]:
        """Build and test every model for the days first..last, in one dbt invocation.

        Where an earlier try of the same run failed on the same days and files, only what failed and what depends on
        it is built. `on_node` is given every node's result, also where the build fails.

        Raises BuildFailed naming every failed node, LandingRefused, UpstreamMissing naming days that
        are not landed, those that are looked back on included, WarehouseBusy, StorageFull, LakeUnavailable,
        and where the warehouse is a server Unavailable, and SettingsError if it turns this installation away.
        """
        ...

    def read(self, table: str, day: dt.date, order_by: Sequence[str]) -> pa.RecordBatchReader:
        """Rows of `table` with ds = day, sorted, timestamps as timestamp[us, UTC].

        Raises UpstreamMissing if the table was never built, WarehouseBusy, Unavailable, SettingsError.
        """
        ...

    def built(self, day: dt.date) -> Mapping[str, str] | None:
        """The tables that a recorded build made the day of, each with the reason why it may have no rows, if any.

        The records lie where the tables lie, and are lost with them. None if there are no records at all: the
        warehouse was built by a release that made none. Raises UpstreamMissing, WarehouseBusy, Unavailable.
        """
        ...

    def sources(self, day: dt.date, first: dt.date | None = None) -> Mapping[dt.date, str]:
        """The source days that the rows of a day are built from, oldest first, each with a SHA-256 of what is landed.

        With `first` those of every day from that one to `day`. Landing the same rows again leaves it as it was. Empty
        where nothing is landed for the tables. It tells what lies there now: between a build and this call nobody may
        land, which the order of the nightly tasks sees to. Raises LandingRefused, LakeUnavailable.
        """
        ...


# ---------------------------------------------------------------- lake


@dataclass(frozen=True)
class Pin:
    """The exact contents of some days of a lake table: enough to read the same bytes again.

    `version` is a string because table formats differ in what they count with; `digest` is
    the SHA-256 over the sorted paths and sizes of the files pinned.
    """

    table: str
    version: str
    first: dt.date | None
    last: dt.date | None
    rows: int
    files: int
    digest: str


@dataclass(frozen=True)
class Staged:
    """Rows written for one day by one run, which no reader sees until they are published.

    `fence` is the number of publications of that day when staging began; `digest` the
    SHA-256 of the files' bytes; `notes` what stages wrote down about it.
    """

    table: str
    day: dt.date
    run_id: str
    rows: int
    fence: int
    digest: str
    files: tuple[str, ...]
    notes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Commit:
    """One publication. `unchanged` means the day already held these very bytes, so none was made."""

    table: str
    day: dt.date | None
    version: str
    recorded_at: dt.datetime
    rows: int
    metadata: Mapping[str, str] = field(default_factory=dict)
    unchanged: bool = False


class Part(Protocol):
    """A piece of a scan that another process can read by itself: it travels pickled."""

    @property
    def rows(self) -> int: ...

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Its rows in order, streaming. Raises PinLost, LakeUnavailable."""
        ...


@dataclass(frozen=True)
class NativeTable:
    """A version of a table that only its format's own reader reads rightly, and the days of it that are wanted."""

    uri: str
    version: str
    first: dt.date | None
    last: dt.date | None


class Scan(Protocol):
    """Pinned rows of a table, to be read here or by many processes."""

    @property
    def schema(self) -> pa.Schema: ...

    @property
    def rows(self) -> int: ...

    @property
    def files(self) -> tuple[str, ...]:
        """The addresses of the Parquet files that hold the rows, for readers such as Spark's; empty if none do."""
        ...

    @property
    def native(self) -> NativeTable | None:
        """What to read where the files alone would give wrong rows; `reader` and `parts` then raise BadInput."""
        ...

    def reader(self) -> pa.RecordBatchReader:
        """All rows in order, streaming."""
        ...

    def parts(self, rows: int) -> tuple[Part, ...]:
        """The rows in order, cut into pieces of about so many; no row is in two."""
        ...


class PartWriter(Protocol):
    """Writes one part of a staging from any process: it travels pickled."""

    def write(self, number: int, rows: pa.RecordBatchReader) -> Any:
        """Write part `number`; what staging needs to know of it, to be handed back.

        Called again for the same number (a retried or speculative task) it writes another copy; the
        one handed back counts, the others go. Raises SchemaMismatch, StorageFull, LakeUnavailable.
        """
        ...


class Target(Protocol):
    """The day of a table that a run is about to stage."""

    def write(self, rows: pa.RecordBatchReader) -> Staged:
        """Stage the rows of one stream, as `Lake.stage` does."""
        ...

    def write_parts(self, schema: pa.Schema, write: Callable[[PartWriter], Iterable[Any]]) -> Staged:
        """Stage what `write` returns: what the writer answered for each part, in the rows' order.

        Nothing is staged if it raises. Raises what `Lake.stage` does.
        """
        ...

    def write_files(self, schema: pa.Schema, write: Callable[[str], None]) -> Staged:
        """Stage the Parquet files that `write` leaves in the folder whose address it is given, ordered by name.

        For writers that are not the lake's own. The folder is not there yet. `schema`, and every file, has the column
        `ds`. Nothing is staged if `write` raises. Raises SchemaMismatch naming every file with other columns or
        types, rows of another day or no statistics of it, StorageFull, LakeUnavailable.
        """
        ...


class Lake(Protocol):
    """Versioned tables partitioned by `ds`; a day is replaced whole or not at all."""

    def target(self, table: str, day: dt.date, run_id: str) -> Target:
        """Where that run stages that day."""
        ...

    def stage(self, table: str, day: dt.date, run_id: str, rows: pa.RecordBatchReader) -> Staged:
        """Write rows beside the table without committing them, streaming; sets column `ds` if absent.

        The first stage of a table fixes its schema. Staging again with the same run_id replaces
        what that run staged. Raises SchemaMismatch (every differing column), StorageFull, LakeUnavailable.
        """
        ...

    def staged(self, table: str, day: dt.date, run_id: str) -> Staged:
        """What that run staged, found again from another process. Raises StagingGone."""
        ...

    def read_staged(self, staged: Staged) -> pa.RecordBatchReader:
        """Exactly the staged rows. Raises StagingGone."""
        ...

    def annotate(self, staged: Staged, notes: Mapping[str, str]) -> Staged:
        """The same staged rows with these notes added, kept for another process to find."""
        ...

    def discard(self, staged: Staged) -> None:
        """Remove what was staged; nothing happens if it is gone or already published."""
        ...

    def publish(self, staged: Staged, metadata: Mapping[str, str]) -> Commit:
        """Replace the day by the staged rows in one transaction.

        Publishing what this run has already published returns that commit. Publishing bytes equal
        to what the day holds makes no commit and returns the day's last one as `unchanged`, if they are all there
        still: where the day's files are gone or damaged, it is published again.
        Raises PublishConflict if another run published the day after this one staged,
        StagingGone if the staged files are gone.
        """
        ...

    def append(self, table: str, rows: pa.Table, metadata: Mapping[str, str]) -> Commit:
        """Add rows to an unpartitioned, append-only table, creating it if it is new.

        Its rows are read in the order of the commits that added them, whatever the writers' clocks said.
        """
        ...

    def exists(self, table: str) -> bool: ...

    def schema(self, table: str) -> pa.Schema:
        """Raises UpstreamMissing if there is no such table."""
        ...

    def read(
        self,
        table: str,
        *,
        first: dt.date | None = None,
        last: dt.date | None = None,
        version: str | None = None,
        columns: Sequence[str] | None = None,
    ) -> pa.RecordBatchReader:
        """Published rows of the days first..last (both included; None = unbounded), streaming.

        Raises UpstreamMissing if the table or the version is not there.
        """
        ...

    def pin(
        self, table: str, *, first: dt.date | None = None, last: dt.date | None = None, version: str | None = None
    ) -> Pin:
        """Name the contents of those days at that version (the latest by default)."""
        ...

    def scan(self, pin: Pin, columns: Sequence[str] | None = None) -> Scan:
        """The very bytes that were pinned. Raises PinLost if they are gone or differ."""
        ...

    def read_pin(self, pin: Pin, columns: Sequence[str] | None = None) -> pa.RecordBatchReader:
        """The pinned rows as one stream: `scan(...).reader()`."""
        ...

    def days(self, table: str) -> Mapping[dt.date, Commit]:
        """The last publication of each day, published-empty days included; empty if there is no table."""
        ...

    def commits(self, table: str, day: dt.date | None = None, *, since: str | None = None) -> tuple[Commit, ...]:
        """All publications, newest first; of one day, or after the version `since`, if given."""
        ...

    def sound(self, table: str, day: dt.date) -> bool:
        """Whether the files of a day are there, with the bytes that were published; False if there is no table."""
        ...

    def optimize(self, table: str) -> int:
        """Compact small files; the number of files that were replaced.

        Files of earlier releases, in folders that other readers take for partitions, are replaced too.
        """
        ...

    def vacuum(self, table: str, keep: Iterable[Pin] = (), older_than: dt.timedelta = dt.timedelta(days=7)) -> int:
        """Delete files that no kept pin, no current day and no fresh staging needs; how many.

        Nothing younger than a day is deleted, whatever `older_than` says.
        """
        ...


# ---------------------------------------------------------------- engine


@dataclass(frozen=True)
class Trial:
    """One set of parameters tried by the search."""

    number: int
    candidate: str
    parameters: Mapping[str, Any]
    value: float | None
    state: Literal["complete", "pruned", "failed"]
    seconds: float


def not_trained(trials: Iterable[Trial]) -> tuple[str, ...]:
    """A sentence for each candidate none of whose trials completed, with the first one's error."""
    tried: dict[str, list[Trial]] = {}
    for trial in trials:
        tried.setdefault(trial.candidate, []).append(trial)
    return tuple(
        f"{name}: 0 of {len(its_trials)} trials completed; the first ended with: "
        f"{its_trials[0].parameters.get('error', its_trials[0].state)}"
        for name, its_trials in tried.items()
        if not any(trial.state == "complete" for trial in its_trials)
    )


class Model(Protocol):
    """A fitted pipeline, preprocessing included."""

    @property
    def kind(self) -> str: ...

    @property
    def features(self) -> Mapping[str, str]:
        """Input columns and their kinds, in the model's order."""
        ...

    def predict(self, rows: pa.RecordBatch) -> pa.Array:
        """Probability of the positive class for each row, float64 in 0..1. Pure."""
        ...

    def save(self, folder: Path) -> None:
        """Write the model without pickle."""
        ...

    def digest(self) -> str:
        """SHA-256 of the fitted parameters: equal for models that predict alike by construction."""
        ...

    def importance(self) -> Mapping[str, float]:
        """Share of each feature in the model's decisions, summing to 1; empty if it has none."""
        ...


@dataclass(frozen=True)
class Trained:
    """The outcome of a search: the best model refitted, and what was tried."""

    model: Model
    best: Trial
    trials: tuple[Trial, ...]

    @property
    def not_trained(self) -> tuple[str, ...]:
        """A sentence for each candidate none of whose trials completed."""
        return not_trained(self.trials)


class LabelledRows(Protocol):
    """The feature columns of the rows a model learns from, and their labels."""

    @property
    def rows(self) -> int: ...

    def table(self) -> pa.Table:
        """The feature columns, in this process's memory, sorted by time and key."""
        ...

    def labels(self) -> pa.Array:
        """Booleans, in the table's order."""
        ...

    def head(self, rows: int) -> pa.Table:
        """The first rows of the table; whole numbers are doubles in columns of which any row has a null."""
        ...

    @property
    def days(self) -> tuple[dt.date, dt.date]:
        """The first and the last day there are rows of."""
        ...


@dataclass(frozen=True)
class Joined:
    """Features with the outcomes known in time: what to learn from, and what to judge by.

    `holdout` is in this process's memory, sorted by time and key, its labels in column `spec.LABEL`; `digests` name
    the contents of the features and outcomes joined.
    """

    learning: LabelledRows
    holdout: pa.Table
    digests: Mapping[str, str]


class Engine(Protocol):
    """Where models learn and score."""

    name: str

    def join(
        self, spec: PipelineSpec, features: Scan, outcomes: Scan, *, known_by: dt.datetime, holdout_from: dt.date
    ) -> Joined | None:
        """The point-in-time join, made and held where a candidate learns; None if that is this process.

        Takes outcomes known by that moment; the holdout are the features of that day and later. Raises LookAhead,
        KeysRepeated.
        """
        ...

    def train(
        self,
        spec: PipelineSpec,
        rows: LabelledRows,
        *,
        seed: int,
        trials: int,
        on_trial: Callable[[Trial], None],
    ) -> Trained:
        """Search over the spec's candidates, refit the best on all rows.

        Same rows, seed and trials give the same model. Raises TrainingFailed if no trial completed,
        BadInput if a candidate needs another engine.
        """
        ...

    def load(self, folder: Path) -> Model:
        """A model as `Model.save` wrote it. Raises SignatureMismatch on an unknown kind."""
        ...

    def score(self, spec: PipelineSpec, model: Model, version: str, rows: Scan, target: Target) -> Staged:
        """Stage the prediction columns of every row; memory does not grow with rows.

        Raises SignatureMismatch naming every feature that the rows lack, and what staging raises.
        """
        ...


# ---------------------------------------------------------------- tracker


@dataclass(frozen=True)
class RunRecord:
    """A training run as the tracker remembers it."""

    run_id: str
    pipeline: str
    status: Literal["running", "finished", "failed", "killed"]
    started_at: dt.datetime
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    url: str = ""


@dataclass(frozen=True)
class ModelVersion:
    """A registered model version of a pipeline."""

    pipeline: str
    version: str
    run_id: str
    created_at: dt.datetime
    aliases: tuple[str, ...]
    tags: Mapping[str, str]


class Tracker(Protocol):
    """What was tried, with what, and which model versions came of it. All raise TrackerUnavailable."""

    def start_run(self, pipeline: str, name: str, tags: Mapping[str, str]) -> str:
        """Open a run and return its id, after closing runs of this pipeline whose process has died."""
        ...

    def close_runs_of(self, pipeline: str, host: str, why: str) -> None:
        """Close the pipeline's open runs that were started on a host which is gone."""
        ...

    def log_trial(self, run_id: str, trial: Trial) -> None:
        """Record a trial as a run nested in run_id."""
        ...

    def log_inputs(self, run_id: str, pins: Mapping[str, Pin]) -> None:
        """Record lake pins as the run's dataset inputs, by role (features, outcomes)."""
        ...

    def log(
        self,
        run_id: str,
        *,
        params: Mapping[str, Any] | None = None,
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None: ...

    def log_files(self, run_id: str, folder: Path, under: str) -> None:
        """Store every file of a folder as artefacts of the run."""
        ...

    def log_model(self, run_id: str, folder: Path, example: pa.Table, predictions: pa.Array) -> str:
        """Register a saved model with signature and input example; its version. Logged twice: same version."""
        ...

    def end_run(self, run_id: str, status: Literal["finished", "failed"]) -> None: ...

    def run(self, run_id: str) -> RunRecord:
        """Raises UnknownName."""
        ...

    def runs(self, pipeline: str) -> tuple[RunRecord, ...]:
        """Training runs (not trials), newest first."""
        ...

    def fetch(self, run_id: str, path: str, folder: Path) -> Path:
        """Download an artefact (a file or a folder) of a run into `folder`. Raises UnknownName."""
        ...

    def model_folder(self, pipeline: str, version: str, folder: Path) -> Path:
        """Download what `Model.save` wrote for that version. Raises UnknownName."""
        ...

    def versions(self, pipeline: str) -> tuple[ModelVersion, ...]:
        """Newest first; empty if the pipeline has none."""
        ...

    def set_alias(self, pipeline: str, alias: str, version: str) -> None: ...


# ---------------------------------------------------------------- validator


@dataclass(frozen=True)
class ExpectationResult:
    """One expectation on the rows of a day, or of a range: then it succeeds if it does on each day.

    `failed_days` are those of a range on which it failed.
    """

    expectation: str
    column: str | None
    severity: Severity
    success: bool
    expected: str
    observed: str
    bad_rows: tuple[Mapping[str, Any], ...] = ()
    failed_days: tuple[dt.date, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """A suite's judgement of the rows of a day, or of each of the days from `first` to `day`."""

    suite: str
    day: dt.date
    rows: int
    results: tuple[ExpectationResult, ...]
    report: str = ""
    first: dt.date | None = None

    @property
    def dates(self) -> str:
        """The day, or the first and the last, as text."""
        return str(self.day) if self.first in (None, self.day) else f"{self.first} to {self.day}"

    def failures(self, severity: Severity) -> tuple[ExpectationResult, ...]:
        return tuple(r for r in self.results if not r.success and r.severity == severity)


ColumnKind = Literal["number", "category", "text", "time", "day", "flag", "unknown"]


@dataclass(frozen=True)
class KnownColumns:
    """What is known of a table's columns before it is built; `complete` if it has no others."""

    kinds: Mapping[str, ColumnKind] = field(default_factory=dict)
    complete: bool = False


class Validator(Protocol):
    """Judges rows by the expectation suites in `expectations/`."""

    def check(self, suite: str, columns: KnownColumns | None = None) -> None:
        """Judge no rows and one row by the suite, with columns of the kinds that are known.

        Raises UnknownName if there is no such suite, BadInput listing every problem of its file and every expectation
        that cannot be judged.
        """
        ...

    def validate(
        self, suite: str, day: dt.date, rows: pa.RecordBatchReader, key: Sequence[str], *, days: int = 1
    ) -> Verdict:
        """Judge the rows of a day by a suite such as 'flight_delay/features'; or of each of the `days` up to `day`.

        The verdict on a range is the union of the verdicts on its days: an expectation fails if it fails on one of
        them, and the result names those days. The rows of a range say of which day they are by their column `ds`; a
        day without rows is judged too. NaN is missing, as null is, and times are in UTC. Bad rows are shown with their
        key columns and the column judged, five at most. Does not raise on failed expectations; raises UnknownName if
        there is no such suite, BadInput if it is malformed, SchemaMismatch if the rows cannot be judged at all.
        """
        ...


class Services(Protocol):
    """What a stage is given to work with."""

    @property
    def source(self) -> Source: ...

    @property
    def landing(self) -> LandingZone: ...

    @property
    def warehouse(self) -> Warehouse: ...

    @property
    def lake(self) -> Lake: ...

    @property
    def engine(self) -> Engine: ...

    @property
    def tracker(self) -> Tracker: ...

    @property
    def validator(self) -> Validator: ...
