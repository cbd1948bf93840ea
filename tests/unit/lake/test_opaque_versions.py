"""What Delta's log and its version numbers look like is known in `tailrace/lake` alone."""

from __future__ import annotations

import re
from pathlib import Path

import tailrace

NUMBERS = re.compile(r"int\(\s*(?:\w+\.)*(?:pin|commit|published|before|after|since|of_day)\w*\.version|_delta_log")


def test_nothing_outside_the_lake_counts_versions_or_reads_the_log():
    library = Path(tailrace.__file__).parent
    files = [file for file in library.rglob("*.py") if library / "lake" not in file.parents]
    assert len(files) > 100
    assert [str(file) for file in files if NUMBERS.search(file.read_text())] == []
    assert NUMBERS.search("if within and int(commit.version) > int(pin.version):")
