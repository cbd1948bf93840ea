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


@pytest.mark.parametrize("changed", ["README.md", "uv.lock"])
def test_each_group_has_its_turn_whether_nothing_or_everything_is_touched(changed):
    assert [next(iter(chosen([changed], day))).target for day in range(len(GROUPS))] == [
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
    monkeypatch.setattr(ci_groups.time, "time", lambda: 0.0)
    monkeypatch.setattr(ci_groups, "_failure", lambda target, seconds: ran.append(target) or "")
    assert ci_groups.main(minutes_gone=ci_groups.LIMIT_MINUTES - 21) == 0
    assert ran == ["test-compose", "test-airflow", "test-services"]
    assert "NOT RUN: make test-spark, which takes 26 minutes; 54 had gone by" in capsys.readouterr().out


def test_what_a_change_touches_comes_before_the_groups_turn(monkeypatch):
    ran = []
    monkeypatch.setattr(ci_groups, "changed_paths", lambda: ["tailrace/engines/spark/trees.py"])
    monkeypatch.setattr(ci_groups.time, "time", lambda: 0.0)
    monkeypatch.setattr(ci_groups, "_failure", lambda target, seconds: ran.append(target) or "")
    ci_groups.main(minutes_gone=0)
    assert ran == ["test-spark", "test-compose"]


def test_a_failed_group_fails_the_run_after_the_others_have_run(monkeypatch, capsys):
    monkeypatch.setattr(ci_groups, "changed_paths", lambda: ["uv.lock"])
    monkeypatch.setattr(ci_groups, "_failure", lambda target, seconds: "ended with code 2" if "spark" in target else "")
    assert ci_groups.main(minutes_gone=0) == 1
    assert "FAILED: make test-spark ended with code 2" in capsys.readouterr().out


def test_every_room_of_the_library_is_tested_by_a_group():
    rooms = [path for path in (ROOT / "tailrace").iterdir() if path.is_dir() and path.name != "__pycache__"]
    assert [room.name for room in rooms if not touched([f"tailrace/{room.name}/any.py"])] == []
