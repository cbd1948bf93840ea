"""What the pages say of a pipeline whose nights went well, or did not: on the lake and the tracker in memory."""

from __future__ import annotations

import copy
import datetime as dt
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest

from tailrace.champions import promotions
from tailrace.days import span
from tailrace.engines.local import LocalEngine
from tailrace.errors import AuditFailed, LakeUnavailable, TrackerUnavailable, UnknownName
from tailrace.lake.memory import MemoryLake
from tailrace.lineage import dag_ids
from tailrace.operations.day_states import Attempt
from tailrace.pages import (
    cache_warmer,
    catalog,
    charts,
    day,
    day_records,
    histories,
    labels,
    missed,
    missed_work,
    overview,
    pipeline,
    previews,
)
from tailrace.pages.activity import NextRun, Night, OpenApproval
from tailrace.pages.caching import FRESH_SECONDS, CachedLake, CachedTracker
from tailrace.pages.sources import Sources
from tailrace.rows import refused_days
from tailrace.sources.landing import Landing
from tailrace.spec import Audit
from tailrace.stages import audit, score, snapshot
from tailrace.tracking.memory import MemoryTracker
from tailrace.training import missed_trainings
from tailrace.validation.memory import MemoryValidator
from tailrace.warehouse.memory import MemoryWarehouse
from tests.stages.conftest import LAST, Installation, Loop, memory, tables, write_suites
from tests.support import eventually, work

TRAINED, AGAIN = dt.date(2013, 1, 9), dt.date(2013, 1, 12)
ZONE = ZoneInfo("America/New_York")
LANDED = {dt.date(2013, 1, 8): "eighth", TRAINED: "ninth", dt.date(2013, 1, 10): "tenth"}
REFUSED = (
    "predictions/churn of 2013-01-13, scored by version 1, is refused:\n"
    "  - 31.0% of the scores are null (46 of 150); at most 0.0% may be.\n"
    "What was published before stays."
)


@dataclass
class Nights:
    """Runs as Airflow would tell them: the interface's in-memory implementation."""

    runs: list[Attempt] = field(default_factory=list)
    following: NextRun = field(default_factory=lambda: NextRun(None, missing=True))
    waiting: list[OpenApproval] = field(default_factory=list)
    undecided: list[Attempt] = field(default_factory=list)
    coming: Night = field(default_factory=Night)

    def attempts(self, since):
        found = {}
        for run in self.runs:
            if since.get("churn") is None or since["churn"] <= run.day:
                found.setdefault(run.day, {})[run.kind] = run
        return {"churn": found}

    def stopped(self, pipelines):
        return {"churn": self.undecided} if self.undecided else {}

    def next_runs(self, pipelines):
        return dict.fromkeys(pipelines, self.following)

    def night(self):
        return self.coming

    def approvals(self, pipelines):
        return {"churn": self.waiting}

    def nodes(self, dag_id, run_id):
        return None

    def form(self, dag_id):
        return None

    def is_paused(self, dag_id):
        return False

    def add(self, when: dt.date, outcome: str, at: dt.datetime, task: str = "", error: str = "", **more) -> None:
        dag = more.pop("dag", "predict__churn")
        self.runs.append(
            Attempt(dag_id=dag, run_id=f"run-{when}", day=when, outcome=outcome, at=at, task=task, error=error, **more)
        )


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Two versions, three published days, one of them twice."""
    from tests.conftest import spec

    held = spec.__wrapped__() if hasattr(spec, "__wrapped__") else spec.__pytest_wrapped__.obj()
    folder = tmp_path_factory.mktemp("installed")
    lake, tracker = memory(folder)
    rows = tables(held)
    suites = MemoryValidator(write_suites(folder / "expectations", held))
    services = Installation(lake, tracker, suites, MemoryWarehouse(rows, LANDED), LocalEngine(), rows)
    loop = Loop(services, held)
    loop.take()
    corrected = {name: table.slice(0, table.num_rows - 1) for name, table in rows.items()}
    warehouse = MemoryWarehouse(corrected, {**LANDED, TRAINED: "ninth, corrected"})
    snapshot.run(work(replace(services, warehouse=warehouse), held, "w-corrected"), LAST)
    loop.challenge(TRAINED)
    for number in (9, 10, 12):
        loop.predict(dt.date(2013, 1, number), f"p{number}")
    loop.train(AGAIN)
    loop.predict(dt.date(2013, 1, 10), "again", model="2")
    return services, held


@pytest.fixture
def nights() -> Nights:
    return Nights()


@pytest.fixture
def spec(installed):
    return installed[1]


@pytest.fixture
def sources(installed, nights) -> Sources:
    lake = installed[0].lake
    now = dt.datetime.now(dt.UTC)
    return Sources(
        lake=CachedLake(lake), tracker=CachedTracker(lambda: installed[0].tracker), activity=nights, now=lambda: now
    )


def later(sources: Sources, **delta: float) -> dt.datetime:
    return sources.now() + dt.timedelta(**delta)


class TestOverview:
    def test_a_row_says_who_publishes_what(self, sources, spec):
        (row,) = overview.gather(sources, [spec], {}).rows
        assert (row.owner, row.about, row.champion, row.since) == ("growth", "Who leaves?", "1", TRAINED)
        assert row.last_day == dt.date(2013, 1, 12)
        assert row.state.kind == "published"
        assert row.state.sentence.startswith("published ")
        assert row.state.sentence.endswith(" by v1")
        assert row.next_run == "not in Airflow: its DAG file is missing or broken"

    def test_a_refused_night_says_why(self, sources, spec, nights):
        nights.add(dt.date(2013, 1, 13), "failed", later(sources, hours=1), "audit", REFUSED)
        (row,) = overview.gather(sources, [spec], {}).rows
        assert row.state == labels.State(
            "refused",
            "2013-01-13: refused in audit: 31.0% of the scores are null (46 of 150); at most 0.0% may be.",
        )

    def test_a_day_that_failed_stays_open_whatever_was_published_of_other_days_since(self, sources, spec, nights):
        nights.add(dt.date(2013, 1, 13), "failed", later(sources, days=-1), "score", "MLflow does not answer")
        (row,) = overview.gather(sources, [spec], {}).rows
        assert row.state == labels.State("failed", "2013-01-13: failed in score: MLflow does not answer")
        assert row.last_day == dt.date(2013, 1, 12)

    def test_a_run_that_failed_before_the_publication_of_its_day_is_history(self, sources, spec, nights):
        nights.add(dt.date(2013, 1, 12), "failed", later(sources, days=-1), "score", "MLflow does not answer")
        (row,) = overview.gather(sources, [spec], {}).rows
        assert (row.state.kind, row.open_words) == ("published", "1 not published")

    def test_a_mistyped_day_adds_no_days_and_hides_no_state(self, sources, spec, nights):
        nights.add(dt.date(2013, 1, 30), "failed", later(sources, hours=1), "score", "features/churn has none of it")
        (row,) = overview.gather(sources, [spec], {}).rows
        assert (row.state.kind, row.open_words) == ("published", "1 not published")
        page = pipeline.gather(sources, spec)
        assert page.counts == {"published": 3, "missing": 1, "idle": 1}
        assert [each.day.day for each in page.months[0].days] == [9, 10, 11, 12, 30]
        assert "a run by hand failed in score: features/churn has none of it." in page.months[0].days[-1].hover

    def test_a_scheduled_night_without_features_is_due(self, sources, spec, nights):
        nights.add(dt.date(2013, 1, 15), "failed", later(sources, hours=1), "score", "no features", scheduled=True)
        (row,) = overview.gather(sources, [spec], {}).rows
        assert row.state == labels.State("failed", "2013-01-15: failed in score: no features")
        assert row.open_words == "1 failed, 3 not published"

    def test_a_day_that_the_warehouse_refused_is_told_though_nobody_predicted_it(self, sources, spec, nights):
        said = "churn/features on 2013-01-15 (150 rows): 1 critical expectation failed.\n  - visits: observed -1."
        nights.add(
            dt.date(2013, 1, 15), "failed", later(sources, hours=1), "churn.validate", said, dag=dag_ids.WAREHOUSE
        )
        (row,) = overview.gather(sources, [spec], {}).rows
        assert row.state == labels.State("refused", "2013-01-15: refused in validate: visits: observed -1.")
        page = day.gather(sources, spec, dt.date(2013, 1, 15))
        assert [(each.name, each.attempt.dag_id) for each in page.known.broken] == [("validate", "warehouse")]

    def test_a_day_that_a_command_refused_is_told_too(self, sources, spec, nights):
        lake = copy.deepcopy(sources.lake.lake)
        own = replace(sources, lake=CachedLake(lake))
        services = Installation(lake, None, None, None, None, {})
        for number in (12, 13):
            refused_days.record(
                work(services, spec, f"r{number}"),
                dt.date(2013, 1, number),
                model_version="1",
                reason="scores are null.",
            )
        (row,) = overview.gather(own, [spec], {}).rows
        assert row.state == labels.State("refused", "2013-01-13: refused in audit: scores are null.")
        assert row.open_words == "2 refused, 1 not published"
        twelfth = day.gather(own, spec, dt.date(2013, 1, 12))
        assert twelfth.state.state.sentence.endswith("by v1; a rerun was refused in audit: scores are null.")
        # A later run in Airflow that failed elsewhere is what is known last.
        nights.add(dt.date(2013, 1, 13), "failed", later(sources, hours=1), "score", "out of memory")
        assert overview.gather(own, [spec], {}).rows[0].state.kind == "failed"

    @pytest.mark.parametrize("outcome", ["success", "running"])
    def test_a_night_that_is_only_built_so_far_is_not_yet_missing(self, sources, spec, nights, outcome):
        nights.add(dt.date(2013, 1, 14), outcome, later(sources, minutes=-2), dag=dag_ids.WAREHOUSE, scheduled=True)
        (row,) = overview.gather(sources, [spec], {}).rows
        assert (row.state.kind, row.state_day) == ("published", dt.date(2013, 1, 12))

    def test_refused_and_failed_days_before_the_last_one_are_counted(self, sources, spec, nights):
        nights.add(dt.date(2013, 1, 10), "failed", later(sources, hours=2), "audit", REFUSED)
        nights.add(dt.date(2013, 1, 11), "failed", later(sources, hours=2), "score", "MLflow does not answer")
        (row,) = overview.gather(sources, [spec], {}).rows
        assert (row.state.kind, row.open_words) == ("published", "1 refused, 1 failed")

    def test_a_training_that_failed_is_told(self, sources, spec, nights):
        failed = Attempt(dag_id="train__churn", run_id="t", day=None, outcome="failed", at=sources.now(), task="train")
        nights.undecided.append(failed)
        (row,) = overview.gather(sources, [spec], {}).rows
        assert row.stopped == ["train__churn"]
        assert pipeline.gather(sources, spec).stopped == [failed]

    @pytest.mark.parametrize("number", [11, 12, 13, 15])
    @pytest.mark.parametrize("outcome", ["success", "failed", "running"])
    @pytest.mark.parametrize("scheduled", [True, False])
    def test_overview_pipeline_page_calendar_and_day_page_agree(
        self, sources, spec, nights, number, outcome, scheduled
    ):
        when = dt.date(2013, 1, number)
        nights.add(when, outcome, later(sources, hours=1), "audit", REFUSED, scheduled=scheduled)
        (row,) = overview.gather(sources, [spec], {}).rows
        page = pipeline.gather(sources, spec)
        assert page.latest.day == row.state_day
        assert page.latest.state.kind == row.state.kind
        assert row.state.sentence.endswith(page.latest.state.sentence)
        in_calendar = {each.day: each.state for month in page.months for each in month.days}
        assert day.gather(sources, spec, when).state.state == in_calendar[when]
        assert in_calendar[row.state_day] == page.latest.state

    def test_a_rerun_of_an_older_day_hides_no_refused_night(self, sources, spec, nights):
        nights.add(dt.date(2013, 1, 13), "failed", later(sources, hours=1), "audit", REFUSED)
        nights.add(dt.date(2013, 1, 10), "success", later(sources, hours=2))
        (row,) = overview.gather(sources, [spec], {}).rows
        assert row.state.sentence.startswith("2013-01-13: refused in audit")

    def test_an_older_day_that_failed_is_told_on_its_own_page(self, sources, spec, nights):
        nights.add(dt.date(2013, 1, 10), "failed", later(sources, hours=2), "audit", REFUSED)
        (row,) = overview.gather(sources, [spec], {}).rows
        assert row.state.kind == "published"
        assert row.open_words == "1 refused, 1 not published"

    def test_a_night_that_waits_for_an_earlier_stage_says_so(self, sources, spec, nights):
        said = "features/churn has no published features of 2013-01-13; run the warehouse for this day first."
        nights.add(dt.date(2013, 1, 13), "running", later(sources, minutes=-2), "score", said, waits=True)
        (row,) = overview.gather(sources, [spec], {}).rows
        assert row.state == labels.State("running", f"2013-01-13: score will be retried: {said}")

    def test_a_running_night_is_running(self, sources, spec, nights):
        nights.add(dt.date(2013, 1, 13), "running", later(sources, minutes=-2), "score")
        (row,) = overview.gather(sources, [spec], {}).rows
        assert row.state.kind == "running"
        assert row.state.sentence.startswith("2013-01-13: score is running since ")

    @pytest.mark.parametrize(
        ("following", "said"),
        [
            (NextRun(None, paused=True), "paused"),
            (NextRun(None), "none: its schedule has ended"),
            (NextRun(dt.datetime(2013, 1, 14, 5, 30, tzinfo=dt.UTC)), "2013-01-14 00:30"),
        ],
    )
    def test_the_next_run(self, sources, spec, nights, following, said):
        nights.following = following
        assert overview.gather(sources, [spec], {}).rows[0].next_run == said

    def test_a_pipeline_without_anything_says_what_to_do(self, sources, spec):
        (row,) = overview.gather(sources, [replace(spec, name="fresh")], {}).rows
        assert (row.champion, row.last_day, row.trend, row.drift) == ("", None, (), "")
        assert row.state == labels.State("missing", "nothing published yet")


class TestPipeline:
    def test_the_calendar_has_every_day_between(self, sources, spec, nights):
        nights.add(dt.date(2013, 1, 13), "failed", later(sources, hours=1), "audit", REFUSED)
        page = pipeline.gather(sources, spec)
        (month,) = page.months
        assert (month.title, month.empty) == ("January 2013", dt.date(2013, 1, 9).weekday())
        assert [each.state.kind for each in month.days] == ["published", "published", "missing", "published", "refused"]
        assert page.counts == {"published": 3, "missing": 1, "refused": 1}

    def test_hovering_says_who_served_the_day_and_how_it_was_chosen(self, sources, spec):
        (month,) = pipeline.gather(sources, spec).months
        assert "by v1. Predicted by the champion as of the day. 150 rows." in month.days[0].hover
        assert "by v2. Predicted by the version requested by its number; it was trained on later data (look-ahead)" in (
            month.days[1].hover
        )

    def test_a_refused_rerun_leaves_the_day_published(self, sources, spec, nights):
        nights.add(TRAINED, "failed", later(sources, hours=1), "audit", REFUSED)
        page = pipeline.gather(sources, spec)
        first = page.months[0].days[0]
        assert first.state.kind == "warned"
        assert "by v1; a rerun was refused in audit: 31.0% of the scores are null" in first.state.sentence

    def test_a_decision_with_an_earlier_day_makes_days_out_of_date(self, sources, spec):
        lake = copy.deepcopy(sources.lake.lake)
        own = replace(sources, lake=CachedLake(lake))
        newer = replace(promotions.decisions(lake, "churn")[0], version="2", training_run="other", decided_by="ann")
        promotions.record(lake, replace(newer, effective_from=dt.date(2013, 1, 10)))
        (month,) = pipeline.gather(own, spec).months
        kinds = {each.day.day: each.state.kind for each in month.days}
        assert kinds == {9: "published", 10: "published", 11: "missing", 12: "outdated"}, "10 was asked for by number"
        said = "; out of date: v2 is the champion as of this day by a later decision"
        assert f"{said} (promoted by ann, from 2013-01-10 on)" in month.days[-1].state.sentence
        by_now = "the champion as of the day at that time; by the decisions in force now, that is v2"
        assert by_now in month.days[-1].hover
        (row,) = overview.gather(own, [spec], {}).rows
        assert (row.state.kind, row.open_words) == ("outdated", "1 out of date, 1 not published")

    def test_features_taken_again_make_a_day_out_of_date(self, sources, spec):
        lake = copy.deepcopy(sources.lake.lake)
        own = replace(sources, lake=CachedLake(lake))
        rows = lake.read(spec.features_table, first=TRAINED, last=TRAINED).read_all().slice(0, 10)
        lake.publish(lake.stage(spec.features_table, TRAINED, "again", rows.to_reader()), {})
        page = day.gather(own, spec, TRAINED)
        assert page.known.outdated == ("its features were taken again after it was predicted",)

    def test_versions_with_metrics_window_pins_and_who_decided(self, sources, spec):
        second, first = pipeline.gather(sources, spec).versions
        assert (first.version, first.champion, first.trained_as_of, first.was_champion) == (
            "1",
            True,
            "2013-01-09",
            True,
        )
        assert list(first.metrics) == ["roc_auc", "pr_auc", "log_loss", "brier"]
        assert first.inputs["features"].last == dt.date(2013, 1, 8)
        assert first.decided is not None
        assert first.decided.decided_by == "gate"
        assert (second.version, second.champion, second.decided) == ("2", False, None)

    def test_a_registry_that_was_started_over_shows_its_version_1_as_what_it_is(self, sources, spec, tmp_path):
        assert day.gather(sources, spec, TRAINED).training is not None
        tracker = MemoryTracker(tmp_path / "tracker")
        training_run = tracker.start_run("churn", "other", {"tailrace.day": str(TRAINED)})
        (tmp_path / "model").mkdir()
        tracker.log_model(training_run, tmp_path / "model", pa.table({"visits": [1]}), pa.table({"score": [0.5]}))
        started_over = replace(sources, tracker=CachedTracker(lambda: tracker))
        page = pipeline.gather(started_over, spec)
        (shown,) = page.versions
        assert (shown.version, shown.champion, shown.was_champion, shown.decided) == ("1", False, False, None)
        assert page.champion.version == "1"
        assert day.gather(started_over, spec, TRAINED).training is None

    def test_mlflow_down_still_shows_what_the_lake_knows(self, sources, spec):
        def down():
            raise TrackerUnavailable("MLflow does not answer at http://mlflow:5000. Start it.")

        page = pipeline.gather(replace(sources, tracker=CachedTracker(down)), spec)
        assert page.versions == ()
        assert page.tracker_problem == "MLflow does not answer at http://mlflow:5000. Start it."
        assert page.champion is not None
        assert page.counts["published"] == 3

    def test_mlflow_hanging_does_not_hang_the_page(self, sources, spec):
        import threading

        never = threading.Event()
        slow = CachedTracker(lambda: never.wait(30), patience=0.05)  # type: ignore[arg-type]
        page = pipeline.gather(replace(sources, tracker=slow), spec)
        never.set()
        assert page.tracker_problem.startswith("MLflow does not answer")
        assert page.counts["published"] == 3

    def test_the_next_day_to_predict_is_the_one_after_the_last_that_is_published(self, sources, spec):
        assert day_records.next_day(sources, spec) == dt.date(2013, 1, 13)
        assert day_records.next_day(sources, replace(spec, name="fresh")) is None
        assert pipeline.gather(sources, spec).open_days == {"not published": [dt.date(2013, 1, 11)]}

    def test_four_hundred_days_and_a_way_to_those_before(self, sources, spec, nights):
        for offset in range(900):
            nights.add(dt.date(2010, 1, 1) + dt.timedelta(days=offset), "success", sources.now())
        page = pipeline.gather(sources, spec)
        assert sum(len(month.days) for month in page.months) == 400
        assert page.earlier == dt.date(2013, 1, 12) - dt.timedelta(days=400)
        before = pipeline.gather(sources, spec, until=page.earlier)
        assert before.months[-1].days[-1].day == page.earlier


class TestPreview:
    def test_a_backfill_is_previewed_from_what_the_pages_know(self, sources, spec):
        given = {"from": str(TRAINED), "to": str(AGAIN)}
        shown = previews.of(sources, spec, given)
        assert [each.day for each in shown.days] == list(span(TRAINED, AGAIN))
        assert {each.outcome for each in shown.days} <= {"runs", "left alone"}
        forced = previews.of(sources, spec, given | {"force": "true", "model": "1"})
        assert {(each.outcome, each.model) for each in forced.days} == {("runs", "1")}

    def test_what_cannot_be_shown_says_why(self, sources, spec):
        assert previews.of(sources, spec, {"from": "x", "to": str(AGAIN)}) is None
        assert "before the first day" in previews.of(sources, spec, {"from": str(AGAIN), "to": str(TRAINED)}).problem
        assert "--preview" in previews.of(sources, spec, {"from": "2012-01-01", "to": str(AGAIN)}).problem
        given = {"from": str(TRAINED), "to": str(AGAIN), "model": "<b>"}
        assert "use 'as-of', 'current' or a version number" in previews.of(sources, spec, given).problem


class TestWithoutSpec:
    """A pipeline whose file is broken or was removed."""

    @pytest.fixture(params=["broken", "removed"])
    def problem(self, request, monkeypatch) -> str:
        broken = {"churn": "pipelines/churn.py does not load."} if request.param == "broken" else {}
        monkeypatch.setattr(catalog, "read", lambda: ({}, broken))
        return broken.get("churn", "pipelines/churn.py does not exist any more.")

    def test_its_history_is_shown(self, sources, problem):
        known = histories.shown(sources, "churn")
        assert known.problem == problem
        page = pipeline.gather(sources, known.spec)
        assert page.counts == {"published": 3, "missing": 1}
        assert (page.champion.version, [each.version for each in page.versions]) == ("1", ["2", "1"])
        shown = day.gather(sources, known.spec, dt.date(2013, 1, 10))
        assert (shown.commit.rows, len(shown.earlier), shown.training is not None) == (150, 1, True)
        assert (shown.checks, shown.histogram, shown.earlier[0].difference) == ((), None, None)

    def test_it_stays_on_the_overview(self, sources, problem):
        page = overview.gather(sources, [], histories.without_spec(sources, *catalog.read()))
        assert page.broken == {"churn": problem}
        (row,) = page.rows
        assert (row.name, row.champion, row.last_day, row.state.kind) == (
            "churn",
            "1",
            dt.date(2013, 1, 12),
            "published",
        )

    def test_a_name_without_a_history_is_unknown(self, sources, problem):
        with pytest.raises(UnknownName, match="no pipeline 'churm'"):
            histories.shown(sources, "churm")

    def test_a_file_that_never_worked_is_only_a_problem(self, sources, monkeypatch):
        monkeypatch.setattr(catalog, "read", lambda: ({}, {"new": "pipelines/new.py does not load."}))
        page = overview.gather(sources, [], {"new": "pipelines/new.py does not load."})
        assert (page.rows, list(page.broken)) == ((), ["new"])


class TestMissed:
    """After an outage."""

    @pytest.fixture
    def landing(self, tmp_path) -> Landing:
        """Landed from the first to the tenth."""
        made = Landing(str(tmp_path / "landing"), {"flights": pa.schema([("late", pa.int64())])})
        for number in range(1, 11):
            land(made, number)
        return made

    @pytest.fixture
    def own(self, sources, landing) -> Sources:
        return replace(sources, missed=missed_work.Found(lambda: landing))

    def nights(self, own: Sources) -> missed_work.MissedNights | None:
        missed.look_for_nights(own)
        return overview.gather(own, [], {}).nights

    def test_no_night_is_missed_while_each_was_landed(self, own, nights):
        assert self.nights(own) is None, "no later one is scheduled"
        nights.coming = Night(dt.date(2013, 1, 11))
        assert self.nights(own) is None

    def test_nights_that_nobody_ran_are_missed_up_to_the_one_before_the_next(self, own, nights):
        nights.coming = Night(dt.date(2013, 1, 14))
        found = self.nights(own)
        assert (found.first, found.last) == (dt.date(2013, 1, 11), dt.date(2013, 1, 13))
        assert found.sentence == (
            "The nights 2013-01-11 to 2013-01-13 were missed: their extracts were not landed. Features look back, so "
            "every later night is refused until somebody catches up from 2013-01-11 to 2013-01-13."
        )

    def test_nights_that_were_landed_and_refused_are_caught_up_too(self, own, nights, landing):
        for number in (14, 15):
            land(landing, number)
        nights.coming = Night(dt.date(2013, 1, 16), building=True)
        found = self.nights(own)
        assert (found.missed, found.last, found.building) == (
            (dt.date(2013, 1, 11), dt.date(2013, 1, 12), dt.date(2013, 1, 13)),
            dt.date(2013, 1, 15),
            True,
        )
        nights.coming = Night()
        assert self.nights(own).last == dt.date(2013, 1, 15), "the schedule has ended; days between are missing"

    def test_a_night_that_is_being_landed_is_not_missed(self, own, nights):
        nights.coming = Night(dt.date(2013, 1, 11), building=True)
        assert self.nights(own) is None

    def test_an_outage_longer_than_features_look_back_is_caught_up_whole(self, own, nights):
        nights.coming = Night(dt.date(2013, 4, 1))
        found = self.nights(own)
        assert (found.first, len(found.missed)) == (dt.date(2013, 1, 11), 80)

    def test_who_caught_up_sees_it_at_once(self, own, nights, landing):
        nights.coming = Night(dt.date(2013, 1, 12))
        assert self.nights(own) is not None
        land(landing, 11)
        assert overview.gather(own, [], {}).nights is None

    def test_before_anything_is_landed_no_night_is_missed(self, sources, nights, tmp_path):
        nights.coming = Night(dt.date(2013, 1, 12))
        nothing = Landing(str(tmp_path / "nothing"), {"flights": pa.schema([("late", pa.int64())])})
        assert self.nights(replace(sources, missed=missed_work.Found(lambda: nothing))) is None

    def test_a_missed_training_is_the_one_that_the_command_line_names(self, sources, spec, installed):
        due = replace(spec, schedule=replace(spec.schedule, train="0 3 14 1 *"))
        assert missed_trainings.missed(installed[0], due) == dt.date(2013, 1, 14)
        missed.look_for_trainings(sources, [due])
        assert overview.gather(sources, [due], {}).rows[0].missed_training == dt.date(2013, 1, 14)
        assert pipeline.gather(sources, due).missed_training == dt.date(2013, 1, 14)

    def test_a_training_that_was_made_is_not_missed_and_not_asked_for_again(self, sources, spec):
        made, asked = replace(spec, schedule=replace(spec.schedule, train="0 3 12 1 *")), []
        tracker = CachedTracker(lambda: asked.append(1) or sources.tracker._tracker(), fresh_seconds=0)
        own = replace(sources, tracker=tracker)
        for _ in range(3):
            missed.look_for_trainings(own, [made])
        assert overview.gather(own, [made], {}).rows[0].missed_training is None
        assert asked == [1]

    def test_while_mlflow_does_not_answer_what_was_found_last_stays(self, sources, spec):
        def down():
            raise TrackerUnavailable("MLflow does not answer.")

        due = replace(spec, schedule=replace(spec.schedule, train="0 3 14 1 *"))
        missed.look_for_trainings(sources, [due])
        own = replace(sources, tracker=CachedTracker(down))
        missed.look_for_trainings(own, [due])
        assert overview.gather(own, [due], {}).rows[0].missed_training == dt.date(2013, 1, 14)
        assert pipeline.gather(own, due).missed_training is None, "the page says that MLflow does not answer"


def land(landing: Landing, number: int) -> None:
    landing.write("flights", dt.date(2013, 1, number), pa.table({"late": [1]}))


class TestOnAnObjectStore:
    """Where asking for a table's version costs a call."""

    @pytest.fixture
    def growing(self, sources, installed, spec, tmp_path):
        """Sources that asked a lake before anything was published on it, and that publication."""
        from tailrace.lake.memory import MemoryLake

        services, lake = installed[0], MemoryLake()
        own = replace(sources, lake=CachedLake(lake, FRESH_SECONDS))
        assert overview.gather(own, [spec], {}).rows[0].last_day is None

        def publish():
            rows = services.lake.read(spec.predictions_table, first=TRAINED, last=TRAINED)
            lake.publish(lake.stage(spec.predictions_table, TRAINED, "r", rows), {"model_version": "1"})

        return own, publish

    def test_who_looks_at_one_pipeline_sees_what_was_published_just_now(self, growing, spec):
        own, publish = growing
        publish()
        assert day.gather(own, spec, TRAINED).commit is not None
        assert pipeline.gather(own, spec).counts == {"published": 1}

    def test_the_overview_of_all_asks_now_and_then(self, growing, spec):
        own, publish = growing
        publish()
        assert overview.gather(own, [spec], {}).rows[0].last_day is None
        own.look_again(spec)
        assert overview.gather(own, [spec], {}).rows[0].last_day == TRAINED


class TestDay:
    def test_what_was_published_up_to_its_source(self, sources, spec):
        page = day.gather(sources, spec, TRAINED)
        assert page.commit is not None
        assert page.commit.rows == 150
        assert page.features is not None
        assert (page.features.table, page.features.first, page.features.rows) == ("features/churn", TRAINED, 150)
        assert page.features_commit is not None
        assert page.features_commit.metadata["run_id"] == "w-2013-01-09"
        assert page.features_now == page.features_commit, "nothing was taken since"
        eighth, ninth = page.source_days
        assert eighth == day.SourceDay(dt.date(2013, 1, 8), "eighth", since=False)
        assert ninth == day.SourceDay(TRAINED, "ninth", since=True)
        assert set(page.training_pins) == {"features", "outcomes"}
        assert [check.passed for check in page.checks] == [True, True, True]

    def test_a_day_is_ahead_until_it_begins_in_the_pipelines_zone(self, sources, spec):
        today = sources.today(ZONE)
        assert not day.gather(sources, spec, today).ahead
        assert day.gather(sources, spec, today + dt.timedelta(days=1)).ahead

    def test_features_taken_again_are_not_those_that_were_scored(self, sources, spec):
        lake, table = copy.deepcopy(sources.lake.lake), spec.features_table
        own = replace(sources, lake=CachedLake(lake))
        scored = day.gather(own, spec, TRAINED).features_commit
        rows = lake.read(table, first=TRAINED, last=TRAINED).read_all().slice(0, 10)
        again = lake.publish(lake.stage(table, TRAINED, "again", rows.to_reader()), {})
        page = day.gather(own, spec, TRAINED)
        assert (page.features_commit, page.features_now) == (scored, again)
        odd = replace(page.features, version="no version of this lake")
        assert day._features_commit(own, spec, TRAINED, odd) is None

    def test_the_histogram_has_all_rows_of_day_and_training(self, sources, spec):
        held = day.gather(sources, spec, TRAINED).histogram
        assert held is not None
        assert sum(held.shares) == pytest.approx(1)
        widths = [high - low for low, high in zip(held.training_edges[:-1], held.training_edges[1:], strict=True)]
        mass = sum(width * share * day.BINS for width, share in zip(widths, held.training_shares, strict=True))
        assert mass == pytest.approx(1)
        figure = charts.histogram(held, TRAINED, "1")
        assert figure["layout"]["xaxis"]["title"]["text"] == spec.predictions.score
        assert [trace["name"] for trace in figure["data"]] == ["2013-01-09", "training holdout of v1"]

    def test_earlier_publications_and_how_they_differ(self, sources, spec, installed):
        page = day.gather(sources, spec, dt.date(2013, 1, 10))
        (earlier,) = page.earlier
        assert earlier.commit.metadata["model_version"] == "1"
        difference = earlier.difference
        assert difference is not None
        assert (difference.added, difference.removed) == (0, 0)
        assert 0 < difference.rescored <= 150
        assert 0 < difference.mean_move <= difference.largest_move <= 1

    def test_what_was_refused_is_shown(self, sources, spec, installed):
        lake = copy.deepcopy(sources.lake.lake)
        loop = Loop(replace(installed[0], lake=lake), replace(spec, audit=Audit(max_psi=1e-9, psi_rows=1)))
        when = dt.date(2013, 1, 13)
        score.run(loop.work("refused"), when)
        with pytest.raises(AuditFailed):
            audit.run(loop.work("refused"), when)
        page = day.gather(replace(sources, lake=CachedLake(lake)), spec, when)
        assert page.state.state.kind == "refused"
        refused = page.refused
        assert (refused.version, refused.evidence.rows, refused.evidence.failed) == ("1", 150, ())
        assert sum(refused.histogram.shares) == pytest.approx(1)
        assert {each.name for each in refused.evidence.moved} == {"plan", "age", "visits"}
        assert all(each.psi >= 0 and each.allowance is not None for each in refused.evidence.moved)
        assert len(refused.histogram.training_edges) == len(refused.evidence.holdout["edges"]) + 2
        own = replace(sources, lake=CachedLake(lake))
        without_spec = day.gather(own, histories.stand_in(own, "churn"), when).refused
        assert (without_spec.evidence, without_spec.histogram) == (refused.evidence, None)
        loop.spec = spec
        loop.predict(when)
        assert day.gather(replace(sources, lake=CachedLake(lake)), spec, when).refused is None

    def test_failing_rows_of_a_refusal_are_kept(self, sources, spec, installed):
        lake, when = copy.deepcopy(sources.lake.lake), dt.date(2013, 1, 13)
        loop = Loop(replace(installed[0], lake=lake), spec)
        score.run(loop.work("refused"), when)
        staged = lake.staged(spec.predictions_table, when, "refused")
        rows = lake.read_staged(staged).read_all()
        column = rows.schema.get_field_index("score")
        nulls = pa.array([None] * 3 + rows["score"].to_pylist()[3:], rows.schema.field("score").type)
        changed = rows.set_column(column, rows.schema.field("score"), nulls).drop_columns("ds")
        lake.annotate(lake.stage(spec.predictions_table, when, "refused", changed.to_reader()), staged.notes)
        with pytest.raises(AuditFailed):
            audit.run(loop.work("refused"), when)
        (failed,) = day.gather(replace(sources, lake=CachedLake(lake)), spec, when).refused.evidence.failed
        assert (failed.expectation, failed.column) == ("expect_column_values_to_not_be_null", "score")
        assert len(failed.bad_rows) == 3
        assert failed.bad_rows[0]["customer"] == "2013-01-13-00000"

    def test_a_day_that_is_not_there(self, sources, spec):
        page = day.gather(sources, spec, dt.date(2013, 1, 11))
        assert page.commit is None
        assert page.features_now is not None, "its features are there"
        assert page.features_now.rows == 150
        assert page.state.state.kind == "missing"
        assert (page.before, page.after) == (dt.date(2013, 1, 10), dt.date(2013, 1, 12))

    def test_measured_days_have_performance_and_drift(self, sources, spec, installed):
        measured = pa.table(
            {
                "model_version": ["1", "1"],
                "roc_auc": [0.7, None],
                "score_psi": [0.05, 0.4],
                "score_allowance": [0.1, 0.3],
                "worst_feature": ["age", "visits"],
                "worst_feature_psi": [0.02, 0.6],
                "feature_psi": ['{"age": 0.02, "visits": 0.01}', '{"age": 0.1, "visits": 0.6}'],
                "feature_allowance": ['{"age": 0.1, "visits": 0.2}', '{"age": 0.1, "visits": 0.2}'],
                "drift": ["ok", "alarm"],
            }
        )
        lake = installed[0].lake
        for place, when in enumerate((TRAINED, dt.date(2013, 1, 12))):
            staged = lake.stage("performance/churn", when, f"m{place}", measured.slice(place, 1).to_reader())
            lake.publish(staged, {})
        page = day.gather(sources, spec, dt.date(2013, 1, 12))
        assert page.performance is not None
        assert page.performance["drift"] == "alarm"
        assert [(each.title, each.psi, each.allowance) for each in page.moved] == [
            ("visits", 0.6, 0.2),
            ("the predictions", 0.4, 0.3),
            ("age", 0.1, 0.1),
        ]
        (row,) = overview.gather(sources, [spec], {}).rows
        assert row.drift == "alarm"
        assert row.drift_words == "drifted: visits (PSI 0.60, 0.20 allowed), as of 2013-01-12"
        assert row.trend == ((TRAINED, 0.7),)
        rows = sources.performance("churn")
        assert rows is not None
        figure = charts.performance(rows, "roc_auc", promotions.decisions(lake, "churn"))
        assert figure is not None
        assert figure["layout"]["annotations"][0]["text"] == "v1"
        assert [shape["y0"] for shape in figure["layout"]["shapes"] if shape.get("xref")] == []
        with_floor = charts.performance(rows, "roc_auc", (), spec.gate)
        assert [each["text"] for each in with_floor["layout"]["annotations"]] == ["floor 0.55"]
        assert row.beyond == ""
        strict = replace(spec, gate=replace(spec.gate, floor=0.71))
        assert overview.gather(sources, [strict], {}).rows[0].beyond == "below the floor 0.71"
        calendar = pipeline.gather(sources, spec)
        assert (calendar.months[0].days[-1].drift, calendar.drifted) == ("alarm", {"alarm": 1})
        assert calendar.months[0].days[-1].hover.endswith("Drift: alarm.")
        drawn = charts.drift(rows, (), spec.monitor)
        assert drawn is not None
        assert [trace["name"] for trace in drawn["data"]] == ["predictions", "the feature that moved most", "alarm"]
        assert [trace["y"] for trace in drawn["data"]] == [
            pytest.approx([-0.05, 0.1]),
            pytest.approx([-0.08, 0.4]),
            pytest.approx([0.4]),
        ]
        assert [shape["y0"] for shape in drawn["layout"]["shapes"]] == [spec.monitor.watch_psi, spec.monitor.alarm_psi]
        without_spec = charts.drift(rows, ())
        assert without_spec is not None
        assert without_spec["data"] == drawn["data"]
        assert without_spec["layout"]["shapes"] == []


def test_names_with_tags_are_drawn_letter_by_letter():
    found = day.Histogram(edges=(-0.5, 0.5, 1.5), shares=(0.5, 0.5), names=("<b>5</b>", "a & b"), column="x<i>")
    axis = charts.histogram(found, TRAINED, "1")["layout"]["xaxis"]
    assert axis["ticktext"] == ["&lt;b&gt;5&lt;/b&gt;", "a &amp; b"]
    amounts = charts.histogram(replace(found, names=()), TRAINED, "1")["layout"]["xaxis"]
    assert amounts["title"]["text"] == "x&lt;i&gt;"


@pytest.mark.parametrize(
    ("bounds", "shares", "edges", "steps"),
    [
        ((0.0, 1.0, 2.0), (0.25, 0.75), (0.0, 1.0, 2.0), (0.125, 0.375)),
        # nearly all rows within a millionth: joined to the next, or the last one to those before
        ((0.0, 1.0, 1.000001, 4.0), (0.1, 0.8, 0.1), (0.0, 1.0, 4.0), (0.05, 0.15)),
        ((0.0, 1.0, 3.0, 3.000001), (0.1, 0.1, 0.8), (0.0, 1.0, 3.000001), (0.05, pytest.approx(0.225))),
        ((0.0, 1e-7, 2e-7, 0.51), (0.0, 1.0, 0.0), (0.0, 1e-7, 0.51), (0.0, pytest.approx(0.98039, abs=1e-5))),
    ],
)
def test_no_step_of_the_holdout_has_more_than_all_rows(bounds, shares, edges, steps):
    assert day.as_steps(bounds, shares, 0.5) == (edges, steps)


class TestReads:
    """What makes pages fast is what they do not read again: counted, since seconds depend on the machine."""

    def test_a_page_seen_again_reads_nothing_of_the_lake(self, sources, spec):
        counted = Counting(sources.lake.lake)
        own = replace(sources, lake=CachedLake(counted))
        rounds = []
        for _ in range(3):
            overview.gather(own, [spec], {})
            pipeline.gather(own, spec)
            day.gather(own, spec, dt.date(2013, 1, 10))
            rounds.append(dict(counted.asked))
        assert rounds[0]
        assert rounds[1] == rounds[0]
        assert rounds[2] == rounds[0]

    @pytest.fixture
    def grown(self) -> tuple[Counting, CachedLake, MemoryLake]:
        """A table of three days that was read, and then published again on one of them and on a new one."""
        lake = MemoryLake()
        for number in (1, 2, 3):
            publish(lake, number, "at first")
        counted = Counting(lake)
        cached = CachedLake(counted)
        assert said(cached) == ["at first"] * 3
        publish(lake, 2, "again")
        publish(lake, 5, "new")
        counted.asked.clear()
        return counted, cached, lake

    def test_of_a_table_that_grew_only_what_is_new_is_read(self, grown):
        counted, cached, lake = grown
        assert said(cached) == ["at first", "again", "at first", "new"]
        assert cached.commits("t") == lake.commits("t")
        assert cached.days("t") == lake.days("t")
        read = [dict(what[2]) for what in counted.asked if what[0] == "read"]
        assert [(each["first"], each["last"]) for each in read] == [("2013-01-02",) * 2, ("2013-01-05",) * 2]
        histories = {what: times for what, times in counted.asked.items() if what[0] == "commits"}
        assert histories == {("commits", ("t",), (("since", lake.commits("t")[2].version),)): 1}

    def test_a_table_that_was_replaced_by_another_is_read_anew(self, grown, monkeypatch):
        counted, cached, _ = grown
        other = MemoryLake()
        publish(other, 1, "of another table")
        monkeypatch.setattr(counted, "lake", other)
        assert cached.commits("t") == other.commits("t")
        assert said(cached) == ["of another table"]

    def test_days_read_before_the_table_gained_a_column_have_it_too(self, grown):
        counted, cached, lake = grown
        assert said(cached) == ["at first", "again", "at first", "new"]
        lake.add_columns("t", pa.schema({"note": pa.string()}))
        assert cached.schema("t") == lake.schema("t")
        assert [row["note"] for row in cached.rows("t")] == [None] * 4
        assert cached.commits("t") == lake.commits("t")
        counted.asked.clear()
        assert said(cached) == ["at first", "again", "at first", "new"]
        assert counted.asked == {}

    def test_days_that_nobody_asked_for_are_not_read(self, grown):
        counted, cached, _ = grown
        assert said(cached, dt.date(2013, 1, 3)) == ["at first", "new"]
        assert [dict(what[2])["first"] for what in counted.asked if what[0] == "read"] == ["2013-01-05"]
        assert said(cached) == ["at first", "again", "at first", "new"]

    def test_what_a_night_published_is_read_before_anybody_looks(self, sources, spec, installed, monkeypatch):
        passes = []
        monkeypatch.setattr(catalog, "read", lambda: passes.append(1) or ({spec.name: spec}, {}))
        counted = Counting(sources.lake.lake)
        own = replace(sources, lake=CachedLake(counted))
        others = set(threading.enumerate())
        ended = cache_warmer.keep(own, seconds=0.01)
        try:
            eventually(lambda: len(passes) > 1, "the keeper has read", seconds=30)
            Loop(installed[0], spec).predict(dt.date(2013, 1, 11), "late")
            begun = len(passes)
            eventually(lambda: len(passes) > begun + 1, "the keeper has read again", seconds=30)
        finally:
            ended.set()
        eventually(lambda: "tailrace-pages" not in {each.name for each in {*threading.enumerate()} - others}, "it ends")
        counted.asked.clear()
        (row,) = overview.gather(own, [spec], {}).rows
        assert row.last_day == dt.date(2013, 1, 12)
        assert counted.asked == {}

    def test_a_lake_that_fails_does_not_end_the_reading_ahead(self, sources, monkeypatch):
        failing = iter([LakeUnavailable("The lake is away."), ValueError("a fault"), {}])
        answers = []

        def read():
            answer = next(failing, {})
            answers.append(answer)
            if isinstance(answer, Exception):
                raise answer
            return answer, {}

        monkeypatch.setattr(catalog, "read", read)
        ended = cache_warmer.keep(sources, seconds=0.01)
        eventually(lambda: len(answers) > 3, "it goes on", seconds=30)
        ended.set()

    def test_who_asks_while_another_asks_is_told_the_same(self, sources):
        began, goes_on, asked = threading.Event(), threading.Event(), []

        def ask():
            asked.append(1)
            began.set()
            return goes_on.wait(30)

        held = CachedLake(sources.lake.lake)
        with ThreadPoolExecutor(2) as threads:
            first = threads.submit(held.cached, "promotions", "what", ask, None)
            assert began.wait(30)
            second = threads.submit(held.cached, "promotions", "what", ask, None)
            goes_on.set()
            assert (first.result(30), second.result(30)) == (True, True)
        assert asked == [1]

    def test_a_long_reading_holds_up_no_other_question(self, sources):
        began, goes_on = threading.Event(), threading.Event()
        held = CachedLake(sources.lake.lake)
        with ThreadPoolExecutor(2) as threads:
            slow = threads.submit(held.cached, "promotions", "slow", lambda: began.set() or goes_on.wait(30), None)
            assert began.wait(30)
            try:
                assert threads.submit(held.cached, "promotions", "quick", lambda: "told", None).result(10) == "told"
            finally:
                goes_on.set()
            assert slow.result(30)
        assert len(held._computing) == 0

    def test_what_is_kept_is_bounded(self, sources):
        held = CachedLake(sources.lake.lake, keep=3)
        for number in range(10):
            held.cached("promotions", number, lambda: "x", "")
        asked = []
        held.cached("promotions", 0, lambda: asked.append(1), None)
        held.cached("promotions", 9, lambda: asked.append(2), None)
        assert asked == [1]


def publish(lake: MemoryLake, number: int, text: str) -> None:
    lake.publish(lake.stage("t", dt.date(2013, 1, number), text, pa.table({"text": [text]}).to_reader()), {})


def said(lake: CachedLake, first: dt.date | None = None) -> list[str]:
    rows = lake.rows("t", first)
    assert rows is not None
    return [row["text"] for row in rows]


class Counting:
    """A lake that counts what it is asked to read, by what."""

    def __init__(self, lake) -> None:
        self.lake = lake
        self.asked: dict[tuple, int] = {}

    def __getattr__(self, name):
        method = getattr(self.lake, name)
        if name in ("exists", "head", "came_after"):
            return method

        def asking(*args, **kwargs):
            what = (name, args, *((tuple(sorted((k, str(v)) for k, v in kwargs.items())),) if kwargs else ()))
            self.asked[what] = self.asked.get(what, 0) + 1
            return method(*args, **kwargs)

        return asking


class TestWords:
    @pytest.mark.parametrize(
        ("task", "error", "said"),
        [
            ("audit", REFUSED, "refused in audit: 31.0% of the scores are null (46 of 150); at most 0.0% may be."),
            (
                "score",
                "The MLflow server does not answer. Start it.",
                "failed in score: The MLflow server does not answer.",
            ),
            ("score", "", "failed in score: its log says why"),
        ],
    )
    def test_why_a_run_stopped(self, task, error, said):
        attempt = Attempt(
            dag_id="predict__churn",
            run_id="r",
            day=TRAINED,
            outcome="failed",
            at=dt.datetime.now(dt.UTC),
            task=task,
            error=error,
        )
        assert labels.reason(attempt) == said

    def test_times_are_the_pipelines_own(self):
        at = dt.datetime(2013, 1, 9, 8, 12, tzinfo=dt.UTC)
        assert labels.clock(at, ZONE, dt.date(2013, 1, 9)) == "03:12"
        assert labels.clock(at, ZONE, dt.date(2013, 3, 9)) == "Jan 9, 03:12"
        assert labels.clock(at, ZONE, dt.date(2014, 3, 9)) == "2013-01-09 03:12"
