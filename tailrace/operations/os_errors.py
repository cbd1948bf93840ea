"""Errors of the operating system as sentences: missing rights, full disks, a file in place of a folder, imports."""

from __future__ import annotations

import errno
from collections.abc import Iterator

from tailrace import extras
from tailrace.errors import BadInput, StorageFull, TailraceError, cause_of
from tailrace.operations.people import user

_RIGHTS = {errno.EACCES, errno.EPERM, errno.EROFS}
_FULL = {errno.ENOSPC, errno.EDQUOT}
_OTHER_KIND = {errno.ENOTDIR, errno.EEXIST, errno.EISDIR}
_NO_PLACE = {errno.ENAMETOOLONG, errno.ELOOP}
_OF_DATABASES = ("unable to open database file", "attempt to write a readonly database", "cannot open file")
"""Messages of SQLite and DuckDB, whose errors have no error number."""


def in_words(error: BaseException) -> TailraceError | None:
    """Our error for an operating system or import error, however deep it is in the chain of causes.

    None if there is no such error in the chain.
    """
    for each in _causes(error):
        if isinstance(each, OSError) and each.filename is not None and (ours := _of_a_path(each)):
            return ours
        if absent := extras.behind(each):
            return absent
    message = cause_of(error, 400)
    if any(words in message.lower() for words in _OF_DATABASES):
        return BadInput(
            f"A database file cannot be opened or written: {message}. "
            f"Give the user {user()!r} the right to write in its folder, or choose another folder with TAILRACE_HOME."
        )
    return None


def _of_a_path(error: OSError) -> TailraceError | None:
    path = error.filename2 or error.filename
    if error.errno in _RIGHTS:
        return BadInput(
            f"The user {user()!r} has no right to use {path} ({error.strerror}). Give this user the right, or choose "
            "another folder in the settings: TAILRACE_HOME, or the setting that names this path."
        )
    if error.errno in _FULL:
        return StorageFull(f"The disk of {path} is full ({error.strerror}). Free space, then try again.")
    if error.errno in _OTHER_KIND:
        return BadInput(
            f"{path} cannot be used ({error.strerror}): a file is where a folder should be, or the other way round. "
            "Move it away, or choose another folder in the settings."
        )
    if error.errno in _NO_PLACE:
        return BadInput(f"{str(path)[:200]} cannot be used as a path ({error.strerror}).")
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and its causes, each once. Of handled errors, only those about rights and full disks."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        handled = current.__context__
        stops = isinstance(handled, OSError) and handled.errno in _RIGHTS | _FULL
        current = current.__cause__ or (handled if stops else None)
