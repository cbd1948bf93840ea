"""Files of the landing zone and staging manifests with any damage: refused in a sentence, or without effect."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tailrace.errors import LandingRefused, TailraceError
from tailrace.lake.delta import DeltaLake
from tailrace.sources.landing import Landing

DAY = dt.date(2013, 1, 2)
SCHEMA = pa.schema({"key": pa.string(), "value": pa.float64()})
ROWS = pa.table({"key": ["a", "b", "c"], "value": [1.0, 2.0, None]}, SCHEMA)
QUICK = settings(max_examples=80, deadline=None, database=None, suppress_health_check=list(HealthCheck))

WRONG: list[Any] = [None, True, -1, 0, 1.5, 2**70, "", "x", "2013-13-01", "../../x", [], [None], {}, {"x": 1}]


@pytest.fixture(scope="module")
def landing(tmp_path_factory: pytest.TempPathFactory) -> Landing:
    return Landing(
        str(tmp_path_factory.mktemp("landing")), {"events": SCHEMA}, lambda: dt.datetime(2013, 1, 3, tzinfo=dt.UTC)
    )


@given(st.data())
@QUICK
def test_a_damaged_file_of_the_landing_zone_is_refused_and_never_read_otherwise(
    landing: Landing, data: st.DataObject
) -> None:
    landing.write("events", DAY, ROWS)
    file = Path(landing.root, "events", f"ds={DAY}", "part-0.parquet")
    sound = file.read_bytes()
    at = int(data.draw(st.floats(0, 1, exclude_max=True), "at") * len(sound))
    damage = data.draw(st.sampled_from(["cut", "flip", "insert", "repeat"]), "damage")
    other = bytes([sound[at] ^ data.draw(st.integers(1, 255), "bits")])
    file.write_bytes(
        {
            "cut": sound[:at],
            "flip": sound[:at] + other + sound[at + 1 :],
            "insert": sound[:at] + other + sound[at:],
            "repeat": sound[:at] + sound[at:] * 2,
        }[damage]
    )
    for look in (landing.digests, landing.empty, landing.check):
        try:
            look(DAY, DAY)
        except LandingRefused as refused:
            assert f"events of {DAY}" in str(refused)
    try:
        read = landing.read("events", DAY)
    except LandingRefused:
        return
    assert read.select(SCHEMA.names).to_pylist() == ROWS.to_pylist()


def test_a_damaged_name_of_a_column_is_refused(landing: Landing) -> None:
    landing.write("events", DAY, ROWS)
    file = Path(landing.root, "events", f"ds={DAY}", "part-0.parquet")
    file.write_bytes(file.read_bytes().replace(b"value", b"\xdfalue"))
    for look in (landing.digests, landing.empty, landing.check):
        with pytest.raises(LandingRefused, match=f"events of {DAY}"):
            look(DAY, DAY)


@pytest.fixture
def lake(tmp_path: Path) -> DeltaLake:
    return DeltaLake(str(tmp_path))


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path to every part of a JSON value, the whole included."""
    yield path
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, part in parts:
        yield from leaves(part, (*path, name))


def changed(value: Any, path: tuple[Any, ...], other: Any) -> Any:
    """The JSON value with another part at the path."""
    if not path:
        return other
    copied = dict(value) if isinstance(value, dict) else list(value)
    copied[path[0]] = changed(copied[path[0]], path[1:], other)
    return copied


@given(st.data())
@QUICK
def test_a_manifest_with_wrong_values_publishes_what_was_staged_or_nothing(
    lake: DeltaLake, tmp_path: Path, data: st.DataObject
) -> None:
    run = data.draw(st.uuids().map(str), "run")
    lake.publish(lake.stage("t", DAY, f"before-{run}", ROWS.slice(0, 1).to_reader()), {})
    lake.stage("t", DAY, run, ROWS.to_reader())
    (manifest,) = tmp_path.joinpath("t", "_staged").rglob(f"{run}-*.json")
    sound = json.loads(manifest.read_text())
    paths = list(leaves(sound))
    path = paths[int(data.draw(st.floats(0, 1, exclude_max=True), "path") * len(paths))]
    other = data.draw(st.sampled_from(WRONG), "other")
    manifest.write_text(json.dumps(changed(sound, path, other)))
    with contextlib.suppress(TailraceError):
        lake.publish(lake.staged("t", DAY, run), {})
    held = lake.read("t", first=DAY, last=DAY).read_all().drop_columns(["ds"]).to_pylist()
    assert held in (ROWS.to_pylist(), ROWS.slice(0, 1).to_pylist())
