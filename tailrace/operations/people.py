"""Names of people and texts that they write, as they are recorded and shown."""

from __future__ import annotations

import getpass
import os
from typing import Any

REASON_LENGTH = 500
"""The longest reason that is stored, in characters."""


def plain_text(text: Any) -> str:
    """A text that a person wrote, on one line, without control characters, cut to the length that forms allow."""
    letters = (" " if letter.isspace() else letter for letter in str(text or ""))
    words = "".join(letter for letter in letters if letter.isprintable()).split()
    return " ".join(words)[:REASON_LENGTH].strip()


def user() -> str:
    """The user of this process; the user's number if the system has no name for it, as in some containers."""
    try:
        return plain_text(getpass.getuser())
    except (KeyError, OSError):
        return str(os.getuid())
