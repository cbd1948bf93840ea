"""How dbt's results and failures come out of DuckDBWarehouse, on a project of a few lines."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import duckdb
import pytest

from tailrace.errors import BuildFailed, StorageFull, UpstreamMissing, WarehouseBusy
from tailrace.spec import Mart
from tailrace.warehouse.duckdb import DuckDBWarehouse

DAY, EMPTY, LATER = dt.date(2013, 1, 1), dt.date(2013, 1, 2), dt.date(2013, 1, 3)
PROFILE = """
tiny:
  target: duckdb
  outputs:
    duckdb: {type: duckdb, path: "{{ env_var('TAILRACE_WAREHOUSE') }}"}
"""
SOUND = """
{{ config(materialized='incremental') }}
select date '{{ env_var("BUILD_FIRST_DAY") }}' as ds, '{{ env_var("TAILRACE_LANDING") }}' as landing
"""


class Sound:
    """A landing zone with nothing to complain about."""

    location = "/landing/zone"
    look_back_days = 28

    def check(self, first: dt.date, last: dt.date) -> None:
        pass

    def gaps_before(self, day: dt.date) -> tuple[dt.date, ...]:
        return ()

    def marks(self, first: dt.date, last: dt.date) -> dict[tuple[str, dt.date], str]:
        return {("flights", first): "landed once"}

    def empty(self, first: dt.date, last: dt.date) -> dict[dt.date, tuple[str, ...]]:
        return {EMPTY: ("schedules", "weather")} if first <= EMPTY <= last else {}


class Skipped(Sound):
    """A landing zone that lacks every second day since the one it begins before."""

    def gaps_before(self, day: dt.date) -> tuple[dt.date, ...]:
        begun = dt.date(2012, 12, 2)
        lacking = (begun + dt.timedelta(days=n) for n in range(0, 60, 2))
        return tuple(each for each in lacking if day - dt.timedelta(days=28) <= each < day)


class Absent(Sound):
    def check(self, first: dt.date, last: dt.date) -> None:
        raise UpstreamMissing("nothing was landed")


def warehouse(folder: Path, landing: Sound | None = None, **models: str) -> DuckDBWarehouse:
    """A project with the given models, each with the file of its tests if that is given too."""
    project = folder / "project"
    (project / "models").mkdir(parents=True)
    (project / "tests").mkdir()
    (project / "dbt_project.yml").write_text("{name: tiny, profile: tiny, flags: {send_anonymous_usage_stats: false}}")
    (project / "profiles.yml").write_text(PROFILE)
    for name, sql in models.items():
        kind = "tests" if name.startswith("assert_") else "models"
        (project / kind / f"{name}.sql").write_text(sql)
    return DuckDBWarehouse(
        folder / "data" / "tiny.duckdb", project=project, landing=landing or Sound(), work=folder / "work"
    )


def test_a_build_gives_a_result_per_node(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    environment, here = dict(os.environ), Path.cwd()
    tiny = warehouse(tmp_path, flights=SOUND, assert_rows="select * from {{ ref('flights') }} where ds is null")

    results = {result.name: result for result in tiny.build(DAY, DAY)}

    assert results["flights"].kind == "model"
    assert results["flights"].status == "success"
    assert results["flights"].rows == 1
    assert results["flights"].seconds > 0
    assert results["assert_rows"].kind == "test"
    assert results["assert_rows"].rows == 0
    assert tiny.read("flights", DAY, []).read_all().to_pylist() == [{"ds": DAY, "landing": "/landing/zone"}]
    assert (dict(os.environ), Path.cwd()) == (environment, here)
    assert capfd.readouterr() == ("", "")
    assert (tmp_path / "work" / "logs" / "dbt.log").exists()


def test_every_failed_node_is_named(tmp_path: Path) -> None:
    tiny = warehouse(
        tmp_path,
        flights=SOUND,
        broken="select no_such_column from (select 1 as one)",
        behind="select * from {{ ref('broken') }}",
        assert_none="select * from {{ ref('flights') }}",
    )

    with pytest.raises(BuildFailed) as failure:
        tiny.build(DAY, DAY)

    message = str(failure.value)
    assert "dbt failed on 2 of 4 nodes for 2013-01-01:" in message
    assert "model broken: " in message
    assert "no_such_column" in message
    assert "test assert_none: 1 rows fail; to see them, run the query in " in message
    assert "behind" not in message


def test_a_project_that_dbt_cannot_read_fails_the_build(tmp_path: Path) -> None:
    tiny = warehouse(tmp_path, flights="select * from {{ ref('nowhere') }}")

    with pytest.raises(BuildFailed, match=r"dbt did not start building 2013-01-01: (.|\n)*nowhere"):
        tiny.build(DAY, DAY)


def test_dbt_is_not_started_on_a_landing_that_is_not_sound(tmp_path: Path) -> None:
    with pytest.raises(UpstreamMissing):
        warehouse(tmp_path, Absent(), flights=SOUND).build(DAY, DAY)
    assert not (tmp_path / "data").exists()


def test_days_that_were_skipped_in_the_look_back_stop_the_build(tmp_path: Path) -> None:
    with pytest.raises(UpstreamMissing) as missing:
        warehouse(tmp_path, Skipped(), flights=SOUND).build(DAY, DAY + dt.timedelta(days=1))

    assert str(missing.value) == (
        "The build of 2013-01-01 looks back 28 days, and 14 of these days were not landed: 2012-12-04, 2012-12-06, "
        "2012-12-08 and 11 more. Every later night is refused until they are. Catch up from the first missed night on, "
        "with one command: tailrace warehouse --date 2012-12-02 --to 2013-01-02; or in Airflow: use the button Catch "
        "up on the page Models, or trigger the DAG warehouse with First day 2012-12-02 and Day 2013-01-02."
    )
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    "complaint",
    [
        'IO Error: Could not write file "tiny.duckdb": No space left on device',
        "Out of Memory Error: failed to offload data block of size 64.0 KiB (2.6 MiB/2.6 MiB used)",
        "Disk quota exceeded",
    ],
)
def test_a_full_disk_is_not_a_failed_model(tmp_path: Path, complaint: str) -> None:
    tiny = warehouse(tmp_path, flights=f"{{{{ config(materialized='table') }}}} select error('{complaint}') as ds")

    with pytest.raises(StorageFull, match=r"could not build 2013-01-01: .*flights.*Free space for .*tiny\.duckdb"):
        tiny.build(DAY, DAY)


def test_a_full_disk_under_the_files_of_dbt_is_no_failed_build(tmp_path: Path) -> None:
    tiny = warehouse(tmp_path, flights=SOUND)
    target = tmp_path / "work" / "target"
    target.mkdir(parents=True)
    (target / "manifest.json").symlink_to("/dev/full")

    with pytest.raises(StorageFull, match="No space left on device"):
        tiny.build(DAY, DAY)


BUILD = """
import datetime as dt, sys
from pathlib import Path
from types import SimpleNamespace
import dbt.adapters.duckdb.connections, dbt.cli.main
from tailrace.errors import WarehouseBusy
from tailrace.spec import Mart
from tailrace.warehouse.duckdb import DuckDBWarehouse

folder, day = Path(sys.argv[1]), dt.date(2013, 1, 1)
sound = SimpleNamespace(
    location="/landing/zone",
    check=lambda first, last: None,
    look_back_days=28,
    gaps_before=lambda day: (),
    marks=lambda first, last: {},
    empty=lambda first, last: {},
)
tiny = DuckDBWarehouse(
    folder / "data" / "tiny.duckdb", project=folder / "project", landing=sound, work=folder / "work"
)
print("ready", flush=True)
input()
try:
    tiny.build(day, day)
    print("built")
except WarehouseBusy as error:
    print(error)
"""
HOLD = """
import fcntl, sys
lock = open(sys.argv[1], "w")
fcntl.flock(lock, fcntl.LOCK_EX)
print("ready", flush=True)
input()
"""


def children(script: str, argument: Path, count: int) -> list[subprocess.Popen[str]]:
    """Processes that got as far as to print 'ready'; each goes on when it is given a line."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(argument)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(count)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    return processes


def test_of_two_builds_at_once_one_is_refused_before_dbt_starts(tmp_path: Path) -> None:
    tiny = warehouse(tmp_path, flights=SOUND)
    builders = children(BUILD, tmp_path, 2)
    for builder in builders:
        assert builder.stdin is not None
        builder.stdin.write("\n")
        builder.stdin.flush()

    refusal, done = sorted(builder.communicate(timeout=120)[0] for builder in builders)

    assert "tiny.duckdb is being built by another process" in refusal
    assert done == "built\n"
    assert tiny.read("flights", DAY, []).read_all().num_rows == 1


def test_a_build_that_was_killed_leaves_the_warehouse_free(tmp_path: Path) -> None:
    tiny = warehouse(tmp_path, flights=SOUND)
    lock = tmp_path / "work" / "target.lock"
    lock.parent.mkdir()
    (holder,) = children(HOLD, lock, 1)
    with holder:
        with pytest.raises(WarehouseBusy, match=f"another process, which holds {lock}"):
            tiny.build(DAY, DAY)
        assert list(lock.parent.iterdir()) == [lock]
        holder.kill()

    assert {result.name for result in tiny.build(DAY, DAY)} == {"flights"}


def test_the_days_of_each_mart_are_recorded_with_the_reason_why_one_may_be_empty(tmp_path: Path) -> None:
    metas = {
        "gates": "{'may_be_empty': true}",
        "flights": "{'rows_from': 'schedules'}",
        "delays": "{'rows_from': ['weather', 'schedules']}",
        "both": "{'rows_from': ['schedules', 'arrivals']}",
        "joined": "{}",
    }
    models = {name: SOUND.replace("'incremental'", f"'incremental', meta={meta}") for name, meta in metas.items()}
    tiny = warehouse(tmp_path, planes="{{ config(materialized='table') }} select 1 as one", **models)
    tiny.build(DAY, EMPTY)
    says_so = {**dict.fromkeys(metas, ""), "gates": "its dbt model declares that its days may be empty"}
    assert tiny.built(DAY) == says_so
    one, two = (f"the landed files of {tables} have no rows" for tables in ("schedules", "schedules, weather"))
    assert tiny.built(EMPTY) == {**says_so, "flights": one, "delays": two}
    assert tiny.built(LATER) == {}
    tiny.record(LATER, LATER)
    assert tiny.built(LATER) == tiny.built(DAY)


def test_a_mart_of_a_pipeline_is_recorded_however_it_is_materialised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marts = [Mart(table=table) for table in ("flights", "main.gates", "no_such")]
    pipelines = [SimpleNamespace(marts=marts)]
    monkeypatch.setattr("tailrace.warehouse.dbt.registry.load", lambda **options: (pipelines, ()))
    model = "{{{{ config(materialized='{}', meta={{'may_be_empty': true}}) }}}} select date '1999-01-01' as ds"
    models = {"flights": "view", "gates": "table", "planes": "view"}
    tiny = warehouse(tmp_path, **{name: model.format(kind) for name, kind in models.items()})
    tiny.build(DAY, DAY)
    reason = "its dbt model declares that its days may be empty"
    assert tiny.built(DAY) == {"flights": reason, "main.gates": reason}
    tiny.record(LATER, LATER)
    assert tiny.built(LATER) == tiny.built(DAY)


def test_marts_that_are_not_needed_are_left_out_with_what_only_they_are_made_from(tmp_path: Path) -> None:
    def made_from(*models: str) -> str:
        return SOUND + "".join(f"-- {{{{ ref('{model}') }}}}\n" for model in models)

    table = "{{ config(materialized='table') }} select 1 as one"
    tiny = warehouse(
        tmp_path,
        days=table,
        gates=table,
        planes=table,
        flights=made_from("days", "planes"),
        delays=made_from("days", "gates"),
        report=made_from("delays"),
        census=made_from("planes"),
        assert_gates="select * from {{ ref('gates') }} where one is null",
        assert_days="select * from {{ ref('days') }} where one is null",
    )
    built = {result.name for result in tiny.build(DAY, DAY, without=["delays", "no_such_mart"])}
    assert built == {"days", "planes", "flights", "census", "assert_days"}
    assert set(tiny.built(DAY) or {}) == {"flights", "census"}
    assert {result.name for result in tiny.build(LATER, LATER, without=["no_such_mart"])} > built
    wanted = {result.name for result in tiny.build(LATER, LATER, only=["delays"])}
    assert wanted == {"days", "gates", "delays", "assert_gates", "assert_days"}


def test_what_was_built_is_recorded_where_another_model_failed(tmp_path: Path) -> None:
    broken = "{{ config(materialized='incremental') }} select no_such_column from (select 1 as one)"
    tiny = warehouse(
        tmp_path,
        flights=SOUND,
        gates=broken,
        delays=SOUND,
        assert_delays="select * from {{ ref('delays') }}",
        texts=SOUND + "-- {{ ref('unsound') }}",
        unsound="{{ config(materialized='table') }} select 1 as one",
        assert_unsound="select * from {{ ref('unsound') }}",
    )
    with pytest.raises(BuildFailed):
        tiny.build(DAY, DAY)
    assert tiny.built(DAY) == {"flights": ""}, "only what succeeded with its tests"


def test_a_warehouse_of_an_earlier_release_has_no_records(tmp_path: Path) -> None:
    tiny = warehouse(tmp_path, flights=SOUND)
    tiny.build(DAY, DAY)
    with duckdb.connect(tmp_path / "data" / "tiny.duckdb") as connection:
        connection.execute("drop table _tailrace_builds")
    assert tiny.built(DAY) is None
    tiny.build(LATER, LATER)
    assert (tiny.built(DAY), tiny.built(LATER)) == ({}, {"flights": ""})


def test_a_manifest_of_another_version_of_dbt_is_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def dbt(self: DuckDBWarehouse, command: list[str], variables: object, target: Path, hear: object) -> object:
        asked.append(command)
        (target / "manifest.json").write_text(json.dumps({"metadata": {"dbt_version": version("dbt-core")}}))
        return SimpleNamespace(success=True)

    monkeypatch.setattr(DuckDBWarehouse, "_dbt", dbt)
    made = warehouse(tmp_path, flights=SOUND)
    manifest = made.parse()
    assert made.parse() == manifest
    assert len(asked) == 1, "nothing changed"
    manifest.write_text(manifest.read_text().replace(version("dbt-core"), "1.0.0"))
    made.parse()
    assert asked == [["parse"], ["parse"]]


def test_a_build_says_which_version_of_dbt_the_project_wants(tmp_path: Path) -> None:
    made = warehouse(tmp_path, flights=SOUND)
    (tmp_path / "project" / "dbt_project.yml").write_text("{name: tiny, profile: tiny, require-dbt-version: '>=9.0.0'}")
    with pytest.raises(BuildFailed, match=r"Required version of dbt for 'tiny'.* Install a version of dbt-core that"):
        made.build(DAY, DAY)
    with pytest.raises(BuildFailed, match=r"dbt cannot read the project .* Install a version of dbt-core that"):
        made.parse()
