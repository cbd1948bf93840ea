"""The index of the Data Docs is built without reading other pages; old pages are deleted, and it says so."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tailrace.validation import docs_index
from tailrace.validation.docs_index import ListedPage, RemovedPages

JANUARY = dt.date(2013, 1, 1)
MONTH = dt.timedelta(days=30)


def written(docs: Path, number: int, *, suite: str = "features", days_ago: int = 0, success: bool = True) -> ListedPage:
    """A page and its result, as a validation leaves them."""
    day = str(JANUARY + dt.timedelta(days=number))
    place = Path(suite) / day / f"{day}T000000" / "batch"
    page, result = docs / "validations" / f"{place}.html", docs / "results" / f"{place}.json"
    meta = {"run_id": {"run_name": day, "run_time": f"{day}T00:00:00+00:00"}}
    for file, text in (
        (page, "a page"),
        (result, json.dumps({"suite_name": suite, "success": success, "meta": meta})),
    ):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        then = dt.datetime.now().timestamp() - days_ago * 86_400
        os.utime(file, (then, then))
    return ListedPage(suite=suite, name=day, day=day, success=success, page=page.relative_to(docs).as_posix())


def names(docs: Path) -> list[str]:
    """The days that the index shows, from top to bottom."""
    return re.findall(r"\.html\">([^<]+)</a>", (docs / "index.html").read_text())


def test_the_last_day_is_first_and_a_page_is_listed_once(tmp_path):
    for number in (1, 0, 2, 1):
        docs_index.add(tmp_path, written(tmp_path, number, success=number != 1))
    assert names(tmp_path) == ["2013-01-03", "2013-01-02", "2013-01-01"]
    assert (tmp_path / "index.html").read_text().count('class="failed">failed') == 1


def test_no_other_page_or_result_is_read(tmp_path, monkeypatch):
    docs_index.add(tmp_path, written(tmp_path, 0))
    read_text, read = Path.read_text, []
    monkeypatch.setattr(Path, "read_text", lambda self, *of: (read.append(self.name), read_text(self, *of))[1])
    docs_index.add(tmp_path, written(tmp_path, 1))
    assert read == ["listed.json"]


def test_at_most_so_many_are_listed(tmp_path, monkeypatch):
    monkeypatch.setattr(docs_index, "PAGES_LISTED", 3)
    for number in range(5):
        docs_index.add(tmp_path, written(tmp_path, number))
    assert names(tmp_path) == ["2013-01-05", "2013-01-04", "2013-01-03"]


@pytest.mark.parametrize("content", [None, "", "[{", "{}", '[{"page": 1}]'])
def test_without_a_list_the_results_say_what_there_is(tmp_path, content):
    for number in range(3):
        written(tmp_path, number, success=number != 1)
    (tmp_path / "validations/features/2013-01-01/2013-01-01T000000/batch.html").unlink()
    if content is not None:
        (tmp_path / "listed.json").write_text(content)
    docs_index.add(tmp_path, written(tmp_path, 3))
    expected = ["2013-01-04", "2013-01-03", "2013-01-02"]
    assert names(tmp_path) == (expected if content != "{}" else expected[:1])


def test_a_name_is_text_and_no_markup(tmp_path):
    docs_index.add(tmp_path, ListedPage(suite="<b>", name="a & b", day="2013-01-01", success=True, page="v/a b#.html"))
    index = (tmp_path / "index.html").read_text()
    assert '<a href="v/a%20b%23.html">a &amp; b</a></td><td>&lt;b&gt;</td>' in index


def test_validations_at_the_same_time_are_all_listed(tmp_path):
    pages = [written(tmp_path, number) for number in range(20)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda page: docs_index.add(tmp_path, page), pages))
    assert len(names(tmp_path)) == 20


def test_old_pages_go_with_their_results_and_the_newest_of_each_suite_stays(tmp_path):
    for number, days_ago in ((0, 50), (1, 40), (2, 29)):
        docs_index.add(tmp_path, written(tmp_path, number, days_ago=days_ago))
    docs_index.add(tmp_path, written(tmp_path, 0, suite="outcomes", days_ago=90))
    before = sorted(tmp_path.rglob("*"))
    found = docs_index.remove(tmp_path, MONTH, dry_run=True)
    assert (found.pages, found.files) == (2, 4)
    assert found.bytes > 2 * len("a page")
    assert sorted(tmp_path.rglob("*")) == before
    assert docs_index.remove(tmp_path, MONTH) == found
    assert names(tmp_path) == ["2013-01-03", "2013-01-01"]
    for folder in ("validations", "results"):
        left = [path.relative_to(tmp_path / folder).parts[:2] for path in (tmp_path / folder).rglob("batch.*")]
        assert sorted(left) == [("features", "2013-01-03"), ("outcomes", "2013-01-01")]
    assert not (tmp_path / "validations" / "features" / "2013-01-01").exists()
    assert docs_index.remove(tmp_path, MONTH) == RemovedPages()


def test_a_page_that_is_written_again_before_the_lock_is_had_stays(tmp_path, monkeypatch):
    page = written(tmp_path, 0, days_ago=40)
    written(tmp_path, 1)
    locked = docs_index._locked

    @contextmanager
    def late(docs):
        written(tmp_path, 0)
        with locked(docs):
            yield

    monkeypatch.setattr(docs_index, "_locked", late)
    assert docs_index.remove(tmp_path, MONTH) == RemovedPages()
    assert (tmp_path / page.page).is_file()


def test_without_data_docs_there_is_nothing_to_delete(tmp_path):
    assert docs_index.remove(tmp_path / "data_docs", MONTH) == RemovedPages()
    assert not (tmp_path / "data_docs").exists()
