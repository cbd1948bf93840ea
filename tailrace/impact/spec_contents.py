"""Prints what the specs of a project say, as JSON: `python -m tailrace.impact.spec_contents churn orders`.

With `--whole` it prints one spec itself, pickled, for another process of the same installation.

The specs of a git base are read in a process of their own: their modules have the names of the working files'.
"""

from __future__ import annotations

import base64
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from tailrace.errors import BadInput, TailraceError
from tailrace.settings.project import VARIABLE
from tailrace.spec import PipelineSpec, content_of, parameters, registry

_SECONDS = 120


def of_project(folder: Path, names: Collection[str]) -> Mapping[str, Any]:
    """What these specs of another project folder say; a text for one that is wrong. Absent ones are left out."""
    if not names:
        return {}
    done = _in(folder, *sorted(names))
    if done.returncode:
        return dict.fromkeys(names, _why(done))
    found: Mapping[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def whole(folder: Path, name: str) -> PipelineSpec:
    """The spec of another project folder. Raises BadInput if it cannot be used."""
    done = _in(folder, "--whole", name)
    if done.returncode:
        raise BadInput(f"The spec of {name} at the base cannot be used: {_why(done)}")
    found = pickle.loads(base64.b64decode(done.stdout.splitlines()[-1]))  # noqa: S301 - a process of our own wrote it
    if not isinstance(found, PipelineSpec):
        raise BadInput(f"The base has no spec {name}.")
    return found


def _in(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tailrace.impact.spec_contents", *arguments],
        env={**os.environ, VARIABLE: str(folder)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
    )


def _why(done: subprocess.CompletedProcess[str]) -> str:
    return " ".join((done.stderr.strip().splitlines() or ["it ended without a word"])[-1].split())


def here(names: Collection[str]) -> dict[str, Any]:
    """What these specs of the project say, as values for JSON; a text for one that is wrong."""
    found: dict[str, Any] = {}
    for name in sorted(set(names) & set(registry.names())):
        try:
            content = content_of(registry.get(name))
            found[name] = json.loads(json.dumps(content, default=parameters.described))
        except TailraceError as error:
            found[name] = str(error)
    return found


if __name__ == "__main__":
    if sys.argv[1:2] == ["--whole"]:
        print(base64.b64encode(pickle.dumps(registry.get(sys.argv[2]))).decode())
    else:
        print(json.dumps(here(sys.argv[1:])))
