"""One measurement in a process of its own, so that its peak memory is its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def call(module: str, *arguments: object) -> dict[str, Any]:
    """Run `python -m module arguments`; the JSON object it prints last, and its peak memory in MiB."""
    command = [sys.executable, "-m", "benchmarks.child", module, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent.parent)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-4000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def _main() -> None:
    import importlib
    import resource

    module, *arguments = sys.argv[1:]
    measured = importlib.import_module(module).measure(*arguments)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({**measured, "peak_mib": peak}))


if __name__ == "__main__":
    _main()
