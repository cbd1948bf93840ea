"""The web application behind the pages, mounted in Airflow's api-server below /tailrace.

It only reads. Actions that change something are sent by the browser to Airflow's own REST API.
"""

from __future__ import annotations

import datetime as dt
import importlib.util
from pathlib import Path

from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import FastAPI
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from tailrace import extras, settings
from tailrace.errors import BadInput, TailraceError
from tailrace.pages import cache_warmer, documents, views, web
from tailrace.pages.caching import FRESH_SECONDS, CachedLake, CachedTracker
from tailrace.pages.metadata import AirflowActivity
from tailrace.pages.missed_work import Found
from tailrace.pages.sources import Sources
from tailrace.wiring import Wiring

HERE = Path(__file__).parent


def installed() -> FastAPI:
    """The application with the settings of this process's environment.

    If these are wrong, or the extra `ui` is not installed, every page says so.
    """
    try:
        extras.require("Tailrace's part of Airflow's UI", "plotly")
        configured = settings.load()
        services = Wiring(configured)
        lake = services.watched_lake
    except BadInput as error:
        return _telling(error)
    # Asking an object store for the head of a table costs a request.
    fresh = FRESH_SECONDS if "://" in configured.lake else 0.0
    sources = Sources(
        lake=CachedLake(lake, fresh),
        tracker=CachedTracker(lambda: services.tracker),
        activity=AirflowActivity(),
        now=lambda: dt.datetime.now(dt.UTC),
        missed=Found(lambda: services.landing),
    )
    cache_warmer.keep(sources)
    return create(web.AppParts(sources, lambda: services.tracker, configured.data_docs))


def create(parts: web.AppParts) -> FastAPI:
    """The application with these sources."""
    app = _empty()
    app.state.parts = parts
    app.get("/plotly.js")(_plotly)
    app.include_router(views.router)
    app.include_router(documents.router)
    return app


def _telling(error: TailraceError) -> FastAPI:
    """An application that shows only this error, to every user who is logged in."""
    app = _empty()

    @app.get("/{page:path}")
    def tell(user: GetUserDep) -> None:
        raise error

    return app


def _empty() -> FastAPI:
    """An application without pages: its settings, and the routes that every page needs."""
    app = FastAPI(title="Tailrace", docs_url=None, redoc_url=None, openapi_url=None)
    app.middleware("http")(web.guard)
    app.exception_handler(TailraceError)(web.tailrace_error)
    app.exception_handler(HTTPException)(web.http_error)
    app.mount("/static", StaticFiles(directory=HERE / "static"))
    return app


def _plotly() -> FileResponse:
    """The plotly.js file of the installed package."""
    package = importlib.util.find_spec("plotly")
    script = Path(package.origin if package and package.origin else "").parent / "package_data" / "plotly.min.js"
    return FileResponse(script, media_type="text/javascript", headers={"Cache-Control": "private, max-age=86400"})
