"""CI runs the heavy groups that a change touches, and one more in rotation."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts import ci_groups
from scripts.ci_groups import EVERYTHING, GROUPS, chosen, touched

ROOT = Path(__file__).resolve().parents[2]


def targets(*changed: str) -> list[str]:
    return [group.target for group in touched(changed)]


@pytest.mark.parametrize(
    ("changed", "wanted"),
    [
        ("docs/lake.md", []),
        ("tailrace/pages/day.py", ["test-airflow"]),
        ("tailrace/engines/spark/trees.py", ["test-spark"]),
        ("tailrace/lake/delta.py", ["test-spark", "test-services"]),
        ("tailrace/orchestration/pods/pod_run.py", ["test-airflow", "test-spark"]),
        ("uv.lock", [group.target for group in GROUPS]),
    ],
)
def test_a_change_chooses_its_groups(changed, wanted):
    assert targets(changed) == wanted


def test_each_group_has_its_turn_where_nothing_is_touched():
    assert [next(iter(chosen(["README.md"], day))).target for day in range(len(GROUPS))] == [
        group.target for group in GROUPS
    ]


def test_a_touched_group_is_not_run_twice_in_its_turn():
    assert list(chosen(["tailrace/pages/day.py"], 1).values()) == ["a change touches it"]


def test_every_path_that_is_named_exists():
    named = {path for group in GROUPS for path in group.paths} | set(EVERYTHING)
    assert sorted(path for path in named if not any(ROOT.glob(f"{path.rstrip('/')}*"))) == []


def test_every_target_is_one_of_the_makefile():
    makefile = (ROOT / "Makefile").read_text()
    assert all(f"\n{group.target}:" in makefile for group in GROUPS)


def test_what_does_not_fit_is_left_out_and_said(monkeypatch, capsys):
    ran = []
    monkeypatch.setattr(ci_groups, "changed_paths", lambda: ["uv.lock"])
    monkeypatch.setattr(ci_groups.subprocess, "run", lambda command, **_: ran.append(command[1]) or _Ended())
    assert ci_groups.main(minutes_gone=ci_groups.LIMIT_MINUTES - 21) == 0
    assert ran == ["test-compose", "test-airflow", "test-services"]
    assert "NOT RUN: make test-spark, which takes 26 minutes; 54 had gone by" in capsys.readouterr().out


class _Ended:
    returncode = 0
