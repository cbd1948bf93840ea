"""An operator in a real browser, in a running Airflow: reads every page, starts runs, decides.

One Airflow and one home for the whole module; its tests go in the order of an operator's day.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from urllib.parse import unquote

import pyarrow as pa
import pytest
from playwright.sync_api import Browser, Frame, Locator, Page, expect, sync_playwright

from scripts import stack
from tailrace import settings
from tailrace.champions import promotions
from tailrace.rows import refused_days
from tailrace.spec import registry
from tailrace.stages import ingest
from tailrace.wiring import Wiring
from tests.support import eventually, work

pytestmark = pytest.mark.airflow

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PROJECT = settings.find_project().root
PATIENCE = 90_000
"""Milliseconds within which a run ends, and a page that is asked for again shows it."""


@pytest.fixture(scope="module")
def chromium() -> str:
    found = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if not found:
        pytest.fail("The pages are tested in Chromium, and there is none: apt-get install chromium, or set CHROMIUM.")
    return found


@pytest.fixture(scope="module")
def running(chromium, tmp_path_factory):
    """Airflow on an installation with two model versions and some published days."""
    home = tmp_path_factory.mktemp("home")
    # Made by a process of its own: libraries it loads start threads, and Airflow's processes are forked.
    subprocess.run([sys.executable, "-m", "tests.pages.installation", str(home)], check=True, cwd=PROJECT)
    with stack.Stack(settings.load({"TAILRACE_HOME": str(home)}), parallelism=4).started() as made:
        yield made


@pytest.fixture(scope="module")
def browser(chromium):
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield made
        made.close()


@pytest.fixture(scope="module")
def login(running, browser):
    """What the browser keeps of a login by Airflow's own form."""
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(f"{running.airflow_url}/plugin/models")
    page.get_by_label("Username").fill(stack.USER)
    page.locator("input[type=password]").fill(running.password)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("link", name="Models").or_(page.get_by_role("button", name="Models")).wait_for()
    state = context.storage_state()
    context.close()
    return state


@pytest.fixture
def page(running, browser: Browser, login):
    """A tab of the operator's; an error of a script on a page fails the test."""
    context = browser.new_context(storage_state=login, base_url=running.airflow_url)
    made, errors = context.new_page(), []
    made.set_default_timeout(PATIENCE)
    made.on("pageerror", lambda error: errors.append(str(error)))
    yield made
    context.close()
    assert errors == []


def inside(page: Page, address: str, heading: str) -> Frame:
    """Open an address of Airflow's; the page of Tailrace's in it, once it has its heading."""
    page.goto(address)
    page.frame_locator("iframe").get_by_role("heading", name=heading, exact=True).wait_for()
    page.frame_locator("iframe").locator("html[data-ready]").wait_for()
    return next(frame for frame in page.frames if "/tailrace/pages" in frame.url)


class TestReading:
    def test_from_the_menu_to_a_day(self, page):
        frame = inside(page, "/plugin/models", "Models")
        row = frame.get_by_role("row", name=re.compile("flight_delay"))
        expect(row).to_contain_text("operations-research")
        expect(row).to_contain_text("v1 since 2013-02-05")
        expect(row).to_contain_text("published")
        expect(row.locator("svg")).to_be_visible()
        expect(row).to_contain_text(re.compile("as of 2013-02-08"))
        frame.get_by_role("link", name="flight_delay", exact=True).click()
        frame.locator("html[data-ready] .calendar").wait_for()
        calendar = frame.locator(".calendar")
        expect(calendar.get_by_role("link")).to_have_count(3)
        expect(frame.locator(".chart .plot-container")).to_have_count(2)
        frame.get_by_role("link", name=re.compile("2013-02-08: published .* by v2")).hover()
        expect(frame.locator("#day-about")).to_contain_text("it was trained on later data (look-ahead)")
        frame.get_by_role("link", name=re.compile("2013-02-08")).first.click()
        expect(frame.get_by_role("heading", name="flight_delay, 2013-02-08")).to_be_visible()
        expect(frame.locator(".chart .plot-container")).to_be_visible()
        expect(frame.get_by_text("rows have a different score")).to_be_visible()
        # The address can be sent to somebody: it leads here again.
        assert page.url.endswith("/plugin/models/flight_delay/2013-02-08")
        page.reload()
        expect(page.frame_locator("iframe").get_by_role("heading", name="flight_delay, 2013-02-08")).to_be_visible()

    def test_a_day_says_which_of_its_source_days_were_corrected(self, page):
        frame = inside(page, "/plugin/models/flight_delay/2013-02-07", "flight_delay, 2013-02-07")
        expect(frame.locator("#source-days")).to_contain_text("29 days of extracts, 2013-01-10 to 2013-02-07")
        expect(frame.locator("#source-days")).to_contain_text("1 changed since")
        frame.get_by_text("SHA-256 of each day").click()
        expect(frame.get_by_role("row", name=re.compile("^2013-02-01 "))).to_contain_text("landed again with changes")
        expect(frame.get_by_role("row", name=re.compile("^2013-02-02 "))).to_contain_text("unchanged")

    def test_by_keyboard_alone(self, page):
        frame = inside(page, "/plugin/models/flight_delay", "flight_delay")
        last = frame.locator(".calendar a[tabindex='0']")
        last.focus()
        page.keyboard.press("ArrowLeft")
        expect(frame.locator("#day-about")).to_contain_text("2013-02-07: published")
        page.keyboard.press("Home")
        expect(frame.locator("#day-about")).to_contain_text("2013-02-06: published")
        page.keyboard.press("Enter")
        expect(frame.get_by_role("heading", name="flight_delay, 2013-02-06")).to_be_visible()

    def test_tabs_on_the_dag_and_the_run(self, page):
        frame = inside(page, "/dags/train__flight_delay/plugin/model", "flight_delay")
        expect(frame.get_by_role("heading", name="Model versions")).to_be_visible()
        expect(frame.get_by_role("row", name=re.compile("v2"))).to_contain_text("2013-02-12")

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    @pytest.mark.parametrize("width", [1440, 800, 390])
    def test_light_and_dark_wide_and_narrow(self, page, scheme, width, tmp_path):
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 800})
        for address in ("", "/flight_delay", "/flight_delay/2013-02-08", "/flight_delay/forms/backfill"):
            page.goto(f"/tailrace/pages{address}")
            page.locator("html[data-ready] h1").wait_for()
            overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert overflow <= 0, f"{address} is {overflow} px wider than the window"
            if address == "":
                hidden = page.locator("#pipelines").evaluate(
                    "table => table.scrollWidth - table.parentElement.clientWidth"
                )
                assert hidden <= 0, f"{hidden} px of the overview are cut off"
            # For whoever wants to look: pytest keeps the folders of its last three runs.
            page.screenshot(path=tmp_path / f"{address.replace('/', '_') or 'overview'}.png", full_page=True)
            light = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
            assert light == (scheme == "light")

    def test_the_theme_is_airflows(self, page):
        page.add_init_script("localStorage.setItem('theme', 'dark')")
        frame = inside(page, "/plugin/models", "Models")
        assert frame.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(9, 9, 11)"


class TestStates:
    """What became of a day is the same on every page, and true."""

    def test_what_drifted_is_named_and_drawn_beyond_its_allowance(self, page, running):
        drifted = {
            "score_psi": 1.174,
            "score_allowance": 0.2,
            "worst_feature": "plane_seats",
            "worst_feature_psi": 0.0037,
            "feature_psi": '{"plane_seats": 0.0037, "temperature_f": 6.93}',
            "feature_allowance": '{"plane_seats": 0.001, "temperature_f": 7.0}',
            "drift": "alarm",
            "jumped": '[""]',
        }
        measure_again(running, dt.date(2013, 2, 8), drifted)
        frame = inside(page, "/plugin/models", "Models")
        row = frame.get_by_role("row", name=re.compile("flight_delay"))
        expect(row).to_contain_text("drifted: the predictions (PSI 1.17, 0.20 allowed), as of 2013-02-08")
        frame = inside(page, "/plugin/models/flight_delay", "flight_delay")
        chart = frame.locator(".chart").nth(1)
        expect(chart.locator(".annotation-text").filter(has_text="alarm from 0.25")).to_be_visible()
        figure = json.loads(chart.get_attribute("data-figure"))
        lines = {trace["name"]: trace["y"][-1] for trace in figure["data"]}
        assert lines["predictions"] == pytest.approx(0.974)
        assert lines["the feature that moved most"] == pytest.approx(0.0027)
        assert lines["alarm"] == pytest.approx(0.974), "the mark stands at what drifted"
        frame = inside(page, "/plugin/models/flight_delay/2013-02-08", "flight_delay, 2013-02-08")
        first, second = (frame.locator("#moved tbody tr").nth(place) for place in (0, 1))
        expect(first).to_contain_text("the predictions")
        expect(first.locator(".badge.alarm")).to_have_text("0.974")
        expect(second).to_contain_text("plane_seats")

    def test_the_data_docs_of_a_refused_day_say_that_it_was_refused(self, page, running):
        day, services = dt.date(2013, 2, 7), Wiring(running.configured)
        refused = work(services, registry.get("flight_delay"), "refused")
        refused_days.record(refused, day, model_version="1", reason="predictions moved away: PSI 2.10, at most 1.5.")
        page.goto(f"/tailrace/pages/flight_delay/{day}")
        expect(page.locator("#broken-audit")).to_contain_text("predictions moved away: PSI 2.10, at most 1.5.")
        docs = page.locator("#data-docs")
        expect(docs).to_contain_text("The day was refused in audit, after it was published.")
        with page.context.expect_page() as opened:
            docs.get_by_role("link", name="predictions").click()
        verdict = opened.value.locator("#tailrace-verdict")
        expect(verdict).to_be_visible()
        expect(verdict).to_contain_text("a rerun was refused in audit: predictions moved away")
        verdict.get_by_role("link", name="The day's page").click()
        expect(opened.value.get_by_role("heading", name=f"flight_delay, {day}")).to_be_visible()
        opened.value.close()

    def test_a_form_of_a_paused_dag_starts_nothing_and_a_mistyped_day_hides_nothing(self, page):
        dag, runs = "/api/v2/dags/predict__flight_delay", "/api/v2/dags/predict__flight_delay/dagRuns"
        before = page.request.get(runs).json()["total_entries"]
        assert page.request.patch(f"{dag}?update_mask=is_paused", data={"is_paused": True}).ok
        frame = inside(page, "/plugin/models/flight_delay/forms/predict", "Predict a day: flight_delay")
        expect(frame.locator("#paused")).to_contain_text("predict__flight_delay is paused.")
        frame.get_by_label("Day", exact=True).fill("2013-02-28")
        frame.get_by_role("button", name="Predict the day").click()
        expect(frame.get_by_role("status")).to_contain_text("Nothing was started: predict__flight_delay is paused")
        assert page.request.get(runs).json()["total_entries"] == before
        frame.get_by_label("Unpause it").check()
        frame.get_by_role("button", name="Predict the day").click()
        frame.get_by_role("link", name="Open the run").wait_for()
        assert page.request.get(dag).json()["is_paused"] is False

        failed = page.get_by_text("not due: nothing of this day was built; a run by hand failed in score")
        until(page, "/tailrace/pages/flight_delay/2013-02-28", failed)
        self.agree(page, re.compile("published .* by v2"))
        expect(page.locator(".calendar .day")).to_have_count(4)
        expect(page.locator("ul.legend")).to_contain_text("not due: 1")

    def test_what_the_warehouse_refused_is_seen_and_leads_there(self, page):
        runs = "/api/v2/dags/warehouse/dagRuns"
        said = "flight_delay/features on 2013-02-09 (842 rows): 1 critical expectation failed.\n  - plane_seats: none."
        assert page.request.patch("/api/v2/dags/warehouse?update_mask=is_paused", data={"is_paused": True}).ok
        run = page.request.post(runs, data={"logical_date": None, "conf": {"day": "2013-02-09"}}).json()["dag_run_id"]
        try:
            task = f"{runs}/{run}/taskInstances/flight_delay.validate"
            error = {"key": "tailrace_error", "value": said}
            assert page.request.post(f"{task}/xcomEntries", data=error).ok
            assert page.request.patch(task, data={"new_state": "failed"}).ok
            assert page.request.patch(f"{runs}/{run}", data={"state": "failed"}).ok
            self.agree(page, re.compile("refused in validate: plane_seats: none."))
            page.goto("/tailrace/pages/flight_delay/2013-02-09")
            expect(page.locator("#broken-validate")).to_contain_text("1 critical expectation failed.")
            page.get_by_role("link", name="Open the run of warehouse").click()
            page.wait_for_url("**/dags/warehouse/runs/**")
            assert run in unquote(page.url)
        finally:
            assert page.request.delete(f"{runs}/{run}").ok
            page.request.patch("/api/v2/dags/warehouse?update_mask=is_paused", data={"is_paused": False})

    def test_a_pipeline_that_was_removed_keeps_its_history(self, page, running):
        lake, day = Wiring(running.configured).lake, dt.date(2013, 2, 7)
        decided = promotions.history(lake, "flight_delay")[0]
        promotions.record(lake, replace(decided, pipeline="flight_gone"))
        rows = lake.read("predictions/flight_delay", first=day, last=day).read_all().drop_columns("ds").to_reader()
        lake.publish(lake.stage("predictions/flight_gone", day, "before", rows), {"model_version": "1", "digest": "d"})
        frame = inside(page, "/plugin/models", "Models")
        expect(frame.get_by_text("pipelines/flight_gone.py does not exist any more.")).to_have_count(1)
        frame.get_by_role("link", name="flight_gone", exact=True).click()
        expect(frame.locator("#problem")).to_contain_text("Only the history of flight_gone is shown")
        frame.locator(".calendar").get_by_role("link", name=re.compile("2013-02-07: published .* by v1")).click()
        expect(frame.get_by_role("heading", name="flight_gone, 2013-02-07")).to_be_visible()
        expect(frame.locator("#problem")).to_contain_text("pipelines/flight_gone.py does not exist any more.")

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    @pytest.mark.parametrize("width", [1440, 800])
    def test_states_light_and_dark(self, page, scheme, width, tmp_path):
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 900})
        for address in ("", "/flight_delay", "/flight_delay/2013-02-07", "/flight_delay/2013-02-08", "/flight_gone"):
            page.goto(f"/tailrace/pages{address}")
            page.locator("html[data-ready] h1").wait_for()
            if address.startswith("/flight_delay"):
                page.locator(".chart .plot-container").first.wait_for()
            overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert overflow <= 0, f"{address} is {overflow} px wider than the window"
            page.screenshot(path=tmp_path / f"{address.replace('/', '_') or 'overview'}.png", full_page=True)

    def agree(self, page: Page, said: re.Pattern[str]) -> None:
        """The overview and the pipeline's page say this of the pipeline's last day."""
        page.goto("/tailrace/pages")
        row = page.get_by_role("row", name=re.compile("flight_delay"))
        expect(row.locator(".state")).to_contain_text(said)
        sentence = row.locator(".state > span").last.inner_text()
        page.goto("/tailrace/pages/flight_delay")
        expect(page.locator("#last-day")).to_contain_text(said)
        day, _, told = page.locator("#last-day").inner_text().partition(": ")
        assert sentence in (told, f"{day}: {told}")


def measure_again(running, day: dt.date, changes: dict[str, object]) -> None:
    """Write the day's row of the performance table with other values, as the monitor would after another day."""
    lake, table = Wiring(running.configured).lake, "performance/flight_delay"
    rows = lake.read(table, first=day, last=day).read_all().drop_columns("ds")
    changed = pa.Table.from_pylist([rows.to_pylist()[0] | changes], schema=rows.schema)
    lake.publish(lake.stage(table, day, "planted", changed.to_reader()), {})


class TestActing:
    """Every action ends in the lake."""

    def test_airflows_own_form_refuses_what_is_wrong(self, page):
        form, send = self.airflows_form(page, "predict__flight_delay")
        form.locator("#element_day").fill("2013-02-13")
        form.locator("#element_model").fill("latest")
        send.click()
        expect(form).to_contain_text("Invalid input for param model: 'latest' does not match")

    def test_airflows_own_form_and_the_runs_dbt_tab(self, page):
        form, send = self.airflows_form(page, "warehouse")
        form.locator("#element_day").fill("2013-02-13")
        form.get_by_role("button", name="More choices").click()
        form.locator("label").filter(has=page.locator("[name=element_dry_run]")).click()
        send.click()
        page.wait_for_url("**/dags/warehouse/runs/**")
        run = page.url.rpartition("/runs/")[2].partition("?")[0].strip("/")
        until(page, f"/tailrace/pages/runs/warehouse/{run}/dbt", page.get_by_text("All passed."))
        frame = inside(page, f"/dags/warehouse/runs/{run}/plugin/dbt", "What dbt built")
        row = frame.get_by_role("row", name=re.compile("^flight_delay_features "))
        for said in ("model", "success"):
            expect(row.get_by_role("cell", name=said, exact=True)).to_be_visible()
        row.get_by_text("Compiled SQL").click()
        expect(row.locator("pre").first).to_contain_text("known_at")
        frame.get_by_label("Find").fill("int_flights__days")
        expect(frame.get_by_role("row", name=re.compile("^stg_airlines "))).to_be_hidden()

    def test_predict_a_day_by_form(self, page, running):
        frame = inside(page, "/plugin/models/flight_delay", "flight_delay")
        frame.get_by_role("link", name="Predict a day").click()
        frame.get_by_label("Day", exact=True).fill("2013-02-09")
        frame.get_by_label("Model", exact=True).fill("latest")
        frame.get_by_role("button", name="Predict the day").click()
        assert frame.get_by_label("Model", exact=True).evaluate("field => field.validity.patternMismatch")
        frame.get_by_label("Model", exact=True).fill("as-of")
        frame.get_by_role("button", name="Predict the day").click()
        frame.get_by_role("link", name="Open the run").click()
        page.wait_for_url("**/dags/predict__flight_delay/runs/**")
        self.published(page, "2013-02-09", "v1")

    def test_backfill_by_form(self, page):
        frame = inside(page, "/plugin/models/flight_delay", "flight_delay")
        frame.get_by_role("link", name="Backfill", exact=True).click()
        frame.get_by_label("First day").fill("2013-02-11")
        frame.get_by_label("Last day").fill("2013-02-10")
        frame.get_by_role("button", name="Start the backfill").click()
        expect(frame.get_by_role("status")).to_have_text("The first day is after the last one.")
        frame.get_by_label("Last day").fill("2013-02-12")
        frame.get_by_role("button", name="Start the backfill").click()
        frame.get_by_role("link", name="Open the backfill").wait_for()
        self.published(page, "2013-02-11", "v1")
        self.published(page, "2013-02-12", "v1")

    def test_airflows_own_backfill_form_states_its_parameters_or_is_refused(self, page):
        def ended() -> bool:
            """Whether the backfill of the test before is at its end: Airflow has one of a DAG at a time."""
            held = page.request.get("/api/v2/backfills?dag_id=predict__flight_delay").json()["backfills"]
            return all(each["completed_at"] for each in held)

        eventually(ended, "the backfill before has ended", seconds=PATIENCE / 1000)
        form, _ = self.airflows_form(page, "predict__flight_delay")
        form.get_by_text("Run this Dag for a range of dates").click()
        for day in (dt.date(2013, 2, 10), dt.date(2013, 2, 11)):
            form.get_by_text("Select date and time").first.click()
            page.get_by_placeholder("YYYY/MM/DD").fill(f"{day:%Y/%m/%d}")
            page.get_by_placeholder("HH:mm").fill("00:00")
            page.get_by_placeholder("HH:mm").press("Enter")
            expect(form.get_by_text(f"{day:%b %d, %Y} 00:00")).to_be_visible()
            page.keyboard.press("Escape")
            expect(page.get_by_placeholder("HH:mm")).to_have_count(0)
        expect(form).to_contain_text("1 run will be triggered")
        form.get_by_role("button", name="Run Backfill").click()
        expect(form).to_contain_text("tick 'Override parameters on existing runs'")
        form.get_by_text("Override parameters on existing runs", exact=True).click()
        form.get_by_role("button", name="Run Backfill").click()
        expect(page.get_by_text("Backfill generated").first).to_be_visible()
        self.published(page, "2013-02-10", "v1")

    def test_approve_then_roll_back(self, page, running, tmp_path):
        frame = inside(page, "/plugin/models/flight_delay", "flight_delay")
        frame.get_by_role("row", name=re.compile("^v2")).get_by_role("link", name="Request approval").click()
        expect(frame.get_by_label("Training run")).to_have_value("2")
        frame.get_by_role("button", name="Request approval").click()
        frame.get_by_role("link", name="Open the run").wait_for()
        until(page, "/tailrace/pages/flight_delay", page.get_by_role("link", name="Approve or reject"))
        page.get_by_role("link", name="Approve or reject").click()
        page.get_by_label("Reason").or_(page.locator("#element_reason")).first.fill("<script>alert(1)</script> better")
        page.get_by_role("button", name="Approve").click()
        until(page, "/tailrace/pages/flight_delay", page.get_by_text("v2 since"))
        # It took over on 2013-02-12, which v1 had been asked to predict before.
        until(page, "/tailrace/pages/flight_delay/2013-02-12", page.locator("#out-of-date"))
        expect(page.locator("#out-of-date")).to_contain_text("v2 is the champion as of this day by a later decision")
        expect(page.get_by_text("the champion as of the day at that time").first).to_be_visible()
        page.goto("/tailrace/pages/flight_delay")
        outdated = page.locator(".calendar .day.outdated")
        expect(outdated).to_have_attribute("href", re.compile("2013-02-12$"))
        expect(page.get_by_text("<script>alert(1)</script> better").first).to_be_visible()

        # The monitor follows the days that were published above: then the promotion lies within the charts.
        until(page, "/tailrace/pages/flight_delay", page.locator("[data-figure*='promoted by']"))
        marks = page.locator(".chart .annotation-text").filter(has_text=re.compile("^v2$"))
        expect(marks).to_have_count(2)
        marks.first.scroll_into_view_if_needed()
        page.screenshot(path=tmp_path / "promotion.png", full_page=True)

        page.get_by_role("link", name="Roll back to v1").click()
        expect(page.get_by_label("Version")).to_have_value("1")
        page.get_by_label("Reason").fill("v2 was a mistake")
        page.get_by_role("button", name="Roll back").click()
        page.get_by_role("link", name="Open the run").wait_for()
        until(page, "/tailrace/pages/flight_delay", page.get_by_text("v1 rolled back"))
        decided = promotions.decisions(Wiring(running.configured).lake, "flight_delay")
        assert [(row.version, row.decision) for row in decided][:2] == [("1", "rolled_back"), ("2", "promoted")]
        assert {row.decided_by for row in decided[:2]} == {stack.USER}

    def test_retrain_by_form(self, page, running):
        frame = inside(page, "/plugin/models/flight_delay", "flight_delay")
        frame.get_by_role("link", name="Retrain").click()
        frame.get_by_label("Day", exact=True).fill("2013-02-13")
        frame.get_by_label("Search trials").fill("2")
        frame.get_by_text("More choices").click()
        frame.get_by_label("Dry run").check()
        frame.get_by_role("button", name="Start training").click()
        frame.get_by_role("link", name="Open the run").wait_for()
        tracker = Wiring(running.configured).tracker

        def trained() -> bool:
            made = [run for run in tracker.runs("flight_delay") if run.tags.get("tailrace.day") == "2013-02-13"]
            return any(run.status == "finished" and run.tags["tailrace.request.trials"] == "2" for run in made)

        eventually(trained, "the training asked for has ended", seconds=PATIENCE / 1000)

    def test_catch_up_after_an_outage(self, page, running, tmp_path):
        services, last = Wiring(running.configured), dt.date(2013, 2, 16)
        # As after an outage: a night that was landed, and whose build was refused.
        assert services.landing.last() == dt.date(2013, 2, 13)
        ingest.run(services, last, last)
        until(page, "/tailrace/pages", page.locator("#nights"))
        expect(page.locator("#nights")).to_contain_text("The nights 2013-02-14 to 2013-02-15 were missed")
        page.screenshot(path=tmp_path / "missed.png", full_page=True)
        frame = inside(page, "/plugin/models", "Models")
        frame.get_by_role("link", name="Catch up").click()
        expect(frame.get_by_label("First day")).to_have_value("2013-02-14")
        expect(frame.get_by_label("Last day")).to_have_value("2013-02-16")
        page.screenshot(path=tmp_path / "catch_up.png", full_page=True)
        frame.get_by_label("First day").fill("2013-02-17")
        frame.get_by_role("button", name="Start catching up").click()
        expect(frame.get_by_role("status")).to_have_text("The first day is after the last one.")
        frame.get_by_label("First day").fill("2013-02-14")
        frame.get_by_role("button", name="Start catching up").click()
        frame.get_by_role("link", name="Open the run").click()
        page.wait_for_url("**/dags/warehouse/runs/**")
        first = dt.date(2013, 2, 14)
        eventually(lambda: not services.landing.gaps(first, last), "the nights are landed", seconds=PATIENCE / 1000)
        page.goto("/tailrace/pages")
        expect(page.locator("#nights")).to_have_count(0)

    def airflows_form(self, page: Page, dag: str) -> tuple[Locator, Locator]:
        """Airflow's own trigger form of a DAG, and the button that sends it."""
        page.goto(f"/dags/{dag}")
        page.get_by_role("button", name="Trigger").first.click()
        form = page.locator("[role=dialog][data-state=open]")
        return form, form.get_by_role("button", name="Trigger", exact=True)

    def published(self, page: Page, day: str, version: str) -> None:
        """Wait until the day's page says that the version published it."""
        said = page.get_by_text(re.compile(f"published .* by {version}"))
        until(page, f"/tailrace/pages/flight_delay/{day}", said)


def until(page: Page, address: str, found: Locator) -> None:
    """Open a page again and again until something is on it: Airflow tells nobody when a run ends."""
    for _ in range(PATIENCE // 1000):
        page.goto(address)
        if found.count():
            return
        page.wait_for_timeout(1000)
    raise AssertionError(f"{address} still says: {page.locator('main').inner_text()[:1500]}")
