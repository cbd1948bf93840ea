"""Prints what the specs of a project say, as JSON: `python -m tailrace.impact.spec_contents churn orders`.

The specs of a git base are read in a process of their own: their modules have the names of the working files'.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from tailrace.errors import TailraceError
from tailrace.settings.project import VARIABLE
from tailrace.spec import content_of, parameters, registry

_SECONDS = 120


def of_project(folder: Path, names: Collection[str]) -> Mapping[str, Any]:
    """What these specs of another project folder say; a text for one that is wrong. Absent ones are left out."""
    if not names:
        return {}
    done = subprocess.run(
        [sys.executable, "-m", "tailrace.impact.spec_contents", *sorted(names)],
        env={**os.environ, VARIABLE: str(folder)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
    )
    if done.returncode:
        said = " ".join((done.stderr.strip().splitlines() or ["it ended without a word"])[-1].split())
        return dict.fromkeys(names, said)
    found: Mapping[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


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
    print(json.dumps(here(sys.argv[1:])))
