"""`tailrace impact` and `tailrace diff` on a small project under git: dbt on DuckDB, a lake and a tracker in memory."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tailrace import days, settings
from tailrace.engines.local import LocalEngine
from tailrace.errors import BadInput, BuildFailed, UnknownName
from tailrace.impact import diff_comment, diff_page, diff_words, diffing, finding, scratch, words
from tailrace.impact.predicting import Scorer
from tailrace.lake.memory import MemoryLake
from tailrace.sources.landing import Landing
from tailrace.spec import registry
from tailrace.tracking.memory import MemoryTracker
from tailrace.validation.memory import MemoryValidator
from tailrace.warehouse.duckdb import DuckDBWarehouse
from tests.stages.conftest import Loop
from tests.support import churn_rows

# dbt builds both sides again and again: half a minute.
pytestmark = pytest.mark.services

FIRST, LAST = dt.date(2024, 3, 1), dt.date(2024, 3, 12)
TRAINED, ROWS_A_DAY = dt.date(2024, 3, 9), 60
FEATURES = "select ds, customer, event_time, event_time as known_at, plan, age, visits from {{ ref('stg_visits') }}"
FILES = {
    "tailrace.toml": 'zone = "UTC"\n[use]\nvalidator = "tests.impact.test_diff:MemoryValidator"\n',
    "dbt/dbt_project.yml": "{name: tiny, profile: tiny, flags: {send_anonymous_usage_stats: false}}",
    "dbt/profiles.yml": "tiny: {target: duckdb, outputs: {duckdb: {type: duckdb, threads: 1, "
    "path: \"{{ env_var('TAILRACE_WAREHOUSE') }}\"}}}",
    "dbt/models/stg_visits.sql": "select * from {{ source('crm', 'visits') }}",
    "dbt/models/unused.sql": "select customer, visits as calls from {{ ref('stg_visits') }}",
    "dbt/models/churn_features.sql": f"{{{{ config(materialized='table') }}}}\n{FEATURES}",
    "dbt/models/churn_outcomes.sql": "select cast(ds + 1 as date) as ds, customer, left_at as known_at, gone as left "
    "from {{ ref('stg_visits') }}",
    "dbt/models/sources.yml": "sources: [{name: crm, schema: raw, tables: [{name: visits}]}]",
    "pipelines/churn.py": '''
import datetime as dt
from tailrace import (Candidate, Features, Gate, Outcome, PipelineSpec, Predictions, Review, Schedule, SearchBudget,
                      Window)

SPEC = PipelineSpec(
    name="churn", owner="growth", description="Who leaves?",
    features=Features(key=("customer",), event_time="event_time",
                      columns={"plan": "categorical", "age": "numeric", "visits": "numeric"}),
    outcome=Outcome(label="left"),
    candidates=(Candidate("logistic", "sklearn.linear_model.LogisticRegression", {"max_iter": 500}),),
    search=SearchBudget(trials=1), window=Window(days=6, holdout_days=2), gate=Gate(metric="roc_auc", floor=0.5),
    schedule=Schedule(train="0 1 * * 1", predict="30 0 * * *", timezone="UTC"),
    predictions=Predictions(threshold=0.5),
)
''',
    ".gitignore": ".tailrace/\ndbt/target/\n__pycache__/\n",
}  # fmt: skip
JUDGED = {"features": "visits", "outcomes": "left", "predictions": "score"}


@dataclass
class Shop:
    """The project with its last three days published; `run` compares the working files with the commit."""

    root: Path
    services: Any
    settings: settings.Settings

    def edit(self, file: str, old: str, new: str) -> None:
        path = self.root / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def restore(self) -> None:
        git(self.root, "checkout", "-q", ".")
        git(self.root, "clean", "-qfd")

    def impact(self, revision: str | None = None) -> finding.Impact:
        return finding.find(self.services, self.settings, revision)

    def diff(self, **options: Any) -> diffing.Diff:
        return diffing.run(self.services, self.settings, **{"days": 3, **options})


@dataclass
class Services:
    lake: Any
    tracker: Any
    validator: Any
    warehouse: Any
    engine: Any
    tables: Any = None


def git(folder: Path, *arguments: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


def landed() -> pa.Table:
    found = []
    for number, day in enumerate(days.span(FIRST, LAST)):
        rows, labels = churn_rows(ROWS_A_DAY, seed=number)
        moment = dt.datetime.combine(day, dt.time(), dt.UTC)
        found.append(
            rows.append_column("left_at", pa.array([moment + dt.timedelta(days=1)] * ROWS_A_DAY))
            .append_column("event_time", pa.array([moment] * ROWS_A_DAY))
            .append_column("ds", pa.array([day] * ROWS_A_DAY, pa.date32()))
            .append_column("customer", pa.array([f"{day}-{each:03d}" for each in range(ROWS_A_DAY)]))
            .append_column("gone", labels)
        )
    return pa.concat_tables(found)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with pytest.MonkeyPatch.context() as patch:
        root = tmp_path_factory.mktemp("shop")
        for name, text in FILES.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        (root / "expectations" / "churn").mkdir(parents=True)
        for part, column in JUDGED.items():
            rule: dict[str, Any] = {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": column}}
            if part == "features":
                rule = {"type": "expect_column_values_to_be_between", "kwargs": {"column": column, "max_value": 60}}
            suite = {"name": f"churn.{part}", "expectations": [{**rule, "severity": "critical"}]}
            (root / "expectations" / "churn" / f"{part}.json").write_text(json.dumps(suite))
        git(root, "init", "-q", "-b", "main")
        git(root, "add", ".")
        git(root, "commit", "-qm", "first")
        for name in ("TAILRACE_HOME", "TAILRACE_WAREHOUSE"):
            patch.delenv(name, raising=False)
        patch.setenv("TAILRACE_PROJECT", str(root))
        configured = settings.load()
        database = Path(configured.warehouse)
        database.parent.mkdir(parents=True, exist_ok=True)
        rows = landed()
        with duckdb.connect(str(database)) as connection:
            connection.execute("create schema raw")
            connection.register("rows", rows)
            connection.execute("create table raw.visits as select * from rows")
        warehouse = DuckDBWarehouse.from_settings(configured, landing=Landing(configured.landing, {}))
        validator = MemoryValidator(root / "expectations")
        services = Services(MemoryLake(), MemoryTracker(root / ".tailrace" / "t"), validator, warehouse, LocalEngine())
        warehouse.build(FIRST, LAST)
        loop = Loop(services, registry.get("churn"))
        loop.take(FIRST, LAST)
        loop.challenge(TRAINED)
        for day in days.span(TRAINED + dt.timedelta(days=1), LAST):
            loop.predict(day)
        yield Shop(root, services, configured)


@pytest.fixture
def shop(made: Shop) -> Iterator[Shop]:
    before = sorted(made.services.lake.commits(f"predictions/{'churn'}"), key=str)
    database = Path(made.settings.warehouse)
    content = database.read_bytes()
    yield made
    made.restore()
    assert database.read_bytes() == content
    assert sorted(made.services.lake.commits("predictions/churn"), key=str) == before
    assert list(made.settings.work.glob(f"{diffing.PREFIX}*")) == []


def test_a_comment_builds_nothing(shop):
    shop.edit("dbt/models/churn_features.sql", "select ds", "-- why\nselect  ds")
    found = shop.diff()
    assert (found.pipelines, found.built, found.failed) == ((), (), False)
    assert found.impact.nothing and "Nothing changes" in diff_words.conclusion(found)


def test_a_unit_is_loud_and_has_the_numbers_of_scoring_twice_by_hand(shop):
    shop.edit("dbt/models/churn_features.sql", "visits from", "visits * 10 as visits from")
    found = shop.diff()
    (each,) = found.pipelines
    assert {built.name for built in found.built} == {"stg_visits", "churn_features", "churn_outcomes"}
    spec, scorer = registry.get("churn"), Scorer(shop.services, "churn")
    flips = changed = 0
    for day in days.span(LAST - dt.timedelta(days=2), LAST):
        rows = shop.services.lake.read(spec.features_table, first=day, last=day).read_all().sort_by("customer")
        edited = rows.set_column(
            rows.column_names.index("visits"), "visits", pc.multiply(rows["visits"], pa.scalar(10, pa.int64()))
        )
        one, other = (scorer.scored(spec, "1", side) for side in (rows, edited))
        flips += pc.sum(pc.not_equal(one["decision"], other["decision"])).as_py()
        changed += pc.sum(pc.not_equal(one["score"], other["score"])).as_py()
    assert (each.flips, each.moved, each.rows) == (flips, changed, 3 * ROWS_A_DAY)
    assert flips > 10 and found.failed
    moved = each.features.of("visits")
    assert moved.after[2] == 10 * moved.before[2] and each.features.of("age") is None
    assert "visits" in each.left_range
    assert any("visits" in said for said in each.refusals), each.refusals
    assert {one.metric for one in each.metrics} >= {"roc_auc"} and each.metrics[0].rows > 0
    page, comment = diff_page.html(found), diff_comment.markdown(found)
    assert page.count("<img") >= 2 and "http" not in page
    assert len(comment) < diff_comment.LIMIT and "decisions flip" in comment
    json.dumps(diff_words.values(found), default=str)


def test_an_unused_column_that_is_renamed_touches_no_pipeline(shop):
    shop.edit("dbt/models/unused.sql", "as calls", "as number_of_calls")
    found = shop.impact()
    assert found.pipelines == () and [each.node.name for each in found.tables.values()] == ["unused"]
    assert "No pipeline uses" in "\n".join(words.lines(found))


def test_rows_in_another_order_are_proven_equal(shop):
    shop.edit("dbt/models/churn_features.sql", "{{ ref('stg_visits') }}", "{{ ref('stg_visits') }} order by age")
    found = shop.diff()
    assert found.pipelines[0].equal and not found.failed
    assert f"0 of {3 * ROWS_A_DAY} predictions change (proven by digest)" in diff_words.headline(found.pipelines[0])


def test_a_threshold_needs_no_build(shop):
    shop.edit("pipelines/churn.py", "threshold=0.5", "threshold=0.6")
    found = shop.diff()
    (each,) = found.pipelines
    assert found.built == () and each.features.equal
    scores = pa.concat_tables([shop.services.lake.read("predictions/churn", first=day, last=day).read_all()
                               for day in each.days])["score"].to_numpy()  # fmt: skip
    assert each.flips == ((scores >= 0.5) & (scores < 0.6)).sum() > 0


def test_what_does_not_build_is_named_with_its_side(shop):
    shop.edit("dbt/models/churn_features.sql", "age, visits", "age / no_such_column as age, visits")
    with pytest.raises(BuildFailed, match="The working files: dbt cannot build 1 of 1 models: churn_features"):
        shop.diff()


def test_a_deleted_mart_is_one_sentence(shop):
    (shop.root / "dbt/models/churn_features.sql").unlink()
    found = shop.impact()
    assert [(each.column, each.how) for each in found.pipelines[0].columns][:1] == [("*", "removed")]
    with pytest.raises(BadInput, match="The working files have no dbt model churn_features, which churn reads"):
        shop.diff()


def test_a_side_that_dbt_cannot_read_is_named(shop):
    shop.edit("dbt/models/sources.yml", "crm", "other")
    with pytest.raises(BuildFailed, match="The dbt project of the working files cannot be compared"):
        shop.impact()
    with pytest.raises(UnknownName, match="churn"):
        shop.diff(names=["chrun"])


def test_what_a_killed_diff_left_is_removed_by_the_next(tmp_path):
    left = tmp_path / "tailrace-diff-x"
    left.mkdir()
    (left / ".in-use").touch()
    with scratch.folder(tmp_path, diffing.PREFIX) as folder:
        assert not left.exists() and folder.exists()
        assert scratch.sweep(tmp_path, diffing.PREFIX) == []
    assert not folder.exists()


def test_a_policy_decides_what_fails(shop):
    from tailrace.impact.pipeline_diff import _beyond

    shop.edit("pipelines/churn.py", "threshold=0.5", "threshold=0.6")
    (each,) = shop.diff().pipelines
    spec = registry.get("churn")
    assert any("max_flips" in said for said in _beyond(spec, each))
    assert _beyond(replace(spec, review=replace(spec.review, max_flips=1.0)), each) == []
