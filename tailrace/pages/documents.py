"""Documents from other tools: Data Docs and evaluation reports, shown without scripts and without an origin."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import FileResponse, HTMLResponse, Response

from tailrace import days
from tailrace.errors import TailraceError, UnknownName
from tailrace.pages import access, catalog, day_records, histories, rendering
from tailrace.pages.web import AppParts, AppPartsDep, forbidden

router = APIRouter()

VALIDATION = ("validations", "pipeline", "suite", "day", "run", "page")
"""The folders of a validation's page in the Data Docs."""
BODY = re.compile(r"<body[^>]*>", re.IGNORECASE)
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
def show_data_docs(request: Request, parts: AppPartsDep, path: str, user: GetUserDep) -> Response:
    """A validation, for users who may read its pipeline; the index, for users who may read all pipelines.

    A validation judges expectations only: above it stands what became of its day.
    """
    # The file's real place says which pipeline it belongs to, not the path in the URL.
    place = (parts.data_docs / path).resolve()
    root = parts.data_docs.resolve()
    folders = place.relative_to(root).parts if place.is_relative_to(root) else ()
    specs, broken = catalog.read()
    needed = [folders[1]] if folders[:1] == ("validations",) and len(folders) > 1 else [*specs, *broken]
    if set(needed) - access.readable(user, needed):
        raise forbidden("these Data Docs")
    file = _file(parts.data_docs, path)
    if folders[:1] != ("validations",) or len(folders) < len(VALIDATION) or place.suffix != ".html":
        return file
    _, pipeline, suite, day, *_ = folders
    mount = request.scope.get("root_path", "")
    verdict = rendering.page("verdict", mount=mount, airflow="", suite=suite, **_verdict(parts, pipeline, day))
    return HTMLResponse(_above(place.read_text(errors="replace"), verdict), headers=POLICY)


def _verdict(parts: AppParts, pipeline: str, text: str) -> dict[str, Any]:
    """What the pages say of the day that a validation is of."""
    found: dict[str, Any] = {"pipeline": pipeline, "day": text, "state": None, "problem": ""}
    try:
        spec, day = histories.shown(parts.sources, pipeline).spec, days.parse(text, "day")
        return {**found, "state": day_records.told(parts.sources, spec, day)}
    except TailraceError as error:
        return {**found, "problem": str(error)}


def _above(html: str, verdict: str) -> str:
    """The page with the verdict at the beginning of its body."""
    body = BODY.search(html)
    place = body.end() if body else 0
    return html[:place] + verdict + html[place:]


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
