"""What code and which dependencies a run was made with, and what was requested."""

from __future__ import annotations

import functools
import hashlib
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tailrace import __version__
from tailrace.errors import SettingsError
from tailrace.lineage import run_tags
from tailrace.settings import find_project

UNKNOWN = "unknown"
REQUEST_NOTE = "request_"
"""Prefix of the names of a request's fields in a commit's metadata."""


@functools.cache
def git_commit(project: Path) -> str:
    """The project's commit, with '+' and a digest of the edits if there are any; 'unknown' outside a checkout."""
    try:
        commit = _git(project, "rev-parse", "HEAD")
        edits = _git(project, "diff", "HEAD")
    except (OSError, subprocess.CalledProcessError):
        return UNKNOWN
    return f"{commit}+{hashlib.sha256(edits.encode()).hexdigest()[:12]}" if edits else commit


@functools.cache
def lock_digest(project: Path) -> str:
    """SHA-256 of the project's uv.lock; 'unknown' where it has none."""
    lock = project / "uv.lock"
    return hashlib.sha256(lock.read_bytes()).hexdigest() if lock.is_file() else UNKNOWN


def code() -> dict[str, str]:
    """Package version, git commit and lock digest, as they are recorded; the last two 'unknown' outside a project."""
    try:
        project = find_project().root
    except SettingsError:
        return {"tailrace": __version__, "git_commit": UNKNOWN, "lock_digest": UNKNOWN}
    return {"tailrace": __version__, "git_commit": git_commit(project), "lock_digest": lock_digest(project)}


def request_tags(request: Mapping[str, str]) -> dict[str, str]:
    """A run's request, as the tracker's tags."""
    return {run_tags.REQUEST + name: value for name, value in request.items()}


def requested_again_tags(request: Mapping[str, str]) -> dict[str, str]:
    """The request of a later run, as a tag of the earlier run that answers it."""
    return {run_tags.REQUESTED_AGAIN: json.dumps(dict(request), sort_keys=True)}


def request_notes(request: Mapping[str, str]) -> dict[str, str]:
    """A run's request, as a commit's metadata."""
    return {REQUEST_NOTE + name: value for name, value in request.items()}


def _git(project: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(project), *arguments], check=True, capture_output=True, text=True, timeout=30
    ).stdout.strip()
