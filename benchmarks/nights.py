"""One night after 30, 365 and 1,825 days of history, and upkeep: neither may grow with the history.

A night is all that is done of a day: its extracts are landed, dbt builds and tests two marts in DuckDB, and the stages
take, score, judge, publish and monitor 200 rows. Each step runs in a process of its own, forked from one that has
imported the libraries, as tasks are forked from the warm scheduler (ADR 0029). Airflow is left out: `overhead` measures
it. The marts are those of a small dbt project (`nights_dbt`) with the macros and the tests of this repository's: a
build reads the landed files of its day and of the 28 days before it.

The history is not run but written: into the log of the lake's tables, into the marts and the record of their builds by
SQL, with the landed files, the Data Docs and the trainings of these days.

Limits: a night with its build takes at most 1.2 times the processor time that it took after 30 days, upkeep at most
10 s, and a day of the longest history at most 1.1 times the bytes of a day after 365 days. The same ratio of the night
without its build is printed too; it has no limit of its own.
"""

from __future__ import annotations

import datetime as dt
import importlib
import json
import multiprocessing
import os
import statistics
import tempfile
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from rich.console import Console
from rich.table import Table

from benchmarks import child, nights_dbt
from tailrace import days
from tailrace.contracts import Commit, Pin
from tailrace.lake import manifests
from tailrace.lake.delta import DeltaLake
from tailrace.lake.parquet import DataFile, DataWriter
from tailrace.lake.records import Record
from tailrace.lake.table_version import ActiveFile, application, pin_digest
from tailrace.lineage import pins
from tailrace.orchestration import warm_libraries
from tailrace.settings.fields import UpkeepSettings
from tailrace.spec import Candidate, Features, Gate, Outcome, PipelineSpec, Schedule, SearchBudget, Window, zone
from tailrace.work import Work

HISTORIES = (30, 365, 1825)
STEPS = ("landing", "build", "validate", "snapshot", "score", "audit", "publish", "monitor")
ROWS, REAL_DAYS, NIGHTS, TRAINED_EVERY = 200, 12, 3, 28
FIRST = dt.date(2013, 1, 1)
LONGER, UPKEEP_SECONDS, MORE_BYTES = 1.2, 10.0, 1.1
_READ = dt.timedelta(days=120)
"""A night reads rows of no day before this: the files of older days are the same one."""
_MOMENT = pa.timestamp("us", tz="UTC")
FEATURES = [f"feature_{number}" for number in range(20)]
LANDED = {
    "customers": pa.schema(
        {"customer": pa.string(), **dict.fromkeys(FEATURES, pa.float64()), "event_time": _MOMENT, "known_at": _MOMENT}
    ),
    "leavings": pa.schema({"customer": pa.string(), "left": pa.bool_(), "known_at": _MOMENT}),
    "prices": pa.schema({"item": pa.string(), "price": pa.float64()}),
}
SUITE = [
    {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "customer"}, "severity": "critical"},
    {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}, "severity": "critical"},
]
SPEC = PipelineSpec(
    name="churn",
    owner="growth",
    description="Who leaves?",
    features=Features(key=("customer",), event_time="event_time", columns=dict.fromkeys(FEATURES, "numeric")),
    outcome=Outcome(label="left", late_days=7),
    candidates=(Candidate("logistic", "sklearn.linear_model.LogisticRegression"),),
    window=Window(days=7, holdout_days=2),
    search=SearchBudget(trials=1),
    gate=Gate(),
    schedule=Schedule(train=None, predict="30 0 * * *"),
)


def run(histories: Sequence[int] = HISTORIES) -> list[str]:
    """Print the table; what was missed."""
    with tempfile.TemporaryDirectory(prefix="tailrace-nights-") as folder:
        found = {count: child.call("benchmarks.nights", Path(folder) / str(count), count) for count in histories}
    shortest, *_ = found
    table = Table("", *(f"{count:,} days" for count in found), title="A night, by its history", title_justify="left")
    for step in found[shortest]["steps"]:
        table.add_row(f"{step}, CPU s", *(f"{each['steps'][step]:.3f}" for each in found.values()))
    for name, seconds in (("the night", _night), ("without its build", _without_build)):
        table.add_row(f"{name}, CPU s", *(f"{seconds(each):.3f}" for each in found.values()))
        before = seconds(found[shortest])
        table.add_row(
            f"times that after {shortest:,} days", *(f"{seconds(each) / before:.2f}" for each in found.values())
        )
    table.add_row("upkeep, s", *(f"{each['upkeep']:.2f}" for each in found.values()))
    table.add_row("KB a day", *(f"{each['bytes'] / 1e3:.1f}" for each in found.values()))
    Console().print(table)
    return list(_missed(found))


def _missed(found: dict[int, dict[str, Any]]) -> Iterator[str]:
    shortest, longest = min(found), max(found)
    before = _night(found[shortest])
    for count, each in found.items():
        if _night(each) > LONGER * before:
            yield (
                f"a night after {count:,} days took {_night(each) / before:.2f} times as long as after {shortest}; "
                f"at most {LONGER} times is the aim"
            )
        if each["upkeep"] > UPKEEP_SECONDS:
            yield f"upkeep after {count:,} days took {each['upkeep']:.1f} s; at most {UPKEEP_SECONDS:g} s is the aim"
    year = min((count for count in found if count >= 365), default=longest)
    if found[longest]["bytes"] > MORE_BYTES * found[year]["bytes"]:
        yield f"a day of {longest:,} takes more bytes than a day of {year}: {found[longest]['bytes']:,.0f}"


def _night(found: dict[str, Any]) -> float:
    return sum(found["steps"].values())


def _without_build(found: dict[str, Any]) -> float:
    return _night(found) - found["steps"]["build"]


def measure(folder: str, count: str) -> dict[str, Any]:
    """Seconds of a night's steps and of upkeep, and bytes of a day, after a history of that many days."""
    root = Path(folder)
    root.mkdir(parents=True)
    home = Home(root)
    warm_libraries.load()
    last = FIRST + dt.timedelta(days=REAL_DAYS - 1)
    _forked(home.begin)
    home.night(last)
    _forked(lambda: home.history(list(days.span(last + dt.timedelta(days=1), last + dt.timedelta(days=int(count))))))
    nights = [last + dt.timedelta(days=int(count) + number) for number in range(1, NIGHTS + 1)]
    seconds = [home.night(night) for night in nights]
    steps = {step: statistics.median(each[step] for each in seconds) for step in seconds[0]}
    upkeep = _forked(home.upkeep)
    stored = sum(file.stat().st_size for file in root.rglob("*") if file.is_file() and not file.is_symlink())
    return {
        "steps": steps,
        "upkeep": upkeep,
        "bytes": stored / (int(count) + REAL_DAYS + NIGHTS),
    }


def _forked(do: Callable[[], Any]) -> Any:
    """What `do` returns, called in a fork of this process, where nothing may have been used but imported."""
    context = multiprocessing.get_context("fork")
    answer, sent = context.Pipe(duplex=False)
    process = context.Process(target=lambda: sent.send(do()))
    process.start()
    sent.close()
    try:
        return answer.recv()
    except EOFError as error:
        raise RuntimeError("A part of the benchmark failed; its error is above.") from error
    finally:
        process.join()


@dataclass(frozen=True)
class Home:
    """An installation in one folder."""

    root: Path

    def begin(self) -> None:
        """The first days, by the stages themselves: what the history is copied from."""
        from tailrace.stages import evaluate, promote, snapshot, train

        for part in ("features", "outcomes", "predictions"):
            suite = self.root / "expectations" / SPEC.name / f"{part}.json"
            suite.parent.mkdir(parents=True, exist_ok=True)
            suite.write_text(json.dumps({"name": f"{SPEC.name}.{part}", "expectations": SUITE}))
        nights_dbt.write(self.root / "dbt", FEATURES)
        first_days = list(days.span(FIRST, FIRST + dt.timedelta(days=REAL_DAYS - 1)))
        services = Services(self.root)
        for day in first_days:
            self._land(services, day)
        services.warehouse.build(first_days[0], first_days[-1])
        for day in first_days:
            snapshot.run(self._work(services, day), day)
        work = self._work(services, first_days[-1])
        training_run = train.run(work, first_days[-1], seed=1).training_run
        evaluate.run(work, training_run)
        promote.run(work, training_run, recorded_at=dt.datetime.now(dt.UTC))

    def night(self, day: dt.date) -> dict[str, float]:
        """Run the steps of a night; the processor seconds of each."""
        return {name: _forked(partial(self._step, name, day)) for name in STEPS}

    def _step(self, name: str, day: dt.date) -> float:
        """Run a step; its processor seconds, which differ less than the clock's on a busy machine."""
        began = time.process_time()
        work = self._work(Services(self.root), day)
        if name == "landing":
            self._land(work.services, day)
        elif name == "build":
            work.services.warehouse.build(day, day, work.run_id)
        else:
            # A task imports its stage, not the process that it is forked from.
            stage = importlib.import_module(f"tailrace.stages.{name}")
            stage.run(work, day, *([day] if name == "validate" else []))
        return time.process_time() - began

    def upkeep(self) -> float:
        """Run the upkeep of everything; the seconds that it took."""
        from tailrace.operations import maintenance

        began = time.perf_counter()
        deque(maintenance.everything(Services(self.root), [SPEC], UpkeepSettings(), self.root / "data_docs"), maxlen=0)
        return time.perf_counter() - began

    def history(self, history: Sequence[dt.date]) -> None:
        """What the nights of these days would have left."""
        services = Services(self.root)
        lake = services.lake
        tables = (SPEC.features_table, SPEC.outcomes_table, SPEC.predictions_table, SPEC.performance_table)
        made: dict[str, dict[dt.date, Pin]] = {}
        for table in tables:
            made[table] = _write_history(lake, table, history, made.get(SPEC.features_table, {}))
        nights_dbt.insert_history(self.root / "warehouse.duckdb", history[0] - dt.timedelta(days=1), history)
        docs = self._docs_of(FIRST + dt.timedelta(days=REAL_DAYS - 1))
        for number, day in enumerate(history):
            self._link_landed(day)
            self._link_docs(docs, day)
            if number % TRAINED_EVERY == 0:
                run = services.tracker.start_run(SPEC.name, f"training {day}", {"tailrace.day": str(day)})
                services.tracker.log_inputs(run, {"features": made[SPEC.features_table][day]})
                services.tracker.end_run(run, "finished")

    def _work(self, services: Services, day: dt.date) -> Work:
        return Work(services=services, spec=SPEC, run_id=f"night-{day}", request={})

    def _land(self, services: Any, day: dt.date) -> None:
        prices = pa.table({"item": ["a", "b"], "price": [1.0, 2.0]})
        rows = {"customers": _customers(day), "leavings": _leavings(day), "prices": prices}
        for table in LANDED:
            services.landing.write(table, day, rows[table])

    def _link_landed(self, day: dt.date) -> None:
        for table in LANDED:
            made = self.root / "landing" / table / f"ds={day}" / "part-0.parquet"
            made.parent.mkdir(parents=True)
            os.link(self.root / "landing" / table / f"ds={FIRST}" / "part-0.parquet", made)

    def _docs_of(self, day: dt.date) -> list[Path]:
        """The page and the result of each suite of a day."""
        folders = (self.root / "data_docs" / folder for folder in ("validations", "results"))
        return [file for folder in folders for file in folder.rglob(f"*/{day}/*/*")]

    def _link_docs(self, files: Sequence[Path], day: dt.date) -> None:
        """The same, as validations of another day leave them."""
        copied = FIRST + dt.timedelta(days=REAL_DAYS - 1)
        for file in files:
            made = Path(str(file).replace(str(copied), str(day)).replace(f"{copied:%Y%m%d}", f"{day:%Y%m%d}"))
            made.parent.mkdir(parents=True, exist_ok=True)
            os.link(file, made)


class Services:
    """Parts of an installation, opened anew."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @cached_property
    def source(self) -> Any:
        raise NotImplementedError

    @cached_property
    def landing(self) -> Any:
        from tailrace.sources.landing import Landing

        return Landing(str(self._root / "landing"), LANDED)

    @cached_property
    def warehouse(self) -> Any:
        from tailrace.warehouse.duckdb import DuckDBWarehouse

        return DuckDBWarehouse(
            self._root / "warehouse.duckdb",
            project=self._root / "dbt",
            landing=self.landing,
            work=self._root / "work" / "dbt",
        )

    @cached_property
    def lake(self) -> DeltaLake:
        return DeltaLake(str(self._root / "lake"))

    @cached_property
    def engine(self) -> Any:
        from tailrace.engines.local import LocalEngine

        return LocalEngine()

    @cached_property
    def tracker(self) -> Any:
        from tailrace.tracking.mlflow import MlflowTracker

        return MlflowTracker(f"sqlite:///{self._root}/mlflow.db", str(self._root / "artifacts"))

    @cached_property
    def validator(self) -> Any:
        from tailrace.validation.great_expectations import GreatExpectationsValidator

        return GreatExpectationsValidator(self._root / "expectations", self._root / "data_docs")


def _customers(day: dt.date) -> pa.Table:
    random = np.random.default_rng(day.toordinal())
    moments = pa.array([days.cutoff(day, zone(SPEC))] * ROWS, _MOMENT)
    columns = {name: random.normal(size=ROWS) for name in FEATURES}
    return pa.table({**_key(day), **columns, "event_time": moments, "known_at": moments})


def _leavings(day: dt.date) -> pa.Table:
    """Who of the customers of the day before left."""
    before = day - dt.timedelta(days=1)
    left = np.asarray(_customers(before)["feature_0"]) + np.random.default_rng(1).normal(size=ROWS) > 0
    known = pa.array([days.cutoff(day, zone(SPEC))] * ROWS, _MOMENT)
    return pa.table({**_key(before), "left": left, "known_at": known})


def _key(day: dt.date) -> dict[str, Any]:
    return {"customer": [f"{day}-{number:05d}" for number in range(ROWS)]}


def _write_history(
    lake: DeltaLake, table: str, history: Sequence[dt.date], features: dict[dt.date, Pin]
) -> dict[dt.date, Pin]:
    """Publish a copy of the table's last day as each of these days; the pin of each. It writes the commits itself."""
    last, commit = max(lake.days(table).items())
    rows = lake.read(table, first=last, last=last).read_all()
    store, version = lake.tables.files(table), lake.tables.open(table).number
    root = Path(lake.tables.uri(table))
    oldest: DataFile | None = None
    found = {}
    for day in history:
        version += 1
        folder = f"ds={day}/run-history-{uuid.uuid4().hex[:8]}"
        if oldest is None or history[-1] - day < _READ:
            with DataWriter(store, folder, rows.schema, doing="Writing history") as writer:
                writer.write(_shifted(rows, day - last).combine_chunks())
                (file,) = writer.finish()
            oldest = oldest or file
        else:
            file = replace(oldest, path=f"{folder}/{Path(oldest.path).name}")
            (root / folder).mkdir(parents=True)
            os.link(root / oldest.path, root / file.path)
        metadata = _metadata(commit, features.get(day))
        record = Record(
            kind="publish",
            id=uuid.uuid4().hex,
            files={file.path: file.sha256},
            day=day,
            run_id="history",
            number=1,
            rows=file.rows,
            digest=manifests.content_digest((file,)),
            metadata=metadata,
        )
        # As old as it would be, for upkeep.
        seconds = time.time() - (history[-1] - day).total_seconds()
        os.utime(root / file.path, (seconds, seconds))
        at = int(seconds * 1000)
        actions = [
            {"commitInfo": {"timestamp": at, "operation": "WRITE", "userMetadata": record.to_json()}},
            {
                "add": {
                    "path": file.path,
                    "partitionValues": {"ds": str(day)},
                    "size": file.size,
                    "modificationTime": at,
                    "dataChange": True,
                    "stats": file.stats,
                }
            },
            {"txn": {"appId": application(day), "version": 1}},
        ]
        store.put(f"_delta_log/{version:020d}.json", "\n".join(map(json.dumps, actions)).encode())
        active = ActiveFile(path=file.path, size=file.size, rows=file.rows, day=day, modified=at)
        found[day] = Pin(
            table=table,
            version=str(version),
            first=day,
            last=day,
            rows=file.rows,
            files=1,
            digest=pin_digest([active]),
        )
    DeltaTable(lake.tables.uri(table)).create_checkpoint()
    return found


def _shifted(rows: pa.Table, by: dt.timedelta) -> pa.Table:
    """The rows with later keys, times and days."""
    for number, field in enumerate(rows.schema):
        column = rows[field.name]
        if field.name == "customer":
            was = dt.date.fromisoformat(column[0].as_py()[:10])
            column = pc.replace_substring(column, str(was), str(was + by))
        elif pa.types.is_timestamp(field.type) or pa.types.is_date32(field.type):
            column = pc.add(column, pa.scalar(by, pa.duration("us"))).cast(field.type)
        rows = rows.set_column(number, field, column)
    return rows


def _metadata(commit: Commit, features: Pin | None) -> dict[str, str]:
    """What the copied commit says, with the features of the day."""
    own = {"rows", "digest", "ds", "run_id"}
    said = {name: text for name, text in commit.metadata.items() if name not in own}
    return said | ({"features_pin": pins.to_json(features)} if features and "features_pin" in said else {})
