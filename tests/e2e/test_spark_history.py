"""The installation of `make up` with Spark as its engine: tasks link to what Spark did."""

from __future__ import annotations

import httpx
import pytest

from scripts import stack
from tailrace import settings
from tailrace.spec import registry, zone
from tests.e2e.flights import NEXT, PREDICT
from tests.support import eventually

pytestmark = pytest.mark.spark


def test_a_task_links_to_its_application(home, monkeypatch):
    for name, value in {"HOME": str(home.home), "ENGINE": "spark", "SPARK_MASTER": "local[2]"}.items():
        monkeypatch.setenv(f"TAILRACE_{name}", value)
    with stack.Stack(settings.load(), parallelism=2).started() as running:
        api = running.api(zone(registry.get("flight_delay")))
        run = api.run_day(PREDICT, NEXT, {})
        assert api.xcom(PREDICT, run, "publish", "tailrace_result")["rows"] > 600
        address = api.links(PREDICT, run, "score")["Spark history"]
        assert address.startswith(f"{running.spark_history_url}/history/local-")
        application = address.rstrip("/").rpartition("/")[2]

        def listed() -> bool:
            answer = httpx.get(f"{running.spark_history_url}/api/v1/applications/{application}", timeout=60)
            return answer.is_success and answer.json()["attempts"][0]["completed"]

        eventually(listed, f"the history server knows {application}")
        assert application in httpx.get(address, follow_redirects=True, timeout=60).raise_for_status().text
