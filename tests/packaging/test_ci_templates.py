"""The CI files of a new project, run as GitHub and GitLab run them: every line, on a branch of a real repository."""

from __future__ import annotations

import http.server
import os
import subprocess
import threading
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.packaging.installing import Installed, borrowing_environment

pytestmark = pytest.mark.wheel

GH = """#!/bin/sh
test -n "$GH_TOKEN" || exit 4
echo "$@" > "$POSTED.arguments"
while [ $# -gt 0 ]; do
    if [ "$1" = --body-file ]; then cp "$2" "$POSTED"; fi
    shift
done
"""
"""GitHub's own command, as far as a comment on a pull request needs it."""
MART = "dbt/models/marts/example_features.sql"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Installed:
    return borrowing_environment(tmp_path_factory.mktemp("ci") / "venv", wheel)


@pytest.fixture(scope="module")
def shop(installed: Installed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone, as a runner makes it, of a project whose main branch holds a new project."""
    folder = tmp_path_factory.mktemp("projects")
    made = installed.run("tailrace", "init", "shop", "--zone", "Europe/Berlin", cwd=folder)
    assert made.returncode == 0, made.stderr
    git(folder / "shop", "init", "-q", "-b", "main")
    git(folder / "shop", "add", ".")
    git(folder / "shop", "commit", "-qm", "new")
    git(folder, "clone", "-q", "--bare", "shop", "shop.git")
    git(folder, "clone", "-q", "shop.git", "runner")
    return folder / "runner"


@pytest.fixture
def edited(shop: Path) -> Iterator[Path]:
    """The branch of a pull request: minutes have become seconds."""
    git(shop, "checkout", "-qb", "edit")
    mart = shop / MART
    assert "    minutes\n" in mart.read_text()
    mart.write_text(mart.read_text().replace("    minutes\n", "    minutes * 60 as minutes\n"))
    git(shop, "commit", "-qam", "seconds instead of minutes")
    yield shop
    git(shop, "checkout", "-q", "main")
    git(shop, "branch", "-qD", "edit")
    (shop / "review.md").unlink(missing_ok=True)


class Notes(http.server.BaseHTTPRequestHandler):
    """GitLab's API, as far as a note on a merge request needs it."""

    received: list[tuple[str, str, str]]

    def do_POST(self) -> None:
        body = urllib.parse.parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.received.append((self.path, self.headers["PRIVATE-TOKEN"], body["body"][0]))
        self.send_response(201)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def gitlab() -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    """The address of the API, and the notes that it receives: path, token and text."""
    received: list[tuple[str, str, str]] = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Received", (Notes,), {"received": received}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/api/v4", received
    server.shutdown()
    server.server_close()


def test_github_comments_what_the_edit_does(
    edited: Path, installed: Installed, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    workflow = yaml.safe_load((edited / ".github/workflows/check.yml").read_text())
    (tmp_path / "gh").write_text(GH)
    (tmp_path / "gh").chmod(0o755)
    posted = tmp_path / "posted.md"
    environment = installed.environment(POSTED=str(posted))
    environment["PATH"] = f"{tmp_path}{os.pathsep}{environment['PATH']}"
    steps = [step for step in workflow["jobs"]["review"]["steps"] if "run" in step]
    failed = []
    for step in steps:
        if failed and not step.get("if", "").startswith("always()"):
            continue
        command = step["run"].replace("${{ github.base_ref }}", "main").replace("${{ github.event.number }}", "7")
        assert "${{" not in command
        secrets = dict.fromkeys(step.get("env", {}), "of-the-job")
        if code := shell([command], edited, {**environment, **secrets}):
            failed.append((command, code))
    assert [command for command, _ in failed] == ["make review BASE=origin/main COMMENT=review.md"], (
        "beyond the policy: predictions change"
    )
    assert "example is not proven: " in " ".join(capfd.readouterr().out.split()), "a seed is never cut"
    assert posted.with_name("posted.md.arguments").read_text().startswith("pr comment 7 --body-file review.md")
    assert "minutes" in posted.read_text() and "predictions" in posted.read_text()


def test_gitlab_notes_what_the_edit_does(
    edited: Path, installed: Installed, gitlab: tuple[str, list[tuple[str, str, str]]]
) -> None:
    url, received = gitlab
    job = yaml.safe_load((edited / ".gitlab-ci.yml").read_text())["review"]
    environment = installed.environment(
        CI_API_V4_URL=url,
        CI_PROJECT_ID="12",
        CI_MERGE_REQUEST_IID="7",
        CI_MERGE_REQUEST_TARGET_BRANCH_NAME="main",
        REVIEW_TOKEN="of-the-project",  # noqa: S106 - of this test alone
    )
    assert shell(job["script"], edited, environment) != 0, "beyond the policy: predictions change"
    assert shell(job["after_script"], edited, environment) == 0
    ((path, token, note),) = received
    assert (path, token) == ("/api/v4/projects/12/merge_requests/7/notes", "of-the-project")
    job = yaml.safe_load((edited / ".gitlab-ci.yml").read_text())["prove"]
    assert shell(job["script"], edited, environment) == 0
    assert note.rstrip() == (edited / "review.md").read_text().rstrip()
    assert "minutes" in note


def shell(lines: list[str], folder: Path, environment: dict[str, str]) -> int:
    """The exit code of a job's lines, which end at the first that fails.

    The environment stands for what `make setup` installs: no index holds the wheel of this checkout.
    """
    kept = [line for line in lines if line != "make setup"]
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", "\n".join(kept)], cwd=folder, env=environment, stdin=subprocess.DEVNULL
    )
    return done.returncode


def git(folder: Path, *arguments: str) -> None:
    who = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, stdout=subprocess.DEVNULL)
