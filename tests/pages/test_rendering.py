"""What the pages say in HTML: everything escaped, every empty state with what to do, no script of a page's own."""

from __future__ import annotations

import datetime as dt
import json
import re
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from tailrace.champions.promotions import Promotion
from tailrace.contracts import Commit, ModelResult, Pin, RunRecord
from tailrace.monitoring.drift_rows import DriftMeasure
from tailrace.monitoring.performance import in_present_form
from tailrace.monitoring.refusal_evidence import Evidence, FailedExpectation
from tailrace.operations.day_states import Attempt, BrokenLink, DayState
from tailrace.operations.preview import PreviewedDay
from tailrace.pages import catalog, charts, day, forms, labels, missed_work, overview, pipeline, rendering
from tailrace.pages.day import Histogram
from tailrace.pages.previews import ShownPreview
from tailrace.spec.registry import get
from tailrace.stages.monitor import DayPerformance
from tests.support import new_project

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
DAY = dt.date(2013, 3, 5)
NOW = dt.datetime(2013, 3, 5, 8, 12, tzinfo=dt.UTC)
MAY = dict.fromkeys(forms.ACTIONS, True)


def show(template: str, **values) -> str:
    return rendering.page(template, mount="/tailrace", airflow="", **values)


def harmless(html: str) -> bool:
    """No tag of the evil text's came through, and no script but the files of ours."""
    scripts = re.findall(r"<script[^>]*>", html)
    own = all(re.fullmatch(r'<script src="/tailrace/[a-z./]+">', tag) for tag in scripts)
    return own and "<img" not in html and "onerror=alert(1)>" not in html and "javascript:" not in html


def row(**values) -> overview.OverviewRow:
    state = labels.State("published", "published 03:12 by v7")
    made = overview.OverviewRow(
        name="churn",
        owner="growth",
        about="Who leaves?",
        champion="7",
        since=DAY,
        last_day=DAY,
        state=state,
        metric="roc_auc",
        trend=(),
        drift="",
        drift_words="not measured",
        next_run="–",
        waiting=0,
    )
    return replace(made, **values)


def cell(day: dt.date, state: labels.State, version: str, hover: str, drift: str = "") -> pipeline.CalendarDay:
    """A day of the calendar."""
    return pipeline.CalendarDay(day=day, state=state, version=version, hover=hover, drift=drift)


def empty_page(**values) -> pipeline.PipelinePage:
    spec = get("flight_delay")
    made = pipeline.PipelinePage(
        spec=spec,
        about="about",
        champion=None,
        next_run="–",
        latest=None,
        months=(),
        counts={},
        earlier=None,
        metric="roc_auc",
        performance=None,
        decisions=(),
        versions=(),
        tracker_problem="",
        approvals=(),
    )
    return replace(made, **values)


def empty_day(**values) -> day.DayPage:
    """A published day of which nothing else is known."""
    commit = Commit(
        table="predictions/flight_delay",
        day=DAY,
        version="4",
        recorded_at=NOW,
        rows=150,
        metadata={"model_version": "1", "run_id": "r", "digest": "abc"},
    )
    made = day.DayPage(
        spec=get("flight_delay"),
        day=DAY,
        state=cell(DAY, labels.State("published", "published 03:12 by v1"), "1", "published"),
        known=DayState(day=DAY, status="published", published=commit),
        refused=None,
        commit=commit,
        features=None,
        features_commit=None,
        features_now=None,
        source_days=(),
        training=None,
        training_pins={},
        tracker_problem="",
        checks=(),
        performance=None,
        moved=(),
        histogram=None,
        earlier=(),
        run=None,
        requested={},
        before=None,
        after=None,
    )
    return replace(made, **values)


def show_day(page: day.DayPage, problem: str = "") -> str:
    return show("day", page=page, chart_figure=None, evidence_figure=None, docs={}, may=MAY, problem=problem)


class TestDay:
    @pytest.mark.parametrize(
        ("rescored", "flipped", "said"),
        [
            (0, 274, "0 rows have a different score, 274 a different decision<"),
            (2, 0, "2 rows have a different score (moved by 0.100 on average, 0.200 at most), 0 a different decision<"),
            (2, None, "2 rows have a different score (moved by 0.100 on average, 0.200 at most)<"),
            (0, 0, "0 rows have a different score<"),
        ],
    )
    def test_decisions_that_another_threshold_changed_are_told_although_no_score_is_another(
        self, rescored, flipped, said
    ):
        found = day.Difference(added=0, removed=0, rescored=rescored, flipped=flipped, mean_move=0.1, largest_move=0.2)
        page = empty_day()
        assert said in show_day(replace(page, earlier=(day.Earlier(page.commit, found),)))

    def test_without_a_spec_neither_its_kind_of_question_nor_its_limits_are_guessed(self):
        amounts = {"known_outcomes": 7, "mean_label": 45.2, "mean_score": 44.0, "metrics": {"mae": 1.5}, "drift": "ok"}
        page = empty_day(performance=amounts, moved=(DriftMeasure(name="age", psi=0.5, allowance=0.1),))
        assert "4520.0% of them true" in show_day(page), "the spec of this page asks whether something is true"
        html = show_day(page, problem="It does not load.")
        assert "of them true" not in html
        assert "Watch from" not in html
        assert 'class="badge alarm"' not in html

    def test_the_inputs_are_those_of_the_schedules_cutoff_if_the_spec_and_the_mart_say_so(self):
        spec, last = get("flight_delay"), "of 2013-03-05, America/New_York, and nothing later"
        early = replace(spec, schedule=replace(spec.schedule, cutoff="06:30"))
        silent = replace(spec, features=replace(spec.features, known_at=None))
        landed = (day.SourceDay(DAY, "abc", since=False),)
        assert f"known at 00:00 {last}" in show_day(empty_day(source_days=landed))
        assert f"known at 06:30 {last}" in show_day(empty_day(spec=early))
        for html in (show_day(empty_day(), problem="It does not load."), show_day(empty_day(spec=silent))):
            assert "and nothing later" not in html
        assert "extracts landed up to" not in show_day(empty_day()), "a project of other sources lands none"

    def test_a_day_that_has_not_begun_cannot_be_predicted(self):
        page = empty_day(commit=None, known=DayState(day=DAY, status="not due"))
        assert "Predict it." in show_day(page)
        html = show_day(replace(page, ahead=True))
        assert "The day has not begun in America/New_York." in html
        assert "Predict" not in html
        assert "Predict" not in show_day(page, problem="It does not load."), "nothing of it can run"

    def test_small_and_large_metrics_keep_digits_that_tell_something(self):
        told = {"known_outcomes": 7, "mean_label": None, "mean_score": None, "drift": ""}
        html = show_day(empty_day(performance={**told, "metrics": {"mae": 4.2e-6, "rmse": 1.6e160, "bias": None}}))
        assert "<dt>mae</dt><dd>4.2e-06</dd>" in html
        assert "<dt>rmse</dt><dd>1.6e+160</dd><dt>bias</dt><dd>–</dd>" in html.replace("\n", "")

    def test_what_people_and_data_wrote_stays_text(self):
        spec, pin = (
            get("flight_delay"),
            Pin(table=EVIL, version=EVIL, first=None, last=None, rows=1, files=1, digest=EVIL),
        )
        commit = Commit(
            table=EVIL,
            day=DAY,
            version=EVIL,
            recorded_at=NOW,
            rows=1,
            metadata={"model_version": EVIL, "run_id": EVIL, "code_commit": EVIL, "digest": EVIL},
        )
        measured = DayPerformance(
            day=DAY,
            model_version=EVIL,
            rows=2,
            known_outcomes=2,
            mean_label=0.5,
            mean_score=0.5,
            metrics=json.dumps({EVIL: 0.6}),
            score_psi=0.1,
            worst_feature=EVIL,
            worst_feature_psi=0.3,
            feature_psi=json.dumps({EVIL: 0.3}),
            drift=EVIL,
            note=EVIL,
        )
        page = day.DayPage(
            spec=spec,
            day=DAY,
            state=cell(DAY, labels.State("refused", EVIL), EVIL, EVIL),
            refused=day.RefusedPredictions(
                version=EVIL,
                evidence=Evidence(
                    rows=7,
                    moved=(DriftMeasure(name=EVIL, psi=0.3, allowance=0.1),),
                    failed=(
                        FailedExpectation(
                            expectation=EVIL, column=EVIL, expected=EVIL, observed=EVIL, bad_rows=({EVIL: EVIL},)
                        ),
                    ),
                ),
                histogram=None,
            ),
            known=DayState(
                day=DAY,
                status="refused",
                broken=(
                    BrokenLink(
                        name=EVIL,
                        refused=True,
                        attempt=Attempt(
                            dag_id=EVIL, run_id=EVIL, day=DAY, outcome="failed", at=NOW, task=EVIL, error=EVIL, by=EVIL
                        ),
                    ),
                ),
                outdated=(EVIL,),
            ),
            commit=commit,
            features=pin,
            features_commit=commit,
            features_now=replace(commit, version="2"),
            source_days=(day.SourceDay(DAY, EVIL, since=True),),
            training=RunRecord(
                training_run=EVIL,
                pipeline=EVIL,
                status="finished",
                started_at=NOW,
                params={},
                metrics={},
                tags={"tailrace.day": EVIL},
                url=EVIL,
            ),
            training_pins={EVIL: pin},
            tracker_problem=EVIL,
            checks=(day.Check(EVIL, EVIL, EVIL, passed=False),),
            performance=in_present_form(asdict(measured)),
            moved=(DriftMeasure(name=EVIL, psi=0.3, allowance=0.1),),
            histogram=Histogram(edges=(0.0, 1.0), shares=(1.0,)),
            earlier=(day.Earlier(commit, None),),
            run=(EVIL, EVIL),
            requested={EVIL: EVIL},
            before=None,
            after=None,
        )
        html = show("day", page=page, chart_figure=None, evidence_figure=None, docs={}, may=MAY, problem="")
        assert harmless(html)
        assert html.count("&lt;script&gt;alert(1)") > 10
        assert "newer features" in html


class TestOverview:
    def test_states_trends_and_drift_are_words_too(self):
        trend = ((DAY, 0.7), (DAY + dt.timedelta(days=1), 0.6))
        html = show("overview", page=overview.Overview((row(trend=trend, drift="alarm"),), {}), hidden=0)
        assert "published 03:12 by v7" in html
        assert "roc_auc from 0.700 on 2013-03-05 to 0.600 on 2013-03-06" in html
        assert re.search(r'class="badge alarm">alarm<', html)

    def test_what_failed_beside_the_days_and_a_value_below_the_floor_are_told(self):
        told = row(trend=((DAY, 0.576),), beyond="below the floor 0.58", stopped=("train__churn", "rollback__churn"))
        html = show("overview", page=overview.Overview((told,), {}), hidden=0)
        assert '<span class="badge watch">below the floor 0.58</span>' in html
        for kind in ("train", "rollback"):
            assert f'href="/tailrace/pages/churn#stopped-{kind}">{kind} failed</a>' in html

    def test_open_days_of_the_last_thirty_are_counted(self):
        page = overview.Overview((row(open_words="1 refused, 3 failed"),), {})
        assert "of the last 30 days: 1 refused, 3 failed" in show("overview", page=page, hidden=0)

    def test_a_pipeline_without_a_spec_is_a_row_with_its_problem(self):
        page = overview.Overview((row(),), {"churn": "pipelines/churn.py does not exist any more."})
        html = show("overview", page=page, hidden=0)
        assert ">no spec<" in html
        assert "There are no pipelines yet" not in html
        assert '<a href="/tailrace/pages/churn">Its history</a>' in html
        assert html.count("pipelines/churn.py does not exist any more.") == 1

    def test_what_people_and_data_wrote_stays_text(self):
        evil = row(owner=EVIL, about=EVIL, state=labels.State("refused", EVIL), drift_words=EVIL, next_run=EVIL)
        html = show("overview", page=overview.Overview((evil,), {EVIL: EVIL}), hidden=0)
        assert harmless(html)
        assert "&lt;script&gt;" in html

    @pytest.mark.parametrize(
        ("hidden", "said"), [(0, "There are no pipelines yet"), (3, "Ask an administrator of Airflow for read rights")]
    )
    def test_an_empty_overview_says_what_to_do(self, hidden, said):
        assert said in show("overview", page=overview.Overview((), {}), hidden=hidden)

    @pytest.mark.parametrize("may", [True, False])
    def test_what_was_missed_is_said_with_the_button_that_makes_up_for_it(self, may):
        nights = missed_work.MissedNights((DAY, DAY + dt.timedelta(days=1)), DAY + dt.timedelta(days=3), building=True)
        page = overview.Overview((row(missed_training=DAY),), {}, nights)
        rights = {"may_catch_up": may, "may_train": {"churn"} if may else set()}
        html = show("overview", page=page, hidden=0, **rights)
        assert "The nights 2013-03-05 to 2013-03-06 were missed" in html
        assert "missed training 2013-03-05" in html
        assert "is in progress" in html
        for address in ("/forms/catch_up?first_day=2013-03-05&amp;day=2013-03-08", "/churn/forms/train?day=2013-03-05"):
            assert (f'href="/tailrace/pages{address}"' in html) is may
        assert ("/forms/" in html) is may


class TestPipeline:
    def test_the_legend_says_that_a_failed_rerun_is_no_refused_one(self):
        cells = (cell(DAY, labels.State("warned", "published"), "1", "day"),)
        page = empty_page(months=(pipeline.Month("March", 1, cells),), counts={"warned": 1})
        html = show("pipeline", page=page, charts={"performance": None, "drift": None}, may=MAY, problem="")
        assert "published, with warnings, or a later run was refused or failed: 1</li>" in html

    def test_a_pipeline_without_a_spec_has_a_history_and_no_buttons(self):
        html = show(
            "pipeline",
            page=empty_page(about="", counts={"published": 3}),
            charts={"performance": None, "drift": None},
            may=dict.fromkeys(MAY, False),
            problem="pipelines/flight_delay.py does not load: NameError.",
        )
        assert "Only the history of flight_delay is shown" in html
        assert html.count("pipelines/flight_delay.py does not load: NameError.") == 1
        assert 'class="actions"' not in html

    def test_days_that_do_not_follow_each_other_stand_below_their_weekday(self):
        days = tuple(
            cell(dt.date(2013, 3, n), labels.State("published", "published"), "1", f"day {n}") for n in (5, 6, 25)
        )
        page = empty_page(months=(pipeline.Month("March 2013", 1, days),), counts={"published": 3})
        html = show("pipeline", page=page, charts={"performance": None, "drift": None}, may=MAY, problem="")
        assert re.findall(r'class="day published( empty-\d)?"', html) == [" empty-1", "", " empty-0"]
        assert html.count('class="gap"') == 1

    def test_a_failed_training_and_days_that_drifted_are_told(self):
        failed = Attempt(
            dag_id="train__flight_delay", run_id="t", day=DAY, outcome="failed", at=NOW, task="train", error=EVIL
        )
        drifted = cell(DAY, labels.State("published", "published"), "1", "day", "alarm")
        page = empty_page(months=(pipeline.Month("March", 1, (drifted,)),), stopped=(failed,), drifted={"alarm": 1})
        html = show("pipeline", page=page, charts={"performance": None, "drift": None}, may=MAY, problem="")
        assert harmless(html)
        assert "The last run of train__flight_delay failed in train" in html
        assert 'href="/dags/train__flight_delay/runs/t">Open the run</a>' in html
        assert 'class="day published drift-alarm' in html
        assert "drift alarm: 1</li>" in html

    def test_without_a_spec_no_limit_and_no_lag_is_told(self):
        moved = DriftMeasure(name="age", psi=0.5, allowance=0.1)
        drawn = {"performance": None, "drift": {"data": [], "layout": {}}}
        page = empty_page(drift_days=[DAY], drift_table=[("age", [moved])], performance=())
        for problem in ("", "It does not load."):
            html = show("pipeline", page=page, charts=drawn, may=MAY, problem=problem)
            assert ('<td class="number alarm"' in html) is not bool(problem)
            assert ("monitor.watch_psi" in html) is not bool(problem)
            assert ("; most outcomes are known 1 day later." in html) is not bool(problem)

    def test_drift_is_a_table_too(self):
        days = [DAY, DAY + dt.timedelta(days=1)]
        table = [(EVIL, [DriftMeasure(name=EVIL, psi=0.5, allowance=0.1), None])]
        page = empty_page(drift_days=days, drift_table=table)
        drawn = {"performance": None, "drift": {"data": [], "layout": {}}}
        html = show("pipeline", page=page, charts=drawn, may=MAY, problem="")
        assert harmless(html)
        assert re.search(
            r'<td class="number alarm" title="[^"]*\(PSI 0.50, 0.10 allowed\)">0.40</td><td class="number ">–', html
        )

    def test_days_to_look_at_and_the_warehouse_are_told(self):
        days = {"refused": [DAY], "out of date": [DAY + dt.timedelta(days=each) for each in (1, 2, 4)]}
        page = empty_page(open_days=days)
        html = show("pipeline", page=page, charts={"performance": None, "drift": None}, may=MAY, problem="")
        assert "1 refused: 2013-03-05 </li>" in html
        assert "3 out of date: 2013-03-06 to 2013-03-07, 2013-03-09" in html
        assert 'href="/tailrace/pages/flight_delay/forms/backfill?from=2013-03-06&amp;to=2013-03-09"' in html
        assert html.count("forms/backfill?from") == 1, "a refused day would be refused again"
        assert 'href="/dags/warehouse">warehouse</a>' in html

    def test_a_missed_training_is_said_with_its_button(self):
        html = show(
            "pipeline",
            page=empty_page(missed_training=DAY),
            charts={"performance": None, "drift": None},
            may=MAY,
            problem="",
        )
        assert "2013-03-05: nothing was trained as of that day or a later one." in html
        assert 'href="/tailrace/pages/flight_delay/forms/train?day=2013-03-05">Retrain as of 2013-03-05</a>' in html

    def test_a_fresh_pipeline_says_what_to_do_everywhere(self):
        html = show("pipeline", page=empty_page(), charts={"performance": None, "drift": None}, may=MAY, problem="")
        for said in ("Backfill some days", "monitor__flight_delay", "Train the first one", "the gate may promote"):
            assert said in html

    def test_who_may_not_act_sees_buttons_that_do_nothing(self):
        html = show(
            "pipeline",
            page=empty_page(),
            charts={"performance": None, "drift": None},
            may=dict.fromkeys(MAY, False),
            problem="",
        )
        assert "/forms/" not in html
        assert html.count('aria-disabled="true"') >= 4

    def test_reasons_and_descriptions_stay_text(self):
        decided = Promotion(
            pipeline="churn",
            version="1",
            effective_from=DAY,
            recorded_at=NOW,
            training_run=EVIL,
            decided_by=EVIL,
            reason=EVIL,
            previous=EVIL,
        )
        version = pipeline.Version(
            version=EVIL,
            aliases=(EVIL,),
            champion=False,
            trained_as_of=EVIL,
            candidate=EVIL,
            metrics={EVIL: 1.0},
            inputs={},
            gate=EVIL,
            decided=decided,
            was_champion=True,
            training_run=EVIL,
            url="",
            model_digest=EVIL,
        )
        day = cell(DAY, labels.State("refused", EVIL), EVIL, EVIL)
        page = empty_page(
            about=EVIL,
            champion=decided,
            months=(pipeline.Month(EVIL, 1, (day,)),),
            decisions=(decided,),
            versions=(version,),
            tracker_problem=EVIL,
            counts={"refused": 1},
        )
        figure = charts.performance(
            [{"ds": DAY, "metrics": {"roc_auc": 0.5}, "model_version": EVIL}], "roc_auc", (decided,)
        )
        html = show("pipeline", page=page, charts={"performance": figure, "drift": None}, may=MAY, problem="")
        assert harmless(html)

    def test_days_are_reachable_by_keyboard_and_named(self):
        days = tuple(
            cell(DAY + dt.timedelta(days=n), labels.State("published", "published"), "1", f"day {n}") for n in range(3)
        )
        page = empty_page(months=(pipeline.Month("March 2013", 1, days),), counts={"published": 3})
        html = show("pipeline", page=page, charts={"performance": None, "drift": None}, may=MAY, problem="")
        assert html.count('tabindex="0"') == 1
        assert [f'aria-label="day {n}"' in html for n in range(3)] == [True] * 3


class TestForms:
    PARAMS = {  # noqa: RUF012
        "day": {"type": ["null", "string"], "format": "date", "title": "Day", "default": None},
        "model": {"type": "string", "pattern": "^(as-of|[0-9]+)$", "examples": ["as-of"], "default": "as-of"},
        "trials": {"type": "integer", "minimum": 1, "maximum": 9, "default": 3},
        "engine": {"type": "string", "enum": ["as set", "local"], "default": "as set", "section": "More"},
        "force": {"type": "boolean", "default": False},
        "reason": {"type": ["string", "null"], "maxLength": 500, "title": EVIL, "description": EVIL, "default": EVIL},
    }

    def test_the_dags_parameters_become_fields(self):
        spec = get("flight_delay")
        kind = forms.kind_of("predict", spec.name)
        assert kind is not None
        html = show(
            "form",
            form=forms.build("predict", kind, spec, params=self.PARAMS, given={"day": "2013-03-05", "model": EVIL}),
        )
        assert harmless(html)
        for said in (
            'type="date" data-param="day" data-kind="date"',
            'value="2013-03-05"',
            'pattern="(as-of|[0-9]+)"',
            'min="1" max="9"',
            '<option value="as set" selected>as set</option>',
            'type="checkbox" id="force"',
            'maxlength="500"',
            'data-dag="predict__flight_delay"',
        ):
            assert said in html

    def test_a_form_of_a_paused_dag_says_so_and_offers_to_unpause_it(self):
        spec = get("flight_delay")
        kind = forms.kind_of("predict", spec.name)
        assert kind is not None
        form = forms.build("predict", kind, spec, params=self.PARAMS, given={})
        assert '<div class="paused" id="paused" hidden>' in show("form", form=form)
        html = show("form", form=replace(form, paused=True))
        assert '<div class="paused" id="paused">' in html
        assert "predict__flight_delay is paused.</strong> Its runs wait until somebody unpauses it." in html
        assert '<input type="checkbox" id="unpause"' in html

    def test_to_catch_up_takes_both_days_of_the_range(self):
        params = {name: self.PARAMS[name] for name in ("day", "reason")} | {"first_day": self.PARAMS["day"]}
        form = forms.build_catch_up(params, {"first_day": "2013-03-02", "day": EVIL})
        html = show("form", form=form)
        assert harmless(html)
        first, last = form.fields[:2]
        assert (first.name, first.title, first.value, first.required) == ("first_day", "First day", "2013-03-02", True)
        assert (last.name, last.title, last.value, last.required) == ("day", "Last day", "", True)
        assert 'data-dag="warehouse" data-action="catch_up"' in html
        assert 'href="/tailrace/pages">Cancel</a>' in html

    def test_a_backfill_knows_its_days(self):
        spec = get("flight_delay")
        kind = forms.kind_of("backfill", spec.name)
        assert kind is not None
        given = {"from": "2013-03-01", "to": EVIL}
        form = forms.build("backfill", kind, spec, params=self.PARAMS, given=given, today=DAY)
        assert show("form", form=form).count('max="2013-03-05"') == 2
        assert [field.name for field in form.fields] == ["model", "trials", "engine", "force", "reason"]
        assert (form.first, form.last, form.zone) == ("2013-03-01", "", "America/New_York")

    def test_a_backfill_shows_what_it_would_do(self):
        spec = get("flight_delay")
        kind = forms.kind_of("backfill", spec.name)
        form = forms.build("backfill", kind, spec, params=self.PARAMS, given={})
        assert "data-preview" in show("form", form=form)
        assert "Rows that change" not in show("form", form=form)
        found = PreviewedDay(day=DAY, outcome="runs", model="2", rows=1200, changes=1200, why=EVIL, seconds=3.4)
        html = show("form", form=form, previewed=ShownPreview((found, replace(found, outcome="fails"))))
        assert harmless(html)
        assert "up to 1,200 of 1,200" in html
        assert "too late" in show("form", form=form, previewed=ShownPreview(problem="too late"))

    def test_a_threshold_takes_any_number(self):
        spec = get("flight_delay")
        kind = forms.kind_of("threshold", spec.name)
        params = {"threshold": {"type": "number", "minimum": 0, "maximum": 1, "default": 0.5}}
        html = show("form", form=forms.build("threshold", kind, spec, params=params, given={}))
        assert 'type="number" data-param="threshold"' in html
        assert 'min="0" step="any" max="1"' in html
        assert 'data-dag="threshold__flight_delay"' in html


class TestNodes:
    def test_failures_come_first_and_sql_stays_text(self):
        nodes = [
            ModelResult(
                name="good",
                kind="model",
                status="success",
                seconds=1.5,
                rows=1000,
                message="OK",
                unique_id="model.a",
                sql="select 1",
                kept=True,
            ),
            ModelResult(
                name="bad",
                kind="test",
                status="fail",
                seconds=0.2,
                rows=None,
                message=EVIL,
                unique_id="test.b",
                sql=EVIL,
                log=EVIL,
            ),
        ]
        html = show("nodes", nodes=nodes, dag_id="warehouse", run_id=EVIL, pipeline="")
        assert harmless(html)
        assert html.index(">bad") < html.index(">good")
        assert "1 failed" in html
        assert len(re.findall(r'>success</span> <span class="muted">kept<', html)) == 1
        assert html.count(">kept<") == 1

    def test_a_run_without_dbt_says_so(self):
        html = show("nodes", nodes=None, dag_id="predict__churn", run_id="r", pipeline="churn")
        assert "built nothing with dbt" in html
        assert "/tailrace/pages/churn" in html


def test_figures_are_what_plotly_takes():
    scores = Histogram(
        edges=(0.0, 0.5, 1.0), shares=(0.4, 0.6), training_edges=(0.0, 0.3, 1.0), training_shares=(0.1, 0.2)
    )
    figure = charts.histogram(scores, DAY, "1")
    assert figure["data"][0]["y"] == [0.4, 0.6]
    assert figure["data"][1]["y"] == [0.1, 0.2, 0.2]
    assert '"NaN"' not in rendering.as_json(figure)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("1 +", "pipelines/broken.py does not load: SyntaxError: invalid syntax (broken.py, line 1)."),
        ("SPEC = 1", "pipelines/broken.py exports no SPEC; end it with SPEC = PipelineSpec(...)."),
        ("import no_such", "pipelines/broken.py does not load: ModuleNotFoundError: No module named 'no_such'."),
    ],
)
def test_a_broken_file_is_told_in_one_sentence(wrong, said, tmp_path, monkeypatch):
    project = new_project(tmp_path, monkeypatch)
    (project.pipelines / "broken.py").write_text(wrong)
    assert catalog.read() == ({}, {"broken": said})


def test_all_that_is_wrong_with_a_spec_names_its_file_once(tmp_path, monkeypatch):
    spec = get("flight_delay")
    wrong = replace(spec, name="broken", owner="", window=replace(spec.window, days=0))
    project = new_project(tmp_path, monkeypatch)
    (project.pipelines / "broken.py").write_text(
        f"import datetime\nfrom tailrace import *\nfrom tailrace.spec import *\nSPEC = {wrong!r}\n"
    )
    _, problems = catalog.read()
    assert problems["broken"].startswith("pipelines/broken.py is wrong: owner is empty;")
    assert "window.days" in problems["broken"]
    assert problems["broken"].count("broken") == 1


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            "a: 1 failed.\n  - visits.\nReport: file:///srv/a.html\nNothing was taken.",
            "a: 1 failed.\n  - visits.\nNothing was taken.",
        ),
        ("The thresholds are in x.py. Data Docs: /srv/a b.html", "The thresholds are in x.py."),
        ("The lake is away.", "The lake is away."),
    ],
)
def test_no_place_on_the_server_is_shown(error, said):
    assert labels.without_paths(error) == said


def test_a_sentence_ends_once():
    assert [rendering.stopped(each) for each in ("a", "a.", "a…")] == ["a.", "a.", "a…"]


def test_styles_and_scripts_ask_no_other_site_for_anything():
    for path in (Path(rendering.__file__).parent / "static").iterdir():
        assert not re.search(r"https?://|@import|eval\(|innerHTML", path.read_text()), path


def test_a_commit_that_others_made_can_be_shown():
    assert (
        labels.served_by(Commit(table="predictions/churn", day=DAY, version="1", recorded_at=NOW, rows=10))
        == "the champion as of the day"
    )
