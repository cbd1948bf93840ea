"""The pages are made as the api-server starts, before anybody opens one."""

from __future__ import annotations

import asyncio
import importlib.util
import threading

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

import tailrace.pages.plugin
from tests.support import eventually


@pytest.fixture
def plugin(airflow_db):
    """The plugin's module, as a new process of Airflow imports it."""
    spec = importlib.util.spec_from_file_location("plugin_of_a_new_process", tailrace.pages.plugin.__file__)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_they_are_begun_once_at_the_start(plugin, monkeypatch):
    made = []
    monkeypatch.setattr(plugin, "_installed", lambda: made.append(PlainTextResponse("the pages")) or made[-1])
    server = Starlette()
    server.add_middleware(plugin.PagesMadeAtStart)
    server.mount("/tailrace", plugin.PAGES)
    assert made == []
    with TestClient(server) as client:
        eventually(lambda: made, "they are made without a request")
        assert client.get("/tailrace/").text == "the pages"
        assert client.get("/tailrace/").text == "the pages"
    assert len(made) == 1


def test_what_failed_is_begun_again(plugin, monkeypatch):
    answers = iter([ValueError("a fault"), PlainTextResponse("the pages")])

    def installed():
        if isinstance(answer := next(answers), Exception):
            raise answer
        return answer

    monkeypatch.setattr(plugin, "_installed", installed)
    server = Starlette()
    server.mount("/tailrace", plugin.PAGES)
    with TestClient(server, raise_server_exceptions=False) as client:
        assert client.get("/tailrace/").status_code == 500
        assert client.get("/tailrace/").text == "the pages"


def test_who_leaves_before_they_are_made_does_not_end_the_making(plugin, monkeypatch):
    goes_on = threading.Event()
    monkeypatch.setattr(plugin, "_installed", lambda: goes_on.wait(30) and "made")

    async def leaves() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(plugin.PAGES({"type": "http"}, None, None), 0.05)

    asyncio.run(leaves())
    goes_on.set()
    assert plugin.PAGES.make().result(30) == "made"
