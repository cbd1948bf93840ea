"""Short texts with the mood that people read in them, delivered one night at a time.

The texts are 10,605 snippets of film reviews, 5,190 of New York Times editorials, 3,708 of product reviews, and 4,200
tweets. At least 15 people rated each from -4 (very negative) to 4 (very positive); see Hutto and Gilbert, "VADER: A
Parsimonious Rule-based Model for Sentiment Analysis of Social Media Text", ICWSM 2014.

The texts have no dates. This source gives them dates by a fixed rule: in the order of the SHA-256 of their ids, 120 a
day arrive for the days from 2014-01-01. The texts for a day arrive on the evening before, one every three minutes from
18:00 UTC. The ratings of a text are known 18 hours after it arrived.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import tarfile
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.sources import texts_archive
from tailrace.days import cutoff
from tailrace.sources import calendars

TEXTS_A_DAY = 120
FIRST_DAY = dt.date(2014, 1, 1)
LAST_DAY = dt.date(2014, 7, 18)
"""The last texts are those of 2014-07-17; their ratings are in this day's extract."""

_UTC = ZoneInfo("UTC")
_TIMESTAMP = pa.timestamp("us", tz="UTC")
_FIRST_ARRIVAL = dt.datetime(2013, 12, 31, 18, tzinfo=_UTC)
_BETWEEN_ARRIVALS = dt.timedelta(minutes=3)
_RATED_AFTER = dt.timedelta(hours=18)
_GENRES = {
    "editorial": "nytEditorialSnippets",
    "film": "movieReviewSnippets",
    "product": "amazonReviewSnippets",
    "tweet": "tweets",
}
"""Each genre with the prefix of its two files in the archive."""

TABLES: Mapping[str, pa.Schema] = MappingProxyType(
    {
        "texts": pa.schema(
            {"text_id": pa.string(), "genre": pa.string(), "text": pa.string(), "received_at": _TIMESTAMP}
        ),
        "ratings": pa.schema(
            {
                "text_id": pa.string(),
                "mean_rating": pa.float64(),
                "rating_deviation": pa.float64(),
                "raters": pa.int32(),
                "rated_at": _TIMESTAMP,
            }
        ),
    }
)
_KNOWN_AT = {"texts": "received_at", "ratings": "rated_at"}
_EMPTY = {"texts": LAST_DAY, "ratings": FIRST_DAY}
"""The day on which a table's extract has no rows."""


class RatedTexts:
    """Nightly extracts of `texts`, and of `ratings`, which are known a day later.

    `archive` is the source distribution that has the texts; by default, the one that `make setup` stored.
    """

    name = "rated_texts"
    tables = TABLES
    calendar = (FIRST_DAY, LAST_DAY)

    def __init__(self, cache: Path, archive: Path | None = None) -> None:
        self._archive = archive or texts_archive.location()

    def extract(self, table: str, day: dt.date) -> pa.Table:
        """The day's rows of a table. Raises OutOfCalendar, UnknownName, NotInstalled."""
        calendars.require(self, table, day)
        since, until = (cutoff(day - dt.timedelta(days=age), _UTC) for age in (1, 0))
        known_at = pc.field(_KNOWN_AT[table])
        return self._rows.filter((known_at > since) & (known_at <= until)).select(TABLES[table].names)

    def may_be_empty(self, table: str, day: dt.date) -> bool:
        """No text had been rated before the first, and none is left after the last."""
        return day == _EMPTY.get(table)

    @cached_property
    def _rows(self) -> pa.Table:
        """All texts with their ratings, in the order of their arrival."""
        texts = sorted(_texts(texts_archive.read(self._archive)), key=lambda row: _digest(row["text_id"]))
        for place, row in enumerate(texts):
            day, turn = divmod(place, TEXTS_A_DAY)
            row["received_at"] = _FIRST_ARRIVAL + dt.timedelta(days=day) + turn * _BETWEEN_ARRIVALS
            row["rated_at"] = row["received_at"] + _RATED_AFTER
        schema = pa.unify_schemas(list(TABLES.values()))
        return pa.Table.from_pylist(texts, schema)


def _digest(text_id: str) -> str:
    return hashlib.sha256(text_id.encode()).hexdigest()


def _texts(archive: bytes) -> Iterator[dict[str, Any]]:
    """A row for each text of the source distribution, which has the texts in an archive inside."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as outer:
        inner = _member(outer, "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz")
    with tarfile.open(fileobj=io.BytesIO(inner)) as files:
        for genre, prefix in _GENRES.items():
            texts, ratings = (
                _lines(_member(files, f"hutto_ICWSM_2014/{prefix}_{suffix}.txt"))
                for suffix in ("GroundTruth", "anonDataRatings")
            )
            # the file of texts has means too, but for 183 tweets they are not the means of the ratings
            rated = {number: rest for number, *rest in ratings}
            for number, _, text in texts:
                mean, deviation, given = rated[number]
                yield {
                    "text_id": f"{genre}/{number}",
                    "genre": genre,
                    "text": text.strip(),
                    "mean_rating": float(mean),
                    "rating_deviation": float(deviation),
                    "raters": given.count(",") + 1,
                }


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    assert file is not None, name  # noqa: S101  the archive's digest was checked
    return file.read()


def _lines(content: bytes) -> list[list[str]]:
    return [line.split("\t") for line in content.decode("utf-8-sig").split("\r\n") if line]
