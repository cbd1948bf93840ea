"""Whatever the environment says: settings that can be used, or every wrong variable by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import settings as configured
from hypothesis import strategies as st

from tailrace import settings
from tailrace.errors import SettingsError
from tailrace.settings import keys, project_file

LOCATIONS = ("HOME", "LAKE", "LANDING", "ARTIFACTS", "WAREHOUSE", "TRACKING_URI", "SPARK_EVENT_LOG")
NAMES = sorted(name.removeprefix("TAILRACE_") for name in keys.variables())
KEYS = sorted({*keys.TABLES, keys.ENV, f"{keys.ENV}.prod", *(setting.key for setting in keys.every_setting())})
TEXT = st.text(st.characters(exclude_characters="\0"), min_size=1, max_size=40)
NUMBERS = ["²", "٣", "-1", "0", "1.5", "9" * 5000, "4294967296", "TRUE", "yes"]
OBJECTS = ["[" * 5000, '{"a": 1}']
PLACES = ["~nobody-of-this-name/x", "~", "/" * 300, "a" * 5000, "s3://", "s3://b ucket/x", "\n", "\ud800", "sqlite:///"]
SERVERS = ["://", "http://", "http://[::1", "http://h:99999", "postgresql://u@h:x/d", "postgresql://u:p@[/d", "k8s://"]
SURPRISES = st.sampled_from([*NUMBERS, *OBJECTS, *PLACES, *SERVERS])


@configured(max_examples=400, deadline=None, database=None)
@given(name=st.sampled_from(NAMES), value=SURPRISES | TEXT)
@example(name="HOME", value="\ud800")
def test_any_value_is_taken_or_its_variable_is_named(name: str, value: str) -> None:
    variable = f"TAILRACE_{name}"
    try:
        loaded = settings.load({"TAILRACE_HOME": "/home/of/tailrace", variable: value})
    except SettingsError as error:
        assert all(problem.startswith(variable) for problem in error.problems if "needs" not in problem)
        assert all(problem.endswith((".", "?")) for problem in error.problems)
        return
    assert 0 <= loaded.seed <= settings.MOST_SEED
    for place in (loaded.lake, loaded.landing, loaded.artifacts, loaded.warehouse, str(loaded.home)):
        assert Path(place).is_absolute() or ":/" in place


WORDS = SURPRISES.filter(lambda text: "\ud800" not in text) | st.text(max_size=20)
PLAIN = WORDS | st.integers(-9, 9) | st.booleans() | st.floats(allow_nan=False, allow_infinity=False)
VALUES = PLAIN | st.lists(PLAIN, max_size=3) | st.dictionaries(st.text(max_size=5), PLAIN, max_size=3)


@configured(max_examples=100, deadline=None, database=None)
@given(key=st.sampled_from(KEYS), value=VALUES)
def test_any_value_in_the_file_is_taken_or_its_key_is_named(key: str, value: object) -> None:
    problems: list[str] = []
    texts: Mapping[str, str] = {}
    with pytest.MonkeyPatch.context() as patched:
        # What a TOML file would hold: a table is a dict of dicts.
        table, _, name = key.rpartition(".")
        patched.setattr(project_file, "_document", lambda *given: {table: {name: value}} if table else {key: value})
        texts = project_file.read(settings.Project(Path("/project")), problems, "").texts
        try:
            settings.load()
        except SettingsError as error:
            problems = list(error.problems)
    assert len(texts) <= 1
    for problem in problems:
        assert problem.startswith(f"tailrace.toml: {key}") or "needs TAILRACE_POD" in problem
        assert problem.endswith((".", "?"))


@configured(max_examples=200, deadline=None, database=None)
@given(
    name=st.sampled_from(LOCATIONS),
    before=st.text("ab /.-_é日=+@,;~&()!", max_size=8),
    letter=st.sampled_from(sorted(settings.NOT_IN_PATHS)) | st.characters(categories=("Cc",), exclude_characters="\0"),
)
@example(name="HOME", before="feature", letter="%2Fx")
def test_a_letter_that_one_of_the_parts_reads_otherwise_is_refused(name: str, before: str, letter: str) -> None:
    place = f"/data/{before}{letter}x"
    value = f"sqlite:///{place}" if name == "TRACKING_URI" else place
    with pytest.raises(SettingsError, match=f"TAILRACE_{name} is ") as refused:
        settings.load({f"TAILRACE_{name}": value})
    assert len(refused.value.problems) == 1


@pytest.mark.parametrize("folder", ["My Data", "Größe", "日本", "a=b", "a+b", "~x", "a&b;c,d", "(x)!@"])
def test_other_letters_are_taken(tmp_path: Path, folder: str) -> None:
    loaded = settings.load({"TAILRACE_HOME": str(tmp_path / folder)})
    assert loaded.lake == str(tmp_path / folder / "lake")


def test_a_folder_is_absolute_whatever_process_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tailrace.toml").touch()
    given = {"TAILRACE_LAKE": "lake", "TAILRACE_LANDING": "~/landed", "TAILRACE_ARTIFACTS": "s3://bucket/models"}
    loaded = settings.load({"TAILRACE_HOME": "home", **given})
    assert loaded.home == tmp_path / "home"
    assert (loaded.lake, loaded.landing) == (str(tmp_path / "lake"), str(tmp_path / "me" / "landed"))
    assert loaded.artifacts == "s3://bucket/models"


def test_a_seed_is_what_every_library_takes(tmp_path: Path) -> None:
    home = {"TAILRACE_HOME": str(tmp_path)}
    assert settings.load({**home, "TAILRACE_SEED": "4294967295"}).seed == 4294967295
    with pytest.raises(SettingsError, match=r"TAILRACE_SEED is '4294967296'; it must be .* from 0 to 4294967295"):
        settings.load({**home, "TAILRACE_SEED": "4294967296"})


def test_folders_that_cannot_be_written_to_are_all_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    loaded = settings.load({"TAILRACE_HOME": str(tmp_path), "TAILRACE_LAKE": str(tmp_path / "file" / "lake")})
    assert settings.unusable(loaded) == [f"TAILRACE_LAKE is {tmp_path}/file/lake, and {tmp_path}/file is no folder."]
    monkeypatch.setattr("os.access", lambda path, mode: path != tmp_path)
    assert settings.unusable(loaded)[0] == (
        f"TAILRACE_HOME is {tmp_path}, and this user has no right to write in {tmp_path}."
    )
    elsewhere = settings.load({"TAILRACE_HOME": str(tmp_path / "new"), "TAILRACE_LAKE": "s3://bucket/lake"})
    assert len(settings.unusable(elsewhere)) == 1


def test_what_lies_in_the_home_is_looked_at_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = settings.load({"TAILRACE_HOME": str(tmp_path), "TAILRACE_SPARK_LOG": "-"})
    assert settings.unusable(loaded) == []
    for folder in ("work", "data_docs"):
        (tmp_path / folder).mkdir()
    for file in ("warehouse.duckdb", "mlflow.db"):
        (tmp_path / file).write_text("")
    assert settings.unusable(loaded) == []
    monkeypatch.setattr("os.access", lambda path, mode: path == tmp_path)
    folder, file = "this user has no right to write in", "and this user has no right to write to this file."
    assert settings.unusable(loaded) == [
        f"TAILRACE_HOME is {tmp_path}, and {folder} {tmp_path}/work.",
        f"TAILRACE_HOME is {tmp_path}, and {folder} {tmp_path}/data_docs.",
        f"TAILRACE_WAREHOUSE is {tmp_path}/warehouse.duckdb, {file}",
        f"TAILRACE_TRACKING_URI is {tmp_path}/mlflow.db, {file}",
    ]


def test_a_folder_where_a_file_should_be_is_named(tmp_path: Path) -> None:
    for name in ("warehouse.duckdb", "mlflow.db", "log"):
        (tmp_path / name).mkdir()
    loaded = settings.load({"TAILRACE_HOME": str(tmp_path), "TAILRACE_SPARK_LOG": str(tmp_path / "log")})
    assert settings.unusable(loaded) == [
        f"TAILRACE_SPARK_LOG is {tmp_path}/log, which is a folder; it must be a file.",
        f"TAILRACE_WAREHOUSE is {tmp_path}/warehouse.duckdb, which is a folder; it must be a file.",
        f"TAILRACE_TRACKING_URI is {tmp_path}/mlflow.db, which is a folder; it must be a file.",
    ]
    with pytest.raises(SettingsError, match=r"TAILRACE_WAREHOUSE is .*, which is a folder; it must be a file"):
        settings.load({"TAILRACE_WAREHOUSE": str(tmp_path)})
