"""The heavy test groups of a CI run: those that the last day's commits touch, and one more in rotation.

A group starts only if it can end within LIMIT_MINUTES of the run's start. The log names each group left out, and why.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

LIMIT_MINUTES = 75
END_MINUTES = 88
"""A group that still runs then has failed: CI itself ends a run after 90 minutes, without a word."""
SINCE = "24 hours"
EVERYTHING = (
    "pyproject.toml", "uv.lock", "Makefile", ".ci/", "scripts/ci_groups.py", "tests/support.py", "tests/conftest.py",
    "tailrace/contracts/", "tailrace/spec/", "tailrace/lineage/", "tailrace/problems/", "tailrace/settings/",
    "tailrace/errors.py", "tailrace/days.py", "tailrace/work.py", "tailrace/wiring.py", "tailrace/extras.py",
    "tailrace/__init__.py", "tailrace.toml",
)  # fmt: skip
"""Paths, or beginnings of paths, on which all groups depend."""


@dataclass(frozen=True)
class Group:
    """A target of the Makefile: how many minutes it takes on two cores, and the paths that it tests."""

    target: str
    minutes: int
    paths: tuple[str, ...]


GROUPS = (
    Group(
        "test-compose",
        16,
        ("docker-compose.yaml", ".dockerignore", "deploy/", "scripts/", "tailrace/commands/"),
    ),
    Group(
        "test-airflow",
        16,
        ("dags/", "plugins/", "pipelines/", "dbt/", "expectations/", "tailrace/orchestration/", "tailrace/pages/",
         "tailrace/stages/", "tailrace/champions/", "tailrace/validation/",
         "tailrace/monitoring/", "tailrace/commands/", "tailrace/operations/", "tailrace/reporting/", "scripts/",
         "tailrace/profiling/", "tailrace/scaffold/", "tailrace/templates/", "tailrace/impact/",
         "tests/e2e/", "tests/pages/", "tests/airflow_home.py"),
    ),
    Group(
        "test-spark",
        26,
        ("tailrace/engines/", "tailrace/lake/", "tailrace/rows/", "tailrace/training/", "deploy/kubernetes/",
         "deploy/images/", "tailrace/orchestration/pods/", "tests/unit/spark/", "tests/kubernetes/", "tests/faults/"),
    ),
    Group(
        "test-services",
        20,
        ("tailrace/tracking/", "tailrace/warehouse/", "tailrace/lake/", "tailrace/sources/", "scripts/", "dbt/",
         "tests/stack/", "tests/dags/", "tests/stages/", "tests/proving/", "tests/impact/", "tests/faults/",
         "tests/contracts/", "tests/unit/warehouse/", "tailrace/proving/", "tailrace/impact/",
         "tailrace/orchestration/dbt", "tests/object_store.py", "tests/postgres.py", "docker-compose.yaml",
         "deploy/compose/"),
    ),
)  # fmt: skip


def touched(changed: Iterable[str]) -> tuple[Group, ...]:
    """The groups that test any of the changed paths, in the order of GROUPS."""
    paths = list(changed)
    if any(path.startswith(EVERYTHING) for path in paths):
        return GROUPS
    return tuple(group for group in GROUPS if any(path.startswith(group.paths) for path in paths))


def chosen(changed: Iterable[str], day: int) -> Mapping[Group, str]:
    """The groups to run, each with its reason: first those that a change touches, then the one of the day.

    Of those that a change touches, the one of the day comes first: otherwise, where changes touch everything day after
    day, the last one would always be left out for want of time.
    """
    turn, found = day % len(GROUPS), touched(changed)
    in_turn = [group for group in (*GROUPS[turn:], *GROUPS[:turn]) if group in found]
    reasons = dict.fromkeys(in_turn, "a change touches it")
    reasons.setdefault(GROUPS[turn], "its turn in the rotation")
    return reasons


def changed_paths() -> Sequence[str]:
    """The paths that commits of the last SINCE before HEAD changed; all tracked paths if history is incomplete."""
    head = _git("log", "-1", "--format=%ct").strip()
    base = _git("log", "-1", "--first-parent", "--format=%H", f"--before={int(head) - 24 * 3600}").strip()
    if base:
        return _git("diff", "--name-only", base, "HEAD").splitlines()
    return _git("ls-files").splitlines()


def main(minutes_gone: float) -> int:
    """Run the chosen groups while time is left. Returns 1 if one of them failed; the others run all the same."""
    began = time.monotonic() - 60 * minutes_gone
    reasons = chosen(changed_paths(), int(time.time() // 86_400))
    failed = []
    for group in [*reasons, *(each for each in GROUPS if each not in reasons)]:
        gone = (time.monotonic() - began) / 60
        if group not in reasons:
            _say(f"NOT RUN: make {group.target}; no commit of the last {SINCE} touches what it tests")
        elif gone + group.minutes > LIMIT_MINUTES:
            _say(f"NOT RUN: make {group.target}, which takes {group.minutes} minutes; {gone:.0f} had gone by")
        else:
            _say(f"make {group.target}: {reasons[group]}")
            if why := _failure(group.target, 60 * (END_MINUTES - gone)):
                failed.append(f"make {group.target} {why}")
    for sentence in failed:
        _say(f"FAILED: {sentence}")
    return int(bool(failed))


def _failure(target: str, seconds: float) -> str:
    """Run a target; why it failed, or nothing. What it started ends with it."""
    started = subprocess.Popen(["make", target], start_new_session=True)
    try:
        code = started.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(started.pid, signal.SIGKILL)
        started.wait()
        return f"had not ended {END_MINUTES} minutes after the start of the CI run"
    return f"ended with code {code}" if code else ""


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout


def _say(sentence: str) -> None:
    print(f"##### {sentence} #####", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes-gone", type=float, default=0.0, help="Minutes since the CI run began.")
    sys.exit(main(parser.parse_args().minutes_gone))
