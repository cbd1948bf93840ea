"""One night after 30, 365 and 1,825 days of history, and upkeep: neither may grow with the history.

The history is written into the log of the lake's tables directly: 200 rows a day, as a night leaves them, with the Data
Docs, the landed files and the trainings of these days. Then some nights are run by the stages themselves, each with
services of its own, as Airflow's tasks have them. dbt and Airflow are left out: `stages` and `overhead` measure them.

Limits: a night takes at most 1.2 times the seconds that it took after 30 days, upkeep at most 10 s, and a day of the
longest history at most 1.1 times the bytes of a day after 365 days.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from rich.console import Console
from rich.table import Table

from benchmarks import child
from tailrace import days
from tailrace.contracts import Commit, Pin
from tailrace.lake import manifests
from tailrace.lake.delta import DeltaLake
from tailrace.lake.parquet import DataFile, DataWriter
from tailrace.lake.records import Record
from tailrace.lake.table_version import ActiveFile, application, pin_digest
from tailrace.lineage import pins
from tailrace.settings.fields import UpkeepSettings
from tailrace.spec import Candidate, Features, Gate, Outcome, PipelineSpec, Schedule, SearchBudget, Window, zone
from tailrace.work import Work

HISTORIES = (30, 365, 1825)
ROWS, REAL_DAYS, NIGHTS, TRAINED_EVERY = 200, 12, 5, 28
FIRST = dt.date(2013, 1, 1)
LONGER, UPKEEP_SECONDS, MORE_BYTES = 1.2, 10.0, 1.1
_READ = dt.timedelta(days=120)
"""A night reads rows of no day before this: the files of older days are the same one."""
LANDED = {name: pa.schema({"key": pa.string(), "value": pa.float64()}) for name in ("orders", "items", "weather")}
SUITE = [
    {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "customer"}, "severity": "critical"},
    {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}, "severity": "critical"},
]
SPEC = PipelineSpec(
    name="churn",
    owner="growth",
    description="Who leaves?",
    features=Features(
        key=("customer",), event_time="event_time", columns={f"feature_{number}": "numeric" for number in range(20)}
    ),
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
    table.add_row("the night, CPU s", *(f"{each['night']:.3f}" for each in found.values()))
    table.add_row("upkeep, s", *(f"{each['upkeep']:.2f}" for each in found.values()))
    table.add_row("KB a day", *(f"{each['bytes'] / 1e3:.1f}" for each in found.values()))
    Console().print(table)
    return list(_missed(found))


def _missed(found: dict[int, dict[str, Any]]) -> Iterator[str]:
    shortest, longest = min(found), max(found)
    before = found[shortest]["night"]
    for count, each in found.items():
        if each["night"] > LONGER * before:
            yield (
                f"a night after {count:,} days took {each['night'] / before:.2f} times as long as after {shortest}; "
                f"at most {LONGER} times is the aim"
            )
        if each["upkeep"] > UPKEEP_SECONDS:
            yield f"upkeep after {count:,} days took {each['upkeep']:.1f} s; at most {UPKEEP_SECONDS:g} s is the aim"
    year = min((count for count in found if count >= 365), default=longest)
    if found[longest]["bytes"] > MORE_BYTES * found[year]["bytes"]:
        yield f"a day of {longest:,} takes more bytes than a day of {year}: {found[longest]['bytes']:,.0f}"


def measure(folder: str, count: str) -> dict[str, Any]:
    """Seconds of a night's steps and of upkeep, and bytes of a day, after a history of that many days."""
    root = Path(folder)
    root.mkdir(parents=True)
    home = Home(root)
    home.begin()
    last = FIRST + dt.timedelta(days=REAL_DAYS - 1)
    home.history(list(days.span(last + dt.timedelta(days=1), last + dt.timedelta(days=int(count)))))
    nights = [last + dt.timedelta(days=int(count) + number) for number in range(1, NIGHTS + 1)]
    seconds = [home.night(night) for night in nights]
    steps = {step: statistics.median(each[step] for each in seconds) for step in seconds[0]}
    began = time.perf_counter()
    upkeep = home.upkeep()
    took = time.perf_counter() - began
    stored = sum(file.stat().st_size for file in root.rglob("*") if file.is_file() and not file.is_symlink())
    return {
        "steps": steps,
        "night": sum(steps.values()),
        "upkeep": took,
        "deleted": upkeep,
        "bytes": stored / (int(count) + REAL_DAYS + NIGHTS),
    }


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
        first_days = list(days.span(FIRST, FIRST + dt.timedelta(days=REAL_DAYS - 1)))
        services = Services(self.root, first_days)
        for day in first_days:
            self._land(services, day)
            snapshot.run(self._work(services, day), day)
        work = self._work(services, first_days[-1])
        training_run = train.run(work, first_days[-1], seed=1).training_run
        evaluate.run(work, training_run)
        promote.run(work, training_run, recorded_at=dt.datetime.now(dt.UTC))
        self.night(first_days[-1])

    def night(self, day: dt.date) -> dict[str, float]:
        """Run the stages of a night; the seconds of each."""
        from tailrace.stages import audit, monitor, publish, score, snapshot, validate

        def landing(work: Work) -> None:
            services = Services(self.root, [day])
            landed = services.landing
            self._land(services, day)
            # What a build asks for, before dbt.
            landed.gaps_before(day)
            landed.check(day, day)
            landed.digests(day - dt.timedelta(days=28), day)

        steps: dict[str, Callable[[Work], Any]] = {
            "landing": landing,
            "validate": lambda work: validate.run(work, day, day),
            "snapshot": lambda work: snapshot.run(work, day),
            "score": lambda work: score.run(work, day),
            "audit": lambda work: audit.run(work, day),
            "publish": lambda work: publish.run(work, day),
            "monitor": lambda work: monitor.run(work, day),
        }
        found = {}
        for name, step in steps.items():
            work = self._work(Services(self.root, [day]), day)
            # Processor time: it is the same on a busy machine.
            began = time.process_time()
            step(work)
            found[name] = time.process_time() - began
        return found

    def upkeep(self) -> int:
        """The upkeep of everything; how many files it deleted."""
        from tailrace.operations import maintenance

        services = Services(self.root, [])
        rows = maintenance.everything(services, [SPEC], UpkeepSettings(), self.root / "data_docs")
        return sum(row.deleted for row in rows)

    def history(self, history: Sequence[dt.date]) -> None:
        """What the nights of these days would have left."""
        services = Services(self.root, [])
        lake = services.lake
        tables = (SPEC.features_table, SPEC.outcomes_table, SPEC.predictions_table, SPEC.performance_table)
        made: dict[str, dict[dt.date, Pin]] = {}
        for table in tables:
            made[table] = _write_history(lake, table, history, made.get(SPEC.features_table, {}))
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

    def _land(self, services: Services, day: dt.date) -> None:
        for table in LANDED:
            rows = pa.table({"key": ["a", "b"], "value": [1.0, 2.0]}, schema=LANDED[table])
            services.landing.write(table, day, rows)

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
    """Parts of an installation, opened anew; the warehouse has these days."""

    def __init__(self, root: Path, of_days: Sequence[dt.date]) -> None:
        self._root, self._days = root, of_days

    @cached_property
    def source(self) -> Any:
        raise NotImplementedError

    @cached_property
    def landing(self) -> Any:
        from tailrace.sources.landing import Landing

        return Landing(str(self._root / "landing"), LANDED)

    @cached_property
    def warehouse(self) -> Any:
        from tailrace.warehouse.memory import MemoryWarehouse

        tables = {f"{SPEC.name}_{part}": _rows(part, self._days) for part in ("features", "outcomes")}
        made = MemoryWarehouse(tables, empty={FIRST: "there were no days before"})
        for day in self._days:
            made.build(day, day)
        return made

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


def _rows(part: str, of_days: Sequence[dt.date]) -> pa.Table:
    """The mart's rows of these days; outcomes are those of the day before."""
    return pa.concat_tables([_features(day) if part == "features" else _outcomes(day) for day in of_days or [FIRST]])


def _features(day: dt.date) -> pa.Table:
    random = np.random.default_rng(day.toordinal())
    at = days.cutoff(day, zone(SPEC))
    columns = {name: random.normal(size=ROWS) for name in SPEC.features.columns}
    moments = pa.array([at] * ROWS, pa.timestamp("us", tz="UTC"))
    return pa.table(
        {**_key(day), **columns, "event_time": moments, "known_at": moments, "ds": pa.array([day] * ROWS, pa.date32())}
    )


def _outcomes(day: dt.date) -> pa.Table:
    before = day - dt.timedelta(days=1)
    labels = np.asarray(_features(before)["feature_0"]) + np.random.default_rng(1).normal(size=ROWS) > 0
    known = pa.array([days.cutoff(day, zone(SPEC))] * ROWS, pa.timestamp("us", tz="UTC"))
    return pa.table({**_key(before), "left": labels, "known_at": known, "ds": pa.array([day] * ROWS, pa.date32())})


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
