"""The pages in Airflow's UI: the menu entry "Models", tabs on DAGs and runs, links on tasks.

Every Airflow process imports this file, so the web application is made when it is first asked for something.
"""

from __future__ import annotations

import asyncio
from typing import Any

from airflow.plugins_manager import AirflowPlugin

from pipelines.orchestration import links
from pipelines.orchestration.backfill_door import BackfillDoor
from pipelines.orchestration.priority import NightsFirst

MOUNT = "/tailrace"
EMBED = f"{MOUNT.removeprefix('/')}/static/embed.js"


class Pages:
    """The web application of `pipelines.pages.app`, made at the first request."""

    def __init__(self) -> None:
        self._app: Any = None
        self._making = asyncio.Lock()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async with self._making:
            if self._app is None:
                # Its imports take seconds, in which the api-server answers others.
                self._app = await asyncio.to_thread(_installed)
        await self._app(scope, receive, send)


def _installed() -> Any:
    from pipelines.pages import app

    return app.installed()


class TailracePlugin(AirflowPlugin):
    """What Tailrace adds to Airflow's UI."""

    name = "tailrace"
    fastapi_apps = [{"app": Pages(), "url_prefix": MOUNT, "name": "Tailrace"}]  # noqa: RUF012
    fastapi_root_middlewares = [  # noqa: RUF012
        {"middleware": BackfillDoor, "args": [], "kwargs": {}, "name": "backfills"}
    ]
    react_apps = [  # noqa: RUF012
        {"name": "Models", "bundle_url": EMBED, "destination": "nav", "url_route": "models", "nav_top_level": True},
        {"name": "Model days", "bundle_url": EMBED, "destination": "dag", "url_route": "model"},
        {"name": "dbt", "bundle_url": EMBED, "destination": "dag_run", "url_route": "dbt"},
    ]
    global_operator_extra_links = list(links.LINKS)  # noqa: RUF012
    priority_weight_strategies = [NightsFirst]  # noqa: RUF012
