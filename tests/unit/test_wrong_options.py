"""An option that would change nothing, or that a command cannot take, is refused by name before anything is done."""

from __future__ import annotations

import pytest

from tailrace.commands.main import call
from tests.support import new_project


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    made = new_project(tmp_path, monkeypatch)
    (made.pipelines / "flights.py").write_text(
        "from dataclasses import replace\nfrom pipelines.flight_delay import SPEC as FLIGHTS\n"
        "SPEC = replace(FLIGHTS, name='flights')"
    )
    monkeypatch.setenv("TAILRACE_HOME", str(tmp_path / "home"))


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (
            "threshold flights --from 2013-03-01 --dry-run --reason typo",
            "Without a threshold, --reason and --from and --dry-run would change nothing",
        ),
        ("stale --preview", "Without --repair, --preview would change nothing"),
        ("stale flights --reason why", "Without --repair, --reason would change nothing"),
        ("evolve flights --reason why", "Without --yes, --reason would change nothing"),
        ("prove flights --base HEAD", "Without --changed, --base would change nothing"),
        ("backfill flights --cancel --from 2013-03-01", "--cancel takes neither days nor --preview"),
        ("backfill flights --cancel --preview", "--cancel takes neither days nor --preview"),
        (
            "backfill flights --from 2013-03-01 --to 2013-03-01 --engine loca",
            "--engine is 'loca'; a backfill takes local or spark",
        ),
        (
            "backfill flights --from 2013-03-01 --to 2013-03-01 --engine my.module:Engine",
            "--engine is 'my.module:Engine'; a backfill takes local or spark",
        ),
    ],
)
def test_it_is_refused_by_name(command, said, capsys):
    with pytest.raises(SystemExit) as ended:
        call(command.split())
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
