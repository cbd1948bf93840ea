"""`tailrace impact` and `tailrace diff` on a small project under git: dbt on DuckDB, a lake and a tracker in memory."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tailrace import days
from tailrace.errors import BadInput, BuildFailed, UnknownName
from tailrace.impact import diff_comment, diff_page, diff_words, diffing, scratch, words
from tailrace.impact.predicting import Scorer
from tailrace.spec import registry
from tests.impact import small_project
from tests.impact.small_project import FILES, LAST, ROWS_A_DAY, Shop

# dbt builds both sides again and again: half a minute.
pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with pytest.MonkeyPatch.context() as patch:
        yield small_project.made(tmp_path_factory.mktemp("shop"), patch, FILES, {"visits": small_project.landed()})


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


def test_a_model_in_a_folder_named_logs_is_read_like_any_other(shop):
    (shop.root / "dbt/models/logs").mkdir()
    (shop.root / "dbt/models/stg_visits.sql").rename(shop.root / "dbt/models/logs/stg_visits.sql")
    small_project.git(shop.root, "add", ".")
    small_project.git(shop.root, "commit", "-qm", "moved")
    shop.impact()
    shop.edit("dbt/models/logs/stg_visits.sql", "select *", "select * replace (visits + 1 as visits)")
    assert [each.pipeline for each in shop.impact().pipelines] == ["churn"]


DATA_TESTS = """
models:
  - name: churn_features
    columns:
      - name: plan
        data_tests:
          - not_null
          - accepted_values: {arguments: {values: %s}}
"""


def test_a_dbt_test_that_fails_after_the_edit_would_stop_tonights_build(shop):
    yml = shop.root / "dbt/models/churn_features.yml"
    plans = sorted(set(small_project.landed()["plan"].to_pylist()) - {None})
    yml.write_text(DATA_TESTS % plans)
    small_project.git(shop.root, "add", ".")
    small_project.git(shop.root, "commit", "-qm", "tests")

    yml.write_text(DATA_TESTS % plans[1:])
    (touched,) = shop.impact().pipelines
    assert [name for name in touched.tests if name.startswith("accepted_values_churn_features_plan")]
    found = shop.diff()
    (each,) = found.pipelines
    assert each.equal and found.failed
    (refused,) = each.refusals
    assert refused.startswith("dbt test accepted_values_churn_features_plan") and "would stop churn" in refused

    small_project.git(shop.root, "checkout", "-q", ".")
    shop.edit("dbt/models/churn_features.sql", "plan, age", f"nullif(plan, '{plans[0]}') as plan, age")
    (each,) = shop.diff().pipelines
    assert [said.split(":")[0] for said in each.refusals if said.startswith("dbt")] == [
        "dbt test not_null_churn_features_plan"
    ]


def test_repeated_keys_are_counted_and_not_multiplied(shop):
    shop.edit(
        "dbt/models/churn_features.sql",
        "from {{ ref('stg_visits') }}",
        "from (select * from {{ ref('stg_visits') }} union all select * from {{ ref('stg_visits') }} where age < 40)",
    )
    (each,) = shop.diff().pipelines
    assert each.features.repeated[0] == each.features.gone == each.features.new == 0
    assert each.features.repeated[1] > 10
    assert each.features.both == 3 * ROWS_A_DAY - each.features.repeated[1]
    assert f"{each.features.repeated[1]:,} keys are repeated after the edit" in "\n".join(diff_words.of_pipeline(each))


def test_a_deleted_pipeline_can_be_named(shop):
    (shop.root / "pipelines/churn.py").unlink()
    (each,) = shop.diff(names=["churn"]).pipelines
    assert each.skipped == "its file was deleted"


def test_a_suite_that_is_no_json_is_said(shop):
    (shop.root / "expectations/churn/features.json").write_text("{")
    (each,) = shop.impact().pipelines
    assert each.suites[0].words.startswith("it is not JSON any more")


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


def test_suites_judge_their_own_side_and_need_no_build(shop):
    """With visits of at most 60, nothing fails; with at most 5, the features do; the outcomes' new rule does not."""
    shop.edit("expectations/churn/features.json", '"max_value": 60', '"max_value": 5')
    (each,) = (found := shop.diff()).pipelines
    assert found.built == () and each.equal and found.failed
    assert len(each.refusals) == 1 and "visits" in each.refusals[0] and each.lifted == ()
    assert "Tonight would refuse" in "\n".join(diff_words.of_pipeline(each))
    small_project.git(shop.root, "commit", "-qam", "strict")
    try:
        shop.edit("expectations/churn/features.json", '"max_value": 5', '"max_value": 60')
        (each,) = (found := shop.diff()).pipelines
        assert not each.refusals and not found.failed
        assert len(each.lifted) == 1 and "visits" in each.lifted[0]
    finally:
        shop.restore()


def test_a_suite_that_cannot_be_used_is_refused_tonight(shop):
    shop.edit("expectations/churn/outcomes.json", '"expectations"', '"rules"')
    (each,) = shop.diff().pipelines
    assert any("outcomes.json cannot be used" in said for said in each.refusals), each.refusals


def test_limits_of_the_audit_judge_their_own_side(shop):
    shop.edit(
        "pipelines/churn.py", "predictions=Pred", "audit=Audit(max_psi=0.0001, psi_rows=1),\n    predictions=Pred"
    )
    shop.edit("pipelines/churn.py", "from tailrace import (", "from tailrace import (Audit, ")
    (each,) = (found := shop.diff()).pipelines
    assert each.equal and found.failed
    assert any(said.startswith(f"audit of {LAST}") for said in each.refusals), each.refusals


def test_a_champion_that_cannot_score_the_new_features_is_one_sentence(shop):
    shop.edit("dbt/models/churn_features.sql", "visits from", "visits as calls from")
    shop.edit("pipelines/churn.py", '"visits": "numeric"', '"calls": "numeric"')
    (each,) = (found := shop.diff()).pipelines
    assert found.failed and each.error.count("\n") == 0
    assert "column 'visits' is missing" in each.error, each.error


def test_without_a_published_day_there_is_nothing_to_compare(shop, monkeypatch):
    monkeypatch.setattr(type(shop.services.lake), "days", lambda self, table, **span: {})
    shop.edit("dbt/models/churn_features.sql", "visits from", "visits + 1 as visits from")
    (each,) = (found := shop.diff()).pipelines
    assert not found.failed and found.built == ()
    assert diff_words.headline(each) == "no day of it is published yet, so there are no predictions to compare"


def test_a_base_that_does_not_exist_is_one_sentence(shop):
    with pytest.raises(BadInput, match="no-such-revision"):
        shop.diff(revision="no-such-revision")
