"""Whatever is typed after `tailrace`: a wrong value ends with exit code 2 and sentences, and nothing is written."""

from __future__ import annotations

import datetime as dt
import errno
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tailrace import settings as configuration
from tailrace.commands import nightly, options, stages, training
from tailrace.commands.main import call
from tailrace.engines.memory import MemoryEngine
from tailrace.lake.memory import MemoryLake
from tailrace.operations import people
from tailrace.sources.landing import Landing
from tailrace.sources.memory import MemorySource
from tailrace.tracking.memory import MemoryTracker
from tailrace.validation.memory import MemoryValidator
from tailrace.warehouse.memory import MemoryWarehouse
from tailrace.wiring import open_services

PIPELINE, DAY = "flight_delay", "2013-02-01"

ANY = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)
SURPRISES = st.sampled_from(
    [
        "",
        " ",
        "-",
        "--",
        "²",
        "٣",
        "1e3",
        "-1",
        "0",
        "nan",
        "None",
        "\x1b[31m",
        "\n",
        "\ud800",
        "9" * 5000,
        "{}",
        "../x",
        "%s",
        "{0}",
    ]
)
TEXT = SURPRISES | ANY
DATES = st.dates().map(str)
NEARLY_A_DAY = ["20130301", "2013-3-1", "2013-02-30", "2013-W09-5", "2013-060", "01.03.2013", "2013-03-01T00:00"]
NEARLY_A_DAY += ["２０１３-03-01", "0001-01-01", "9999-12-31", "+2013-03-01", "today"]
NOT_A_DAY = (
    st.sampled_from([*NEARLY_A_DAY, " 2013-03-01", "2013-03-01 ", "2013-03-01\n"])
    | TEXT
    | DATES.map(lambda day: day.replace("-", ""))
    | DATES.map(lambda day: day + "Z")
).filter(lambda text: not re.fullmatch("(19|2[0-9])[0-9]{2}-[0-9]{2}-[0-9]{2}", text))
NOT_A_PIPELINE = TEXT.filter(lambda text: text != PIPELINE)
NOT_A_MODEL = TEXT.filter(lambda text: text not in ("as-of", "current") and not re.fullmatch("[1-9][0-9]*", text))
NOT_AN_ENGINE = TEXT.filter(lambda text: text not in ("local", "spark"))
NOT_A_COUNT = TEXT.filter(lambda text: not re.fullmatch(r"\s*\+?[0-9_]+(\.0*)?\s*", text)) | st.sampled_from(
    ["0", "-1", "1.5", "9" * 30]
)
NOT_AN_OBJECT = TEXT.filter(lambda text: text != "{}") | st.sampled_from(["[]", "1", "null", "[" * 5000])
NOT_A_STAGE = TEXT.filter(lambda text: text not in list(stages.Stage))
NOT_A_CHOICE = TEXT.filter(lambda text: text not in list(training.DataChoice))
NOBODYS = TEXT.filter(lambda text: text not in ("--json", "--help", "--"))


@dataclass(frozen=True)
class Wrong:
    """A command with one value that is wrong, which stands for WRONG."""

    command: tuple[str, ...]
    values: st.SearchStrategy[str]


def wrong(command: str, values: st.SearchStrategy[str]) -> Wrong:
    return Wrong(tuple(command.split()), values)


RUN, NIGHT = f"run score {PIPELINE} --date={DAY}", f"--date={DAY}"
COMMANDS = [
    wrong("WRONG", NOBODYS.filter(lambda text: text not in COMMAND_NAMES)),
    wrong(f"run WRONG {PIPELINE} {NIGHT}", NOT_A_STAGE),
    wrong(f"run score WRONG {NIGHT}", NOT_A_PIPELINE),
    wrong(f"run score {PIPELINE} --date=WRONG", NOT_A_DAY),
    wrong(f"{RUN} --to=WRONG", NOT_A_DAY | st.dates(max_value=dt.date(2013, 1, 31)).map(str)),
    wrong(f"{RUN} --model=WRONG", NOT_A_MODEL),
    wrong(f"{RUN} --engine=WRONG", NOT_AN_ENGINE),
    wrong(f"run train {PIPELINE} {NIGHT} --trials=WRONG", NOT_A_COUNT),
    wrong(f"{RUN} --request=WRONG", NOT_AN_OBJECT),
    wrong(f"{RUN} --result=/nowhere/WRONG/x", TEXT.map(lambda text: text.replace("/", ""))),
    wrong(f"run evaluate {PIPELINE} {NIGHT} --run=WRONG", TEXT),
    wrong("warehouse --date=WRONG", NOT_A_DAY),
    wrong(f"warehouse WRONG {NIGHT}", NOT_A_PIPELINE),
    wrong(f"train {PIPELINE} --date=WRONG", NOT_A_DAY),
    wrong(f"train WRONG {NIGHT}", NOT_A_PIPELINE),
    wrong(f"predict {PIPELINE} {NIGHT} --model=WRONG", NOT_A_MODEL),
    wrong(f"predict {PIPELINE} --date=WRONG", NOT_A_DAY),
    wrong(f"backfill {PIPELINE} --from=WRONG --to={DAY}", TEXT),
    wrong(f"backfill {PIPELINE} --at-once=WRONG", NOT_A_COUNT | st.just("5")),
    wrong(f"promote {PIPELINE} --reason=why --version=WRONG", TEXT),
    wrong(f"promote {PIPELINE} --reason=why --run=WRONG", TEXT),
    wrong(
        f"promote {PIPELINE} --version=1 --reason=WRONG",
        st.text(st.sampled_from(" \t\n\x00\x1b\x7f\u200b"), max_size=5),
    ),
    wrong(f"rollback {PIPELINE} --reason=why --version=WRONG", TEXT),
    wrong(f"rollback {PIPELINE} --reason=why --version=1 --from=WRONG", NOT_A_DAY),
    wrong("history WRONG", NOT_A_PIPELINE),
    wrong(f"predictions {PIPELINE} --date=WRONG", NOT_A_DAY),
    wrong("reproduce WRONG", TEXT),
    wrong("reproduce x --data=WRONG", NOT_A_CHOICE),
    wrong(f"maintain {PIPELINE} --keep-days=WRONG", NOT_A_COUNT),
    wrong("check WRONG", NOBODYS),
    wrong("list --WRONG", NOBODYS.filter(lambda text: text not in ("", "json", "help"))),
]
COMMAND_NAMES = {"--help", *(each.command[0] for each in COMMANDS)}


@dataclass(frozen=True)
class Services:
    """An installation with nothing in it: what is not refused finds nothing and does nothing."""

    settings: configuration.Settings
    landing: Landing
    source: MemorySource
    warehouse: MemoryWarehouse
    lake: MemoryLake
    tracker: MemoryTracker
    validator: MemoryValidator
    engine: MemoryEngine


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Services:
    folder = tmp_path_factory.mktemp("home")
    return Services(
        configuration.load({"TAILRACE_HOME": str(folder)}),
        Landing(str(folder / "landing"), {}),
        MemorySource({}, {}, (dt.date(2013, 1, 1), dt.date(2013, 1, 1))),
        MemoryWarehouse({}),
        MemoryLake(),
        MemoryTracker(folder / "tracker"),
        MemoryValidator(folder / "suites"),
        MemoryEngine(),
    )


@pytest.fixture(autouse=True)
def installation(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAILRACE_HOME", str(services.settings.home))
    monkeypatch.setattr(options, "open_services", lambda engine, on_spark: services)


def outcome(arguments: Sequence[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The exit code and what is said on standard error."""
    capsys.readouterr()
    sys.stderr.reconfigure(errors="backslashreplace")  # as Python's own is
    with pytest.raises(SystemExit) as ended:
        call(list(arguments))
    code = ended.value.code
    return code if isinstance(code, int) else int(bool(code)), capsys.readouterr().err


@pytest.mark.parametrize("wrong", COMMANDS, ids=lambda wrong: " ".join(wrong.command))
@settings(max_examples=8, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_wrong_value_is_refused_in_a_sentence(
    wrong: Wrong, data: st.DataObject, services: Services, capsys: pytest.CaptureFixture[str]
) -> None:
    value = data.draw(wrong.values)
    code, said = outcome([part.replace("WRONG", value) for part in wrong.command], capsys)
    assert code in (1, 2), said
    assert len(said.strip()) > 10
    assert "Traceback" not in said
    assert not re.search(r":\s*\Z", said)
    assert not services.lake._tables
    assert not [file for file in services.settings.home.rglob("*") if file.is_file()]


SAID = st.text(st.characters(), max_size=60)


@settings(max_examples=60, deadline=None, database=None)
@given(said=SAID)
@example(said="0\r\x1b\r0")
def test_what_people_write_is_kept_on_one_line_that_can_be_stored_and_shown(said: str) -> None:
    kept = people.plain_text(said)
    assert kept.isprintable()
    assert kept.encode() == kept.encode("utf-8")
    assert len(kept) <= people.REASON_LENGTH
    assert people.plain_text(kept) == kept
    assert [letter for letter in said if letter.isalnum()][:50] == [letter for letter in kept if letter.isalnum()][:50]


def test_reasons_and_requests_are_cleaned_where_they_enter(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: dict[str, object] = {}
    monkeypatch.setattr(nightly, "_predict", lambda work, *given, **more: kept.update(work.request) or {"day": DAY})
    monkeypatch.setenv("LOGNAME", "an\x1b[31mn")
    with pytest.raises(SystemExit, match="0"):
        call(["predict", PIPELINE, f"--date={DAY}", "--reason=two\nlines \x1b[2J\u202ehere\ud800"])
    assert kept == {"triggered_by": "an[31mn", "reason": "two lines [2Jhere", "model": "as-of"}
    assert stages._request('{"reason": "a\\u001b[0m b\\n c"}') == {"reason": "a[0m b c"}


def test_a_file_where_a_folder_should_be_is_said_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "home").write_text("a file")
    monkeypatch.setattr(options, "open_services", open_services)
    for setting, value in {"HOME": "home", "LAKE": "home/lake", "WAREHOUSE": "home/w.duckdb"}.items():
        monkeypatch.setenv("TAILRACE_HOME", str(tmp_path / "elsewhere"))
        monkeypatch.setenv(f"TAILRACE_{setting}", str(tmp_path / value))
        code, said = outcome(["check"], capsys)
        assert (code, f"TAILRACE_{setting} is {tmp_path / value}" in said) == (2, True), said
        assert f"{tmp_path / 'home'} is no folder" in said
        monkeypatch.delenv(f"TAILRACE_{setting}")


@pytest.mark.parametrize(
    ("number", "code", "words"),
    [
        (errno.EACCES, 2, "has no right to use /data/x (Permission denied). Give this user the right"),
        (errno.EROFS, 2, "has no right to use /data/x (Read-only file system)"),
        (errno.ENOTDIR, 2, "/data/x cannot be used (Not a directory): a file is where a folder should be"),
        (errno.ENAMETOOLONG, 2, "cannot be used as a path (File name too long)"),
        (errno.ENOSPC, 1, "The disk of /data/x is full"),
    ],
)
def test_what_the_system_refuses_is_said_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int, code: int, words: str
) -> None:
    def refuse(*given: object) -> None:
        try:
            raise OSError(number, os.strerror(number), "/data/x")
        except OSError as error:
            raise RuntimeError("a library's own") from error

    monkeypatch.setattr(options, "open_services", refuse)
    found, said = outcome(["history", PIPELINE], capsys)
    assert (found, words in said) == (code, True), said


def test_a_file_that_was_there_explains_no_fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(*given: object) -> None:
        try:
            tmp_path.mkdir()
        except FileExistsError:
            raise ZeroDivisionError  # noqa: B904

    monkeypatch.setattr(options, "open_services", fail)
    with pytest.raises(ZeroDivisionError):
        call(["history", PIPELINE])


def test_a_fault_of_this_code_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*given: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(options, "open_services", fail)
    with pytest.raises(ZeroDivisionError):
        call(["history", PIPELINE])
