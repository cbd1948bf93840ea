"""The index of the Data Docs, and the deletion of old pages.

The index lists the newest pages. What it says of each is kept in one small file, so that a validation reads neither
the other pages nor their results.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import html
import json
import os
import urllib.parse
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

PAGES_LISTED = 200
PAGES, RESULTS = "validations", "results"
"""The folders of the pages, and of the results they were made from, under the same names."""
_LISTED, _LOCK = "listed.json", "listed.lock"
_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Data Docs</title><style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: #1d2733 }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #dde3ea }
.failed { color: #b3261e; font-weight: 600 }
</style></head><body><h1>Data Docs</h1>
"""


@dataclass(frozen=True, kw_only=True)
class ListedPage:
    """A page of the index. `name` is its day or its days; `page` is its path in the Data Docs."""

    suite: str
    name: str
    day: str
    success: bool
    page: str


@dataclass(frozen=True, kw_only=True)
class RemovedPages:
    """Pages that were deleted with their results, or would be: files and bytes of both."""

    pages: int = 0
    files: int = 0
    bytes: int = 0


def add(docs: Path, page: ListedPage) -> None:
    """List a page in the index, in place of an earlier one of the same path."""
    with _locked(docs):
        others = [listed for listed in _listed(docs) if listed.page != page.page]
        _write(docs, [page, *others])


def remove(docs: Path, older_than: dt.timedelta, *, dry_run: bool = False) -> RemovedPages:
    """Delete the pages that were written longer ago, and their results; with `dry_run` only count them.

    A page that is written again is young again. The newest page of each suite stays, however old it is.
    """
    if not (docs / PAGES).is_dir():
        return RemovedPages()
    # What is old is decided under the lock, too: a page that is written meanwhile is not deleted.
    with nullcontext() if dry_run else _locked(docs):
        return _remove(docs, older_than, dry_run=dry_run)


def _remove(docs: Path, older_than: dt.timedelta, *, dry_run: bool) -> RemovedPages:
    before = dt.datetime.now(dt.UTC).timestamp() - older_than.total_seconds()
    newest: dict[Path, tuple[float, Path]] = {}
    found: list[tuple[float, Path]] = []
    for page in (docs / PAGES).rglob("*.html"):
        written = page.stat().st_mtime
        found.append((written, page))
        # <suite>/<name>/<time>/<page>
        newest[page.parents[2]] = max(newest.get(page.parents[2], (0.0, page)), (written, page))
    kept = {page for _, page in newest.values()}
    old = [page for written, page in found if written < before and page not in kept]
    files = [file for page in old for file in (page, _result_of(docs, page)) if file.is_file()]
    size = sum(file.stat().st_size for file in files)
    if old and not dry_run:
        for file in files:
            file.unlink(missing_ok=True)
            _remove_empty(file.parent, docs)
        _write(docs, [listed for listed in _listed(docs) if (docs / listed.page).is_file()])
    return RemovedPages(pages=len(old), files=len(files), bytes=size)


def _result_of(docs: Path, page: Path) -> Path:
    return docs / RESULTS / page.relative_to(docs / PAGES).with_suffix(".json")


def _remove_empty(folder: Path, docs: Path) -> None:
    """Remove the folder, and those above it, as far as nothing is in them any more."""
    while folder.parent != docs and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent


def _listed(docs: Path) -> list[ListedPage]:
    try:
        return [ListedPage(**listed) for listed in json.loads((docs / _LISTED).read_text())]
    except (FileNotFoundError, ValueError, TypeError):
        # Data Docs of an earlier release, or a damaged list: the results say it all.
        return list(_from_results(docs))


def _from_results(docs: Path) -> Iterator[ListedPage]:
    """The newest pages, from their results."""
    results = sorted((docs / RESULTS).rglob("*.json"), key=lambda file: file.stat().st_mtime, reverse=True)
    for file in results[:PAGES_LISTED]:
        page = docs / PAGES / file.relative_to(docs / RESULTS).with_suffix(".html")
        if not page.is_file():
            continue
        result = json.loads(file.read_text())
        run = result["meta"]["run_id"]
        yield ListedPage(
            suite=result["suite_name"],
            name=run["run_name"],
            day=run["run_time"][:10],
            success=bool(result["success"]),
            page=page.relative_to(docs).as_posix(),
        )


def _write(docs: Path, pages: Iterable[ListedPage]) -> None:
    """Write the list and the index, the page of the last day first."""
    newest = sorted(pages, key=lambda listed: (listed.day, listed.suite), reverse=True)[:PAGES_LISTED]
    _replace(docs / _LISTED, json.dumps([asdict(listed) for listed in newest], indent=1))
    _replace(docs / "index.html", _index(newest))


def _index(pages: list[ListedPage]) -> str:
    rows = "\n".join(map(_row, pages))
    return (
        f"{_HEAD}<p>The last {len(pages)} validations, at most {PAGES_LISTED}.</p>\n"
        "<table><thead><tr><th>Day</th><th>Suite</th><th>Result</th></tr></thead><tbody>\n"
        f"{rows}\n</tbody></table></body></html>\n"
    )


def _row(page: ListedPage) -> str:
    link = f'<a href="{html.escape(urllib.parse.quote(page.page))}">{html.escape(page.name)}</a>'
    result = "<td>passed</td>" if page.success else '<td class="failed">failed</td>'
    return f"<tr><td>{link}</td><td>{html.escape(page.suite)}</td>{result}</tr>"


def _replace(file: Path, text: str) -> None:
    """Write a file such that a reader sees the earlier text or the new one."""
    partial = file.with_name(f".{file.name}.{uuid.uuid4().hex}")
    partial.write_text(text)
    os.replace(partial, file)  # noqa: PTH105 - shorter than the other way to say it


@contextmanager
def _locked(docs: Path) -> Iterator[None]:
    """Only one process at a time changes the list."""
    docs.mkdir(parents=True, exist_ok=True)
    with (docs / _LOCK).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
