"""Documents from other tools: Data Docs and evaluation reports, shown without scripts and without an origin."""

from __future__ import annotations

import tempfile
from pathlib import Path

from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import APIRouter, HTTPException
from fastapi.responses import FileResponse, HTMLResponse

from tailrace.errors import UnknownName
from tailrace.pages import access, catalog
from tailrace.pages.web import AppPartsDep, forbidden

router = APIRouter()

REPORT = "evaluation/evaluation.html"
SHOWN = {".html", ".css", ".png", ".gif", ".svg", ".ico", ".otf", ".ttf", ".woff", ".woff2"}
POLICY = {
    "Content-Security-Policy": (
        "sandbox allow-popups; default-src 'none'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "font-src 'self' data:; frame-ancestors 'self'"
    )
}


@router.get("/data-docs/static/{path:path}")
def show_asset(parts: AppPartsDep, path: str) -> FileResponse:
    """Style sheets and pictures of Great Expectations: a sandboxed page requests them without a login."""
    return _file(parts.data_docs / "static", path)


@router.get("/data-docs/{path:path}")
def show_data_docs(parts: AppPartsDep, path: str, user: GetUserDep) -> FileResponse:
    """A validation, for users who may read its pipeline; the index, for users who may read all pipelines."""
    # The file's real place says which pipeline it belongs to, not the path in the URL.
    place = (parts.data_docs / path).resolve()
    root = parts.data_docs.resolve()
    folders = place.relative_to(root).parts if place.is_relative_to(root) else ()
    specs, broken = catalog.read()
    needed = [folders[1]] if folders[:1] == ("validations",) and len(folders) > 1 else [*specs, *broken]
    if set(needed) - access.readable(user, needed):
        raise forbidden("these Data Docs")
    return _file(parts.data_docs, path)


@router.get("/reports/{training_run}")
def show_report(parts: AppPartsDep, training_run: str, user: GetUserDep) -> HTMLResponse:
    """The evaluation report of a training run."""
    # The same answer for runs without read rights and for runs that do not exist: which runs exist is not public.
    refused = forbidden(f"the report of a training run {training_run!r}, if there is one")
    specs, broken = catalog.read()
    everything = {*specs, *broken}
    allowed = access.readable(user, sorted(everything))
    if not allowed:
        raise refused
    tracker = parts.tracker()
    try:
        run = tracker.run(training_run)
    except UnknownName:
        if allowed < everything:
            raise refused from None
        raise
    if run.pipeline not in access.readable(user, [run.pipeline]):
        raise refused
    with tempfile.TemporaryDirectory(prefix="tailrace-report-") as folder:
        html = tracker.fetch(training_run, REPORT, Path(folder)).read_text()
    return HTMLResponse(html, headers=POLICY)


def _file(root: Path, path: str) -> FileResponse:
    """A file below root, and nothing else, wherever the path or a link points."""
    found = (root / path).resolve()
    if not found.is_relative_to(root.resolve()) or found.suffix not in SHOWN or not found.is_file():
        raise HTTPException(404, "There is no such page in the Data Docs. Old validations are not kept forever.")
    return FileResponse(found, headers=POLICY)
