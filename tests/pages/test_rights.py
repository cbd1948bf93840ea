"""Who may open the pages: Airflow's own application with the plugin in it, its users and roles."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tailrace.operations.day_states import Attempt
from tailrace.pages import metadata, missed, missed_work

PAGES = (
    "/tailrace/pages",
    "/tailrace/pages/flight_delay",
    "/tailrace/pages/flight_delay/2013-03-05",
    "/tailrace/pages/runs/warehouse/manual__2013-03-05T00:00:00+00:00/dbt",
)
TRIGGER = "/api/v2/dags/predict__flight_delay/dagRuns"


@pytest.fixture(scope="session")
def home(tmp_path_factory) -> Path:
    """For as long as the process lives: its plugin is imported once, and belongs to one installation."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def client(home, airflow_db):
    """Airflow's application, and what a browser would send to it."""
    from airflow.api_fastapi.app import create_app

    with TestClient(create_app(apps="all"), base_url="http://airflow.example") as made:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TAILRACE_HOME", str(home))
            # The pages are made at their first request.
            made.get("/tailrace/pages")
        yield made


@pytest.fixture(scope="session")
def token(client):
    """Tokens by role."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    def of(role: str) -> str:
        return get_auth_manager().generate_jwt(SimpleAuthManagerUser(username=f"a-{role}", role=role))

    return of


@pytest.fixture
def as_viewer(token) -> dict[str, str]:
    return {"Authorization": f"Bearer {token('viewer')}"}


@pytest.fixture
def as_admin(token) -> dict[str, str]:
    return {"Authorization": f"Bearer {token('admin')}"}


@pytest.fixture(scope="session")
def docs(home):
    page = home / "data_docs" / "validations" / "flight_delay" / "features" / "2013-03-05" / "run" / "page.html"
    page.parent.mkdir(parents=True)
    page.write_text("<script>alert(1)</script>judged")
    (home / "data_docs" / "static").mkdir()
    (home / "data_docs" / "static" / "site.css").write_text("body {}")
    (home / "secret.html").write_text("secret")
    (home / "data_docs" / "results").mkdir()
    (home / "data_docs" / "results" / "result.json").write_text("{}")
    (home / "data_docs" / "validations" / "flight_delay" / "link.html").symlink_to(home / "secret.html")
    return page.relative_to(home / "data_docs").as_posix()


@pytest.fixture
def runs(client):
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session

    at = dt.datetime(2013, 3, 5, 6, tzinfo=dt.UTC)
    made = [("2013-03-05", "failed"), ("2013-03-05", "success"), (None, "failed")]
    with create_session() as session:
        for number, (day, state) in enumerate(made):
            run = DagRun(dag_id="predict__flight_delay", run_id=f"r{number}", run_type="manual", state=state)
            run.start_date = run.run_after = at + dt.timedelta(minutes=number)
            run.end_date = run.start_date
            run.partition_key = day
            run.conf = {} if day else {"day": "2013-03-06"}
            session.add(run)
    yield
    with create_session() as session:
        session.query(DagRun).delete()


class TestReading:
    @pytest.mark.parametrize("page", [*PAGES, "/tailrace/data-docs/index.html", "/tailrace/reports/abc"])
    def test_nobody_reads_without_a_login(self, client, page):
        answer = client.get(page)
        assert answer.status_code == 401
        assert "You are not logged in" in answer.text

    @pytest.mark.parametrize("page", PAGES)
    def test_a_viewer_reads(self, client, as_viewer, page):
        answer = client.get(page, headers=as_viewer)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"].startswith("text/html")

    def test_who_may_not_read_the_dag_reads_no_pipeline_and_sees_none(self, client, as_viewer, monkeypatch):
        from airflow.api_fastapi.app import get_auth_manager

        monkeypatch.setattr(type(get_auth_manager()), "is_authorized_dag", lambda self, **asked: False)
        for page in PAGES[1:]:
            assert client.get(page, headers=as_viewer).status_code == 403
        assert client.get("/tailrace/pages/no_such_pipeline", headers=as_viewer).status_code == 403
        overview = client.get("/tailrace/pages", headers=as_viewer)
        assert overview.status_code == 200
        assert "flight_delay" not in overview.text
        assert "You may not read any pipeline" in overview.text

    @pytest.mark.parametrize("page", ["a validation", "index.html"])
    def test_who_may_not_read_the_dag_reads_no_data_docs(self, client, as_viewer, docs, home, monkeypatch, page):
        from airflow.api_fastapi.app import get_auth_manager

        (home / "data_docs" / "index.html").write_text("all of them")
        address = f"/tailrace/data-docs/{docs if page == 'a validation' else page}"
        assert client.get(address, headers=as_viewer).status_code == 200
        monkeypatch.setattr(type(get_auth_manager()), "is_authorized_dag", lambda self, **asked: False)
        assert client.get(address, headers=as_viewer).status_code == 403

    @pytest.mark.parametrize(
        ("page", "status", "said"),
        [
            ("/tailrace/pages/flight_dely", 404, "Did you mean &#39;flight_delay&#39;?"),
            ("/tailrace/pages/flight_delay/yesterday", 400, "write a day of the calendar as YYYY-MM-DD"),
            ("/tailrace/pages/flight_delay/forms/delete", 404, "There is no form"),
            ("/tailrace/pages/flight_delay?until=%3Cscript%3E", 400, "&lt;script&gt;"),
        ],
    )
    def test_what_is_not_there_says_what_to_do(self, client, as_admin, page, status, said):
        answer = client.get(page, headers=as_admin)
        assert answer.status_code == status
        assert said in answer.text
        assert "<script>" not in answer.text


class TestCatchingUp:
    @pytest.fixture(autouse=True)
    def outage(self, monkeypatch):
        found = missed_work.MissedNights((dt.date(2013, 3, 2),), dt.date(2013, 3, 5))
        monkeypatch.setattr(missed, "nights_now", lambda sources: found)

    @pytest.mark.parametrize("role", ["viewer", "admin"])
    def test_who_may_start_the_warehouse_gets_the_button(self, client, token, role):
        page = client.get("/tailrace/pages", headers={"Authorization": f"Bearer {token(role)}"}).text
        assert "The night 2013-03-02 was missed" in page
        assert ("forms/catch_up?first_day=2013-03-02&amp;day=2013-03-05" in page) is (role == "admin")

    def test_who_may_not_read_the_warehouse_is_not_told(self, client, as_viewer, monkeypatch):
        from airflow.api_fastapi.app import get_auth_manager

        def one_pipeline(self, **asked) -> bool:
            return asked["details"] is not None and asked["details"].id == "predict__flight_delay"

        monkeypatch.setattr(type(get_auth_manager()), "is_authorized_dag", one_pipeline)
        page = client.get("/tailrace/pages", headers=as_viewer).text
        assert "flight_delay" in page
        assert "2013-03-02" not in page

    def test_the_form_is_for_who_may_start_it(self, client, as_viewer, as_admin):
        form = "/tailrace/pages/forms/catch_up"
        assert client.get(form).status_code == 401
        assert client.get(form, headers=as_viewer).status_code == 403
        answer = client.get(form, headers=as_admin)
        assert (answer.status_code, "Airflow has no DAG warehouse" in answer.text) == (404, True)


class TestWrongSettings:
    @pytest.fixture
    def broken(self, client, monkeypatch):
        """The pages' application as an api-server with a wrong variable makes it, in Airflow's own."""
        from tailrace.pages import app

        monkeypatch.setenv("TAILRACE_ENGINE", "flink")
        return TestClient(app.installed(), base_url="http://airflow.example")

    def test_every_page_says_what_is_wrong_to_who_is_logged_in(self, broken, as_viewer):
        for page in ("/pages", "/pages/flight_delay/2013-03-05"):
            answer = broken.get(page, headers=as_viewer)
            assert answer.status_code == 503
            assert "TAILRACE_ENGINE" in answer.text
            assert "flink" in answer.text
            assert "Content-Security-Policy" in answer.headers
        assert broken.get("/static/pages.css").status_code == 200

    def test_an_absent_extra_is_named_on_every_page(self, client, as_viewer, hide):
        from tailrace.pages import app

        hide("plotly")
        without = TestClient(app.installed(), base_url="http://airflow.example")
        answer = without.get("/pages", headers=as_viewer)
        assert "needs plotly, which is not installed" in answer.text
        assert "pip install &#39;tailrace[ui]&#39;" in answer.text

    def test_nobody_else_is_told(self, broken):
        answer = broken.get("/pages")
        assert answer.status_code == 401
        assert "flink" not in answer.text


class TestActing:
    def test_a_viewer_gets_no_form_and_no_button(self, client, as_viewer):
        form = client.get("/tailrace/pages/flight_delay/forms/backfill", headers=as_viewer)
        assert form.status_code == 403
        assert "not start runs" in form.text
        page = client.get("/tailrace/pages/flight_delay", headers=as_viewer).text
        assert "/forms/" not in page
        assert 'aria-disabled="true"' in page

    def test_what_a_form_sends_is_refused_to_a_viewer(self, client, as_viewer):
        assert client.post(TRIGGER, headers=as_viewer, json={"logical_date": None, "conf": {}}).status_code == 403
        days = {"from_date": "2013-01-01T00:00:00Z", "to_date": "2013-01-02T00:00:00Z"}
        body = {"dag_id": "predict__flight_delay", **days, "max_active_runs": 1, "dag_run_conf": {}}
        assert client.post("/api/v2/backfills", headers=as_viewer, json=body).status_code == 403

    @pytest.mark.parametrize(
        "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", None]
    )
    def test_another_sites_form_cannot_act_with_the_browsers_cookie(self, client, token, kind):
        """What a page of another site may send without asking the server first has one of these types, or none."""
        client.cookies.set("_token", token("admin"))
        try:
            body = b'{"logical_date": null, "conf": {}}'
            headers = {"Origin": "http://evil.example"} | ({"Content-Type": kind} if kind else {})
            for action in (TRIGGER, "/api/v2/backfills"):
                assert client.post(action, content=body, headers=headers).status_code == 422
            asked = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
            asked["Access-Control-Request-Headers"] = "content-type"
            assert "access-control-allow-origin" not in client.options(TRIGGER, headers=asked).headers
        finally:
            client.cookies.clear()

    @pytest.mark.parametrize("method", ["post", "put", "delete", "patch"])
    @pytest.mark.parametrize("page", [*PAGES, "/tailrace/pages/flight_delay/forms/train"])
    def test_the_pages_themselves_only_read(self, client, as_admin, method, page):
        assert getattr(client, method)(page, headers=as_admin).status_code == 405


class TestHeaders:
    @pytest.mark.parametrize("page", PAGES)
    def test_pages_run_no_foreign_script_and_no_inline_one(self, client, as_admin, page):
        headers = client.get(page, headers=as_admin).headers
        policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == "'self'"
        assert policy["frame-ancestors"] == "'self'"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"

    def test_errors_have_them_too(self, client):
        assert "script-src 'self'" in client.get("/tailrace/pages").headers["content-security-policy"]


class TestDocuments:
    def test_a_validation_is_shown_without_scripts_and_without_an_origin(self, client, as_viewer, docs):
        answer = client.get(f"/tailrace/data-docs/{docs}", headers=as_viewer)
        assert answer.status_code == 200
        assert "judged" in answer.text
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("sandbox")
        assert "allow-scripts" not in policy
        assert "allow-same-origin" not in policy
        assert "default-src 'none'" in policy

    def test_a_validation_says_first_what_became_of_its_day(self, client, as_viewer, docs, runs):
        answer = client.get(f"/tailrace/data-docs/{docs}", headers=as_viewer).text
        assert answer.index('id="tailrace-verdict"') < answer.index("judged")
        assert "flight_delay, 2013-03-05: – not published." in answer
        assert 'href="/tailrace/pages/flight_delay/2013-03-05">The day' in answer

    def test_a_validation_of_a_refused_day_says_that_it_was_refused(self, client, as_viewer, docs, home, monkeypatch):
        other = home / "data_docs" / "validations" / "flight_delay" / "predictions" / "2013-03-06" / "run" / "page.html"
        other.parent.mkdir(parents=True, exist_ok=True)
        other.write_text("<html><head></head><BODY class='x'><p>Succeeded, 100 %</p></body></html>")
        audited = Attempt(
            dag_id="predict__flight_delay",
            run_id="r2",
            day=dt.date(2013, 3, 6),
            outcome="failed",
            at=dt.datetime(2013, 3, 7, tzinfo=dt.UTC),
            task="audit",
            error="is refused:\n  - predictions moved <away>.",
            scheduled=True,
        )
        found = {"flight_delay": {audited.day: {"predict": audited}}}
        monkeypatch.setattr(metadata.AirflowActivity, "attempts", lambda self, since: found)
        address = "/tailrace/data-docs/validations/flight_delay/predictions/2013-03-06/run/page.html"
        answer = client.get(address, headers=as_viewer)
        said = "flight_delay, 2013-03-06: ✕ refused in audit: predictions moved &lt;away&gt;."
        assert answer.text.index("class='x'>") < answer.text.index(said) < answer.text.index("Succeeded, 100 %")
        assert answer.headers["content-security-policy"].startswith("sandbox")

    @pytest.mark.parametrize(
        "path",
        [
            "../secret.html",
            "..%2Fsecret.html",
            "%2e%2e/secret.html",
            "static/../../secret.html",
            "static/..%2f..%2fsecret.html",
            "validations/flight_delay/link.html",
            "results/result.json",
            "/etc/passwd",
            "validations/flight_delay",
        ],
    )
    def test_nothing_else_of_the_disk_is(self, client, as_admin, docs, path):
        answer = client.get(f"/tailrace/data-docs/{path}", headers=as_admin)
        assert answer.status_code == 404
        assert "secret" not in answer.text.replace("secret.html", "")

    @pytest.mark.parametrize("up", ["../other", "..%2fother", "%2e%2e/other", "./../other"])
    def test_who_may_read_one_pipeline_reaches_no_other_by_a_path(self, client, as_viewer, docs, home, monkeypatch, up):
        from airflow.api_fastapi.app import get_auth_manager

        def only_one(self, **asked) -> bool:
            return asked["details"] is not None and asked["details"].id == "predict__flight_delay"

        monkeypatch.setattr(type(get_auth_manager()), "is_authorized_dag", only_one)
        other = home / "data_docs" / "validations" / "other"
        other.mkdir(exist_ok=True)
        (other / "page.html").write_text("theirs")
        assert client.get(f"/tailrace/data-docs/{docs}", headers=as_viewer).status_code == 200
        for path in ("other/page.html", f"flight_delay/{up}/page.html"):
            answer = client.get(f"/tailrace/data-docs/validations/{path}", headers=as_viewer)
            assert (answer.status_code, "theirs" in answer.text) == (403, False), path

    def test_a_report_belongs_to_its_pipeline(self, client, as_viewer, home, monkeypatch):
        from tailrace.tracking.mlflow import MlflowTracker

        tracker = MlflowTracker(f"sqlite:///{home / 'mlflow.db'}", str(home / "artifacts"))
        training_run = tracker.start_run("flight_delay", "one", {})
        (home / "report").mkdir()
        (home / "report" / "evaluation.html").write_text("<p>a report</p>")
        tracker.log_files(training_run, home / "report", "evaluation")
        answer = client.get(f"/tailrace/reports/{training_run}", headers=as_viewer)
        assert (answer.status_code, answer.text) == (200, "<p>a report</p>")
        assert answer.headers["content-security-policy"].startswith("sandbox")
        assert client.get("/tailrace/reports/nowhere", headers=as_viewer).status_code == 404
        from airflow.api_fastapi.app import get_auth_manager

        monkeypatch.setattr(type(get_auth_manager()), "is_authorized_dag", lambda self, **asked: False)
        assert client.get(f"/tailrace/reports/{training_run}", headers=as_viewer).status_code == 403

    @pytest.mark.parametrize("readable", ["nothing", "another pipeline"])
    def test_who_may_not_read_everything_learns_of_no_run(self, client, as_viewer, home, monkeypatch, readable):
        from airflow.api_fastapi.app import get_auth_manager

        from tailrace.pages import catalog
        from tailrace.tracking.mlflow import MlflowTracker

        tracker = MlflowTracker(f"sqlite:///{home / 'mlflow.db'}", str(home / "artifacts"))
        training_run = tracker.start_run("flight_delay", "secret", {})
        specs, broken = catalog.read()
        monkeypatch.setattr(catalog, "read", lambda: ({**specs, "other": specs["flight_delay"]}, broken))

        def one_or_none(self, **asked) -> bool:
            return readable != "nothing" and asked["details"] is not None and asked["details"].id == "predict__other"

        monkeypatch.setattr(type(get_auth_manager()), "is_authorized_dag", one_or_none)
        said = {}
        for asked in (training_run, "0" * 32, f"{training_run[:-1]}x"):
            answer = client.get(f"/tailrace/reports/{asked}", headers=as_viewer)
            said[asked] = (answer.status_code, answer.text.replace(asked, "RUN"))
            assert training_run not in answer.text.replace(asked, "RUN")
        assert set(said.values()) == {said[training_run]}
        assert said[training_run][0] == 403

    def test_an_unknown_pipeline_names_only_those_that_may_be_read(self, client, as_viewer, monkeypatch):
        from airflow.api_fastapi.app import get_auth_manager

        def removed_one(self, **asked) -> bool:
            return asked["details"] is not None and asked["details"].id == "predict__removed"

        monkeypatch.setattr(type(get_auth_manager()), "is_authorized_dag", removed_one)
        answer = client.get("/tailrace/pages/removed", headers=as_viewer)
        assert (answer.status_code, "flight_delay" in answer.text) == (404, False)


def predicted():
    """The last run of flight_delay's predictions of each day."""
    from tailrace.pages.metadata import AirflowActivity

    found = AirflowActivity().attempts({"flight_delay": None})["flight_delay"]
    return {day: runs["predict"] for day, runs in found.items() if "predict" in runs}


def last(attempts):
    return attempts[max(attempts)]


class TestMetadata:
    """What is read of Airflow's tables."""

    def test_the_last_run_of_each_day_counts(self, runs):
        from tailrace.pages.metadata import AirflowActivity

        held = predicted()
        assert {day: (each.run_id, each.outcome) for day, each in held.items()} == {
            dt.date(2013, 3, 5): ("r1", "success"),
            dt.date(2013, 3, 6): ("r2", "failed"),
        }
        since = {"flight_delay": dt.date(2013, 3, 6), "other": None}
        held = AirflowActivity().attempts(since)
        assert {name: list(days) for name, days in held.items()} == {"flight_delay": [dt.date(2013, 3, 6)], "other": []}

    def test_the_newest_day_counts_whatever_ran_after_it_and_no_dry_run(self, runs):
        from airflow.models.dagrun import DagRun
        from airflow.utils.session import create_session

        def add(name, partition, state="success", **conf):
            run = DagRun(dag_id="predict__flight_delay", run_id=name, run_type="manual", state=state)
            run.run_after = run.start_date = run.end_date = dt.datetime(2013, 3, 9, tzinfo=dt.UTC)
            run.partition_key, run.conf = partition, conf
            with create_session() as session:
                session.add(run)

        add("older", "2013-03-05")
        add("tried", "2013-03-06", "failed", dry_run=True)
        assert last(predicted()).run_id == "r2"
        assert predicted()[dt.date(2013, 3, 6)].run_id == "r2"
        add("in_the_future", "2999-01-01", "failed")
        add("no_day", "whenever", "failed")
        assert last(predicted()).run_id == "r2"
        assert max(predicted()) == dt.date(2013, 3, 6)
        add("by_form", None, "failed", day="2013-03-07")
        assert last(predicted()).run_id == "by_form"

    def test_the_warehouses_next_night_is_the_one_that_is_built_now_or_scheduled(self, client):
        from airflow.models.dag import DagModel
        from airflow.models.dagbundle import DagBundleModel
        from airflow.models.dagrun import DagRun
        from airflow.utils.session import create_session

        from tailrace.pages.activity import Night
        from tailrace.pages.metadata import AirflowActivity

        def add(run_id, kind, partition):
            run = DagRun(dag_id="warehouse", run_id=run_id, run_type=kind, state="running")
            run.run_after, run.partition_key = dt.datetime(2013, 3, 9, tzinfo=dt.UTC), partition
            with create_session() as session:
                session.add(run)

        assert AirflowActivity().night() == Night()
        with create_session() as session:
            session.add(DagBundleModel(name="of-the-warehouse"))
            session.flush()
            dag = DagModel(dag_id="warehouse", bundle_name="of-the-warehouse", is_stale=False)
            dag.next_dagrun_partition_key = "2013-03-10"
            session.add(dag)
        try:
            assert AirflowActivity().night() == Night(dt.date(2013, 3, 10))
            add("by_hand", "manual", None)
            add("old", "backfill", "2013-01-01")
            assert AirflowActivity().night() == Night(dt.date(2013, 3, 10), building=True)
            add("tonight", "scheduled", "2013-03-09")
            assert AirflowActivity().night() == Night(dt.date(2013, 3, 9), building=True)
        finally:
            with create_session() as session:
                session.query(DagRun).filter(DagRun.dag_id == "warehouse").delete()
                session.query(DagModel).filter(DagModel.dag_id == "warehouse").delete()
                session.query(DagBundleModel).filter(DagBundleModel.name == "of-the-warehouse").delete()

    def test_a_task_that_waits_to_be_tried_again_is_told(self, runs):
        from airflow.models.dagrun import DagRun
        from airflow.models.taskinstance import TaskInstance
        from airflow.utils.session import create_session
        from sqlalchemy import insert, update

        task = {"dag_id": "predict__flight_delay", "run_id": "r2", "task_id": "score", "state": "up_for_retry"}
        task |= {"try_number": 1, "pool": "default_pool", "pool_slots": 1, "map_index": -1}
        with create_session(scoped=False) as session:
            session.execute(update(DagRun).where(DagRun.run_id == "r2").values(state="running"))
            session.execute(insert(TaskInstance), [task])
        held = predicted()[dt.date(2013, 3, 6)]
        assert (held.outcome, held.task, held.waits) == ("running", "score", True)

    def test_the_last_training_or_decision_that_failed_is_told_until_one_succeeds(self, runs):
        from airflow.models.dagrun import DagRun
        from airflow.utils.session import create_session

        from tailrace.pages.metadata import AirflowActivity

        def add(dag, name, state, **conf):
            run = DagRun(dag_id=dag, run_id=name, run_type="manual", state=state)
            run.run_after = run.start_date = run.end_date = dt.datetime(2013, 3, 9, tzinfo=dt.UTC)
            run.conf = conf
            with create_session() as session:
                session.add(run)

        def stopped():
            found = AirflowActivity().stopped(["flight_delay", "other"])
            return {name: [each.run_id for each in runs] for name, runs in found.items()}

        add("train__flight_delay", "t1", "failed")
        add("rollback__flight_delay", "b1", "failed")
        add("rollback__flight_delay", "b2", "success", dry_run=True)
        add("train__third", "t3", "failed")
        assert stopped() == {"flight_delay": ["b1", "t1"]}
        add("train__flight_delay", "t2", "success")
        assert stopped() == {"flight_delay": ["b1"]}

    @pytest.fixture
    def of_warehouse(self, runs):
        """Adds a run of `warehouse` for 2013-03-07 with the states of its tasks, and what they left."""
        from airflow.models.dagrun import DagRun
        from airflow.models.taskinstance import TaskInstance
        from airflow.models.xcom import XComModel
        from airflow.utils.session import create_session
        from sqlalchemy import insert

        def add(tasks, state="failed", errors=None, stopped=None, **conf):
            at = dt.datetime(2013, 3, 8, 6, tzinfo=dt.UTC)
            run = DagRun(dag_id="warehouse", run_id="w", run_type="scheduled", state=state)
            run.run_after = run.start_date = run.end_date = at
            run.partition_key, run.conf = "2013-03-07", conf
            where = {"dag_id": "warehouse", "run_id": "w", "map_index": -1}
            rows = [
                {**where, "task_id": task, "state": said, "try_number": 1, "pool": "warehouse", "pool_slots": 1}
                for task, said in tasks.items()
            ]
            left = [(task, "tailrace_error", said) for task, said in (errors or {}).items()]
            left += [("build", "tailrace_stopped", stopped)] if stopped else []
            with create_session(scoped=False) as session:
                session.add(run)
                session.flush()
                session.execute(insert(TaskInstance), rows)
                for task, key, said in left:
                    value = {"key": key, "value": json.dumps(said), "timestamp": at, "dag_run_id": run.id}
                    session.execute(insert(XComModel), [{**where, **value, "task_id": task}])

        return add

    def at_warehouse(self):
        from tailrace.pages.metadata import AirflowActivity

        held = AirflowActivity().attempts({"flight_delay": None, "other": dt.date(2013, 1, 1)})
        return {
            name: (each.outcome, each.link, each.refused, each.error)
            for name, found in held.items()
            if (each := found.get(dt.date(2013, 3, 7), {}).get("warehouse"))
        }

    OWN = {  # noqa: RUF012
        "flight_delay.validate": "success",
        "flight_delay.snapshot": "success",
        "other.validate": "success",
        "other.snapshot": "success",
    }

    def test_a_run_of_the_warehouse_ends_for_each_pipeline_as_its_own_tasks_ended(self, of_warehouse):
        said = "flight_delay/features on 2013-03-07: 1 critical expectation failed."
        refused = {"flight_delay.validate": "failed", "flight_delay.snapshot": "upstream_failed"}
        of_warehouse({"build": "success", **self.OWN, **refused}, errors={"flight_delay.validate": said})
        assert self.at_warehouse() == {
            "flight_delay": ("failed", "validate", True, said),
            "other": ("success", "build", False, ""),
        }

    def test_a_build_that_stopped_one_pipeline_is_the_broken_link_of_that_one(self, of_warehouse):
        failed = {"flight_delay.validate": "failed", "flight_delay.snapshot": "upstream_failed"}
        of_warehouse(
            {"build": "failed", **self.OWN, **failed, "other.snapshot": "running"},
            state="running",
            errors={"flight_delay.validate": "flights failed", "build": "1 of 20 nodes failed"},
            stopped={"flight_delay": "flights failed"},
        )
        assert self.at_warehouse() == {
            "flight_delay": ("failed", "build", False, "flights failed"),
            "other": ("running", "snapshot", False, ""),
        }

    def test_a_run_that_somebody_marked_as_failed_is_no_success(self, of_warehouse):
        marked = {"flight_delay.validate": "failed", "flight_delay.snapshot": "skipped", "other.snapshot": None}
        of_warehouse({"build": "success", **self.OWN, **marked})
        assert {name: found[:2] for name, found in self.at_warehouse().items()} == {
            "flight_delay": ("failed", "validate"),
            "other": ("failed", "build"),
        }

    def test_what_was_not_landed_stopped_every_pipeline(self, of_warehouse):
        stopped = dict.fromkeys(["build", *self.OWN], "upstream_failed")
        of_warehouse({"ingest": "failed", **stopped}, errors={"ingest": "There is no such day."})
        assert set(self.at_warehouse().values()) == {("failed", "ingest", False, "There is no such day.")}

    def test_a_run_that_does_not_concern_a_pipeline_is_no_attempt_of_it(self, of_warehouse):
        skipped = {"other.validate": "skipped", "other.snapshot": "skipped", "flight_delay.snapshot": "failed"}
        of_warehouse({"build": "success", **self.OWN, **skipped})
        assert list(self.at_warehouse()) == ["flight_delay"]

    def test_a_run_for_other_pipelines_hides_no_refusal(self, of_warehouse):
        of_warehouse(self.OWN, state="success", pipelines=["other"])
        assert list(self.at_warehouse()) == ["other"]

    def test_a_dry_run_is_none(self, of_warehouse):
        of_warehouse(self.OWN, dry_run=True)
        assert self.at_warehouse() == {}

    def test_a_run_of_several_days_is_the_run_of_each(self, runs):
        from airflow.models.dagrun import DagRun
        from airflow.utils.session import create_session

        at = dt.datetime(2013, 3, 5, 6, 1, 30, tzinfo=dt.UTC)
        with create_session() as session:
            run = DagRun(dag_id="predict__flight_delay", run_id="range", run_type="manual", state="failed")
            run.run_after = run.start_date = run.end_date = at
            run.conf = {"first_day": "2013-03-03", "day": "2013-03-06"}
            session.add(run)
        held = predicted()
        assert {day.day: (each.run_id, each.day == day) for day, each in held.items()} == {
            3: ("range", True),
            4: ("range", True),
            5: ("range", True),
            6: ("r2", True),
        }

    def test_what_a_task_left_of_a_node_is_read_also_from_an_earlier_version(self, client):
        from tailrace.contracts import ModelResult
        from tailrace.orchestration import task_results

        made = ModelResult(
            name="a",
            kind="model",
            status="success",
            seconds=0.5,
            rows=3,
            message="OK",
            unique_id="model.a",
            sql="select 1",
            log="log",
            depends_on=("model.b",),
            kept=True,
        )
        (left,) = task_results.plain([made])
        assert ModelResult.from_json(left) == made
        assert (
            ModelResult.from_json({"name": "a", "kind": "model", "status": "success", "seconds": 0.5, "of_old": 1}).kept
            is False
        )

    def test_a_dag_that_airflow_does_not_have(self, client):
        from tailrace.pages.metadata import AirflowActivity

        activity = AirflowActivity()
        assert activity.next_runs(["flight_delay"])["flight_delay"].missing
        assert activity.form("predict__flight_delay") is None
        assert activity.nodes("warehouse", "r") is None
        assert activity.approvals(["flight_delay"]) == {}
