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


_TAKE_MEMORY = """
import mmap, sys
taken = mmap.mmap(-1, int(sys.argv[1]) << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
taken.madvise(mmap.MADV_HUGEPAGE)
for place in range(0, len(taken), mmap.PAGESIZE):
    taken[place] = 1
"""


def take_memory(mib: int) -> None:
    """Let a process of its own touch this much memory and end, so that the system has it at hand.

    A virtual machine gives free memory back to its host within seconds, and taking it again costs about a second per
    GiB. Which of two ways pays that would depend on how long each takes to import.
    """
    subprocess.run([sys.executable, "-ISc", _TAKE_MEMORY, str(mib)], check=True)


def _main() -> None:
    import importlib
    import resource

    module, *arguments = sys.argv[1:]
    measured = importlib.import_module(module).measure(*arguments)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({**measured, "peak_mib": peak}))


if __name__ == "__main__":
    _main()
