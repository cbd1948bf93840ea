"""What a driver's error means, in one sentence of ours: by SQLSTATE where the driver gives one, else by its words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from tailrace.errors import SettingsError, TailraceError, Unavailable, UpstreamMissing, WarehouseBusy
from tailrace.warehouse import relations

if TYPE_CHECKING:
    from tailrace.warehouse.adapter import DbtAdapter
    from tailrace.warehouse.relations import MartRelation

_NO_TABLE = re.compile(
    r"(table|view|relation|object|schema|catalog|database)\b.{0,200}?(does not exist|not found|doesn't exist)"
    r"|no such table|not found: (table|dataset)|table_or_view_not_found|schema_not_found|cannot be found"
    r"|does not exist or not authorized",
    re.IGNORECASE | re.DOTALL,
)
_NO_RIGHT = re.compile(
    r"permission denied|access denied|not authorized|insufficient privileges|insufficient_permissions"
    r"|password authentication failed|authentication failed|no password supplied|no pg_hba\.conf entry"
    r"|incorrect username or password|role \"[^\"]*\" (does not exist|is not permitted to log in)"
    r"|invalid (access token|credentials)|\b40[13]\b",
    re.IGNORECASE,
)
_GONE = re.compile(
    r"connection|connect to|server closed|terminating|timed? ?out|unreachable|name or service not known|refused"
    r"|could not translate host|ssl syscall|broken pipe|reset by peer|starting up|shutting down|in recovery"
    r"|too many (clients|connections)|\b50[234]\b",
    re.IGNORECASE,
)
_BUSY = re.compile(r"could not set lock|database is locked|different configuration", re.IGNORECASE)
_TURNED_AWAY = re.compile(
    r"password authentication failed|no password supplied|no pg_hba\.conf entry|authentication failed"
    r"|incorrect username or password|(role|database) \"[^\"]*\" (does not exist|is not permitted to log in)"
    r"|permission denied for (database|schema)",
    re.IGNORECASE,
)
"""What a build says if it may not work in the database; a model may lack a right of its own."""
_CUT_OFF = re.compile(
    r"connection (to server .*)?(failed|refused|timed out|already closed)|could not (connect|receive data|send data)"
    r"|server closed the connection|terminating connection|no connection to the server|ssl syscall error"
    r"|database system is (starting up|shutting down|in recovery)|too many (clients|connections)"
    r"|could not translate host",
    re.IGNORECASE,
)
"""What a build says if the server is gone: less than `_GONE`, since models have words of their own."""
_STATES = {"42P01": "table", "3F000": "table", "42501": "right", "28P01": "right", "28000": "right"}
_NAMES_OF_DRIVERS = ("Error", "Exception")


def meant(error: Exception, adapter: DbtAdapter, *, doing: str, mart: MartRelation) -> TailraceError | None:
    """The error of ours for a driver's; None if it is no driver's error, but a fault of this code."""
    if not _of_a_driver(error):
        return None
    message = str(error)
    state = _STATES.get(str(getattr(error, "sqlstate", "")))
    said = _ended(adapter.cleaned(message))
    if _BUSY.search(message):
        return WarehouseBusy(
            f"The warehouse {adapter.name} is in use by another process, so it failed while {doing}: {said} "
            "Wait for it to finish, then try again."
        )
    if state == "right" or (state is None and _NO_RIGHT.search(message) and "exist or" not in message):
        return SettingsError(
            f"The warehouse {adapter.name} rejects this installation:",
            [
                f"It failed while {doing}: {said}",
                "Check the user and the password of this target, and grant the role what reading needs: usage on the "
                f"schema and select on {mart.sql}.",
            ],
        )
    if state == "table" or (state is None and _NO_TABLE.search(message)):
        return missing(adapter, doing=doing, mart=mart)
    if state is None and _GONE.search(message):
        return Unavailable(
            f"The warehouse {adapter.name} did not answer, or stopped answering, while {doing}: {said} "
            "Check that the server runs and can be reached; the same call may work later."
        )
    return Unavailable(f"The warehouse {adapter.name} failed while {doing}: {said} The same call may work later.")


def missing(adapter: DbtAdapter, *, doing: str, mart: MartRelation) -> UpstreamMissing:
    """The error for a mart that the database does not have."""
    if mart.node:
        kind, _, name = mart.node.partition(".")
        why, what_to_do = f"the {kind} {name} was not built in this target, or was removed.", "Build it"
    else:
        near = relations.nearest(mart.name, adapter.manifest)
        why, what_to_do = (
            f"the dbt project has no model of this name either.{near}",
            "Make the table, or correct its name",
        )
    return UpstreamMissing(
        f"The warehouse {adapter.name} has no table {mart.sql}: {why} It failed while {doing}. {what_to_do}, then try "
        "again."
    )


def of_messages(messages: Sequence[str], adapter: DbtAdapter) -> TailraceError | None:
    """The error if a message of a build is about the database itself, and not the fault of a model."""
    for message in messages:
        said = _ended(adapter.cleaned(message))
        if _BUSY.search(message):
            return WarehouseBusy(
                f"The warehouse {adapter.name} is in use by another process: {said} Wait for it to finish, then try "
                "again."
            )
        if _TURNED_AWAY.search(message):
            return SettingsError(
                f"The warehouse {adapter.name} rejects this installation:",
                [f"{said} Check the user, the password and the rights of this target."],
            )
        if _CUT_OFF.search(message):
            return Unavailable(
                f"The warehouse {adapter.name} did not answer, or stopped answering, while it was built: {said} Check "
                "that the server runs and can be reached; the same build may work later."
            )
    return None


def _ended(said: str) -> str:
    """A driver's message as the end of a sentence: some end with a question."""
    return said if said.endswith(("?", "!")) else f"{said}."


def _of_a_driver(error: Exception) -> bool:
    """True for the errors of DB-API drivers, of dbt, of Arrow, of Spark and of the operating system."""
    if isinstance(error, (OSError, pa.ArrowException)):
        return True
    own = {"builtins", "tailrace"}
    return any(
        kind.__module__.split(".")[0] not in own and kind.__name__.endswith(_NAMES_OF_DRIVERS)
        for kind in type(error).__mro__
    )
