"""The pages in Airflow's UI: the menu entry "Models", tabs on DAGs and runs, links on tasks.

Airflow finds it by the entry point `airflow.plugins`. Every Airflow process imports this file; the web application
is created only in the api-server, when that starts.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from airflow.plugins_manager import AirflowPlugin

from tailrace.orchestration import links
from tailrace.orchestration.backfill_guard import BackfillDoor
from tailrace.orchestration.priority import NightsFirst, NightsFirstOfEarlierReleases

MOUNT = "/tailrace"
EMBED = f"{MOUNT.removeprefix('/')}/static/embed.js"


class Pages:
    """The web application of `tailrace.pages.app`, created in a thread: its imports take seconds."""

    def __init__(self) -> None:
        self._maker = ThreadPoolExecutor(1, thread_name_prefix="tailrace-pages")
        self._made: Future[Any] | None = None

    def make(self) -> Future[Any]:
        """Start creating it, unless that has already started; after a failure it is started again."""
        if self._made is None or (self._made.done() and self._made.exception()):
            self._made = self._maker.submit(_installed)
        return self._made

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        app = await asyncio.wrap_future(self.make())
        await app(scope, receive, send)


def _installed() -> Any:
    from tailrace.pages import app

    return app.installed()


PAGES = Pages()


class PagesMadeAtStart:
    """ASGI middleware that changes nothing: Airflow creates it only in the api-server, when that starts."""

    def __init__(self, app: Any) -> None:
        self._app = app
        PAGES.make()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._app(scope, receive, send)


class TailracePlugin(AirflowPlugin):
    """What Tailrace adds to Airflow's UI."""

    name = "tailrace"
    fastapi_apps = [{"app": PAGES, "url_prefix": MOUNT, "name": "Tailrace"}]  # noqa: RUF012
    fastapi_root_middlewares = [  # noqa: RUF012
        {"middleware": BackfillDoor, "args": [], "kwargs": {}, "name": "backfills"},
        {"middleware": PagesMadeAtStart, "args": [], "kwargs": {}, "name": "pages"},
    ]
    react_apps = [  # noqa: RUF012
        {"name": "Models", "bundle_url": EMBED, "destination": "nav", "url_route": "models", "nav_top_level": True},
        {"name": "Model days", "bundle_url": EMBED, "destination": "dag", "url_route": "model"},
        {"name": "dbt", "bundle_url": EMBED, "destination": "dag_run", "url_route": "dbt"},
    ]
    global_operator_extra_links = list(links.LINKS)  # noqa: RUF012
    priority_weight_strategies = [NightsFirst, NightsFirstOfEarlierReleases]  # noqa: RUF012
