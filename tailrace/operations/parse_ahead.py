"""dbt parses its project in a process of its own, while this one fits candidates and imports libraries.

A first check spends nearly half of its time in dbt's parse and the other half in what does not need it. dbt's parse
keeps its result in a file, so this process finds it as if it had parsed itself: also where the other process failed,
which leaves this one to parse again, and to say what is wrong.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_PARSE = "import gc; gc.disable(); from tailrace.wiring import open_services; open_services().warehouse.parse()"
"""Without the collector: see `tailrace.operations.collector`."""


class ParseAhead:
    """A parse that another process may be busy with."""

    def __init__(self, process: subprocess.Popen[bytes] | None = None) -> None:
        self._process = process

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def wait(self) -> None:
        """Return when the other process has ended, if there is one."""
        if self._process is not None:
            self._process.wait()


@contextmanager
def parse_ahead(warehouse: Any) -> Iterator[ParseAhead]:
    """Parse while the block runs, if this warehouse was never parsed and there is a processor for it."""
    manifest: Path | None = getattr(warehouse, "manifest", None)
    # The connection to a project of the team's own is made by the process that parses.
    parses_alone = hasattr(warehouse, "parse") and not getattr(warehouse, "any_zone", False)
    if manifest is None or not parses_alone or manifest.exists() or (os.cpu_count() or 1) < 2:
        yield ParseAhead()
        return
    quiet = subprocess.DEVNULL
    command = [sys.executable, "-W", "ignore", "-c", _PARSE]
    with subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet) as process:
        try:
            yield ParseAhead(process)
        finally:
            process.terminate()
