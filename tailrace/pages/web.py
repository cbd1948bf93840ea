"""What all responses share: the source of their values, their security headers, and errors as pages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import Depends, HTTPException, Request
from fastapi.responses import HTMLResponse, Response
from starlette.exceptions import HTTPException as StarletteHTTPException

from tailrace.contracts import Tracker
from tailrace.errors import BadInput, SettingsError, UnknownName
from tailrace.pages import access, catalog, histories, rendering
from tailrace.pages.histories import Shown
from tailrace.pages.sources import Sources
from tailrace.spec import PipelineSpec

MOUNT = "/tailrace"
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
"""Plotly writes its own style element, so inline styles are allowed; inline scripts are not."""

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Content-Security-Policy": PAGE_POLICY,
}
TITLES = {401: "You are not logged in", 403: "Not allowed", 404: "Not found"}


@dataclass(frozen=True)
class AppParts:
    """The objects that the application was created with."""

    sources: Sources
    tracker: Callable[[], Tracker]
    data_docs: Path


def app_parts(request: Request) -> AppParts:
    """The objects that the application was created with."""
    made_with: AppParts = request.app.state.parts
    return made_with


def readable(name: str, user: GetUserDep) -> PipelineSpec:
    """The pipeline's spec. Raises 403 if the user may not read it, whether it exists or not."""
    if name not in access.readable(user, [name]):
        raise forbidden(f"the pipeline {name!r}")
    try:
        return catalog.get(name)
    except UnknownName as unknown:
        # Otherwise the message would list the names of all pipelines.
        raise UnknownName(unknown.kind, name, access.readable(user, unknown.known)) from None


AppPartsDep = Annotated[AppParts, Depends(app_parts)]
ReadableDep = Annotated[PipelineSpec, Depends(readable)]


def shown_pipeline(name: str, parts: AppPartsDep, user: GetUserDep) -> Shown:
    """The pipeline, or the history of one without a usable spec. Raises 403 as `readable` does."""
    if name not in access.readable(user, [name]):
        raise forbidden(f"the pipeline {name!r}")
    try:
        return histories.shown(parts.sources, name)
    except UnknownName as unknown:
        raise UnknownName(unknown.kind, name, access.readable(user, unknown.known)) from None


ShownDep = Annotated[Shown, Depends(shown_pipeline)]


def forbidden(what: str) -> HTTPException:
    return HTTPException(403, f"You have no right to read {what}. Ask an administrator of Airflow for it.")


def shown(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A page."""
    mount = request.scope.get("root_path", "")
    return HTMLResponse(rendering.page(template, mount=mount, airflow=mount.removesuffix(MOUNT), **values), status)


def tailrace_error(request: Request, error: Exception) -> HTMLResponse:
    """A Tailrace error as a page."""
    if isinstance(error, UnknownName):
        return shown(request, "problem", 404, title=TITLES[404], message=str(error), code=404)
    bad_request = isinstance(error, BadInput) and not isinstance(error, SettingsError)
    status, title = (400, "This cannot be shown") if bad_request else (503, "No data is available now")
    return shown(request, "problem", status, title=title, message=str(error), code=status)


def http_error(request: Request, error: Exception) -> HTMLResponse:
    """A refusal as a page: not logged in, not allowed, not found."""
    assert isinstance(error, StarletteHTTPException)  # noqa: S101  what it is registered for
    message = "Log in to Airflow, then open this page again." if error.status_code == 401 else str(error.detail)
    title = TITLES.get(error.status_code, "This request failed")
    return shown(request, "problem", error.status_code, title=title, message=message, code=error.status_code)


async def guard(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Security headers on every response that does not set its own."""
    response = await call_next(request)
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response
