"""What people write and who they are, as it is recorded and shown."""

from __future__ import annotations

import getpass
import os
from typing import Any

REASON_LENGTH = 500
"""Characters of a reason that are kept."""


def plain_text(text: Any) -> str:
    """What a person wrote, on one line, without control characters, and not longer than a form takes."""
    letters = (" " if letter.isspace() else letter for letter in str(text or ""))
    words = "".join(letter for letter in letters if letter.isprintable()).split()
    return " ".join(words)[:REASON_LENGTH].strip()


def user() -> str:
    """Who runs this process; the number where the system has no name for it, as in some containers."""
    try:
        return plain_text(getpass.getuser())
    except (KeyError, OSError):
        return str(os.getuid())
