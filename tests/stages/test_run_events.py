"""What a lineage server is told of a night's stages, by a server of the test's own."""

from __future__ import annotations

import datetime as dt
import json
import logging
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace
from typing import Any

import pytest

from tailrace import settings
from tailrace.errors import AuditFailed, StagingGone
from tailrace.lineage import run_events
from tailrace.lineage.run_events import LineageDataset, Touched
from tailrace.stages import publish
from tests.stages.conftest import FIRST, LAST, Loop, installation, memory
from tests.support import work

DAY = dt.date(2024, 5, 1)


@dataclass
class Told:
    """The events that came, each with its headers."""

    url: str = ""
    status: int = 201
    events: list[dict[str, Any]] = field(default_factory=list)
    headers: list[Any] = field(default_factory=list)


@pytest.fixture
def told() -> Iterator[Told]:
    found = Told()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.events.append(json.loads(body))
            found.headers.append(self.headers)
            self.send_response(found.status)
            self.end_headers()

        def log_message(self, *args: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        found.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield found
        server.shutdown()
        thread.join()


def configured(url: str, **more: Any) -> settings.Settings:
    return replace(settings.load(), openlineage_url=url, **more)


def reads_and_writes(configured: settings.Settings, work: Any, done: int | None) -> Touched:
    return Touched([LineageDataset("file", "/a")], [LineageDataset("file", "/b", done)])


@run_events.reported("publish", reads_and_writes)
def stage(work: Any, day: dt.date, *, fails: bool = False) -> int:
    if fails:
        raise AuditFailed("churn: too few rows.")
    return 7


def work_of(spec: Any, url: str, **more: Any) -> Any:
    return work(SimpleNamespace(settings=configured(url, **more)), spec)


def test_a_run_has_a_start_and_an_end_with_datasets(told: Told, spec: Any) -> None:
    assert stage(work_of(spec, told.url, openlineage_api_key="k", openlineage_namespace="ours"), DAY) == 7
    start, end = told.events
    assert (start["eventType"], end["eventType"]) == ("START", "COMPLETE")
    assert start["run"]["runId"] == end["run"]["runId"]
    assert end["job"]["namespace"] == "ours" and end["job"]["name"] == f"{spec.name}.publish"
    assert [each["name"] for each in (*end["inputs"], *end["outputs"])] == ["/a", "/b"]
    assert end["outputs"][0]["outputFacets"]["outputStatistics"]["rowCount"] == 7
    assert end["run"]["facets"]["nominalTime"]["nominalStartTime"].startswith(str(DAY))
    assert told.headers[0]["Authorization"] == "Bearer k"


def test_a_failure_is_told_and_stays_one(told: Told, spec: Any) -> None:
    with pytest.raises(AuditFailed):
        stage(work_of(spec, told.url), DAY, fails=True)
    assert [each["eventType"] for each in told.events] == ["START", "FAIL"]
    assert "too few rows" in told.events[1]["run"]["facets"]["errorMessage"]["message"]


def test_without_a_url_nothing_is_imported(spec: Any, hide: Any) -> None:
    hide("openlineage")
    assert stage(work_of(spec, ""), DAY) == 7


def test_a_client_that_is_not_installed_is_a_warning_that_names_the_extra(spec: Any, hide: Any, caplog: Any) -> None:
    hide("openlineage")
    with caplog.at_level(logging.WARNING):
        assert stage(work_of(spec, "http://127.0.0.1:1"), DAY) == 7
    assert "tailrace[openlineage]" in caplog.text


def test_a_server_that_refuses_or_is_away_fails_no_night(told: Told, spec: Any, caplog: Any) -> None:
    told.status = 500
    for url in (told.url, "http://127.0.0.1:1"):
        caplog.clear()
        with caplog.at_level(logging.WARNING, "tailrace"):
            assert stage(work_of(spec, url), DAY) == 7
        said = [each.getMessage() for each in caplog.records if each.name == "tailrace"]
        assert len(said) == 1 and said[0].startswith(f"publish of {spec.name}, {DAY}: the lineage server {url}")
    assert len(told.events) == 1


def test_a_server_that_never_answers_costs_a_limited_time(spec: Any, caplog: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(run_events, "SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent, caplog.at_level(logging.WARNING, "tailrace"):
        assert stage(work_of(spec, f"http://127.0.0.1:{silent.getsockname()[1]}"), DAY) == 7
    assert len([each for each in caplog.records if each.name == "tailrace"]) == 1


@pytest.mark.services
def test_the_stages_of_a_night_tell_what_they_read_and_write(told: Told, spec: Any, tmp_path: Any) -> None:
    services = installation(memory, tmp_path, spec)
    services.settings = configured(told.url, lake="s3://bucket/lake", tracking_uri="http://mlflow:5000")
    loop = Loop(services, spec)
    loop.take()
    told.events.clear()
    loop.take(LAST, LAST, run="again")
    result = loop.challenge(LAST)
    day = LAST
    loop.predict(day)
    ended = {each["job"]["name"]: each for each in told.events if each["eventType"] == "COMPLETE"}
    assert set(ended) == {f"{spec.name}.{name}" for name in ("snapshot", "train", "publish")}
    names = {job: ([i["name"] for i in e["inputs"]], [o["name"] for o in e["outputs"]]) for job, e in ended.items()}
    features, outcomes = (f"lake/{table}" for table in (spec.features_table, spec.outcomes_table))
    model = f"models/{spec.name}/{result.version}"
    assert names[f"{spec.name}.snapshot"] == ([mart.table for mart in spec.marts], [features, outcomes])
    assert names[f"{spec.name}.train"] == ([features, outcomes], [model])
    assert names[f"{spec.name}.publish"] == ([features, model], [f"lake/{spec.predictions_table}"])
    assert {each["namespace"] for each in ended[f"{spec.name}.publish"]["outputs"]} == {"s3://bucket"}
    with pytest.raises(StagingGone):
        publish.run(loop.work("nothing"), FIRST)
    assert told.events[-1]["eventType"] == "FAIL"
