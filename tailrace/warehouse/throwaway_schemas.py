"""Throw-away schemas of a database: made for one command, dropped at its end, or by the next one if it was killed.

dbt builds into them because its manifest is changed in memory: no file of the project, and none of its own macros that
name schemas, is asked.
"""

from __future__ import annotations

import textwrap
import time
import uuid
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from tailrace.errors import BadInput, TailraceError
from tailrace.warehouse.adapter import DbtAdapter
from tailrace.warehouse.failures import of_messages

_LEFT_FOR = 86_400
"""Seconds after which a schema is one that a killed command left, where no lock can say so."""
_NO_RIGHT = "permission denied"


@contextmanager
def made(adapter: DbtAdapter, prefix: str, names: Sequence[str]) -> Iterator[list[str]]:
    """New schemas, one for each name, that are dropped at the end of the block.

    `prefix` says which command makes them: those that killed commands left are dropped first. On Postgres, a command
    holds a lock that the server releases when its process ends, so what it left is seen at once; elsewhere after a day.
    Raises BadInput if the role may not create schemas, Unavailable, SettingsError.
    """
    begun = f"{prefix}{int(time.time())}_{uuid.uuid4().hex[:8]}"
    schemas = [f"{begun}_{name}" for name in names]
    with ExitStack() as stack:
        with _translated(adapter):
            if adapter.type == "postgres":
                # held until the end of the block; dbt closes connections to DuckDB under our feet, so there none is
                run_on(stack.enter_context(adapter.connected()), [f"select pg_advisory_lock({_lock_of(begun)})"])
            _drop_left(adapter, prefix)
            _create(adapter, schemas)
        try:
            yield schemas
        finally:
            for schema in schemas:
                with suppress(Exception):  # what is left is dropped by the next command
                    statements(adapter, [f"drop schema if exists {schema} cascade"])


def statements(adapter: DbtAdapter, sql: Sequence[str]) -> list[tuple[Any, ...]]:
    """Run the statements on a connection of their own; returns the rows of the last one if it is a SELECT."""
    with adapter.connected() as handle:
        return run_on(handle, sql)


def run_on(handle: Any, sql: Sequence[str]) -> list[tuple[Any, ...]]:
    """Run the statements on this connection and commit; returns the rows of the last one if it is a SELECT."""
    cursor = handle.cursor()
    cursor.execute("set timezone = 'UTC'")
    for statement in sql:
        cursor.execute(statement)
    rows = list(cursor.fetchall()) if sql and sql[-1].startswith("select") else []
    if hasattr(handle, "commit"):
        handle.commit()
    return rows


def moved(adapter: DbtAdapter, node: Any, schema: str) -> None:
    """Change a node of a manifest so that dbt builds it in the schema, and so that others read it there."""
    node.schema, node.alias = schema, node.name
    node.relation_name = adapter.adapter.Relation.create_from(adapter.adapter.config, node).render()


def without_hooks(manifest: Any) -> Any:
    """The manifest without on-run-start and on-run-end: these would run in the database itself."""
    for id_ in [id_ for id_, node in manifest.nodes.items() if str(node.resource_type) == "operation"]:
        del manifest.nodes[id_]
    return manifest


def refuse_hooks_elsewhere(nodes: Collection[Any]) -> None:
    """Raise BadInput for models with a hook that does not say `this`: it may write into the database itself.

    `nodes` are those of dbt's manifest.
    """
    found = [
        f"{node.name} ({textwrap.shorten(str(hook.sql), 80, placeholder=' ...')})"
        for node in nodes
        for hook in [*getattr(node.config, "pre_hook", ()), *getattr(node.config, "post_hook", ())]
        if "this" not in str(hook.sql)
    ]
    if found:
        raise BadInput(
            f"These models have hooks that do not name `this`, so they may write outside of a throw-away schema: "
            f"{', '.join(sorted(found))}. Nothing was built."
        )


def _lock_of(begun: str) -> str:
    """The number of the lock that says that the schemas of this command are in use."""
    return f"hashtext('{begun}')"


def _drop_left(adapter: DbtAdapter, prefix: str) -> None:
    """Drop the schemas of commands that were killed."""
    known = f"select schema_name from information_schema.schemata where schema_name like '{prefix}%'"  # noqa: S608
    for (schema,) in statements(adapter, [known]):
        if _is_left(adapter, str(schema).rpartition("_")[0], prefix):
            statements(adapter, [f"drop schema if exists {schema} cascade"])


def _is_left(adapter: DbtAdapter, begun: str, prefix: str) -> bool:
    if adapter.type == "postgres":
        # the lock ends with this connection
        ((free,),) = statements(adapter, [f"select pg_try_advisory_lock({_lock_of(begun)})"])
        return bool(free)
    at = begun.removeprefix(prefix).partition("_")[0]
    return at.isdecimal() and float(at) < time.time() - _LEFT_FOR


def _create(adapter: DbtAdapter, schemas: Sequence[str]) -> None:
    try:
        statements(adapter, [f"create schema {schema}" for schema in schemas])
    except Exception as error:
        if _NO_RIGHT not in str(error):
            raise
        own = adapter.credentials
        raise BadInput(
            f"The role {own.user} may not create schemas in the database {own.database}, and both sides are built in "
            f"throw-away schemas there. Grant it: grant create on database {own.database} to {own.user}."
        ) from error


@contextmanager
def _translated(adapter: DbtAdapter) -> Iterator[None]:
    """Translate the errors of the driver."""
    try:
        yield
    except TailraceError:
        raise
    except Exception as error:
        if (ours := of_messages([str(error)], adapter)) is None:
            raise
        raise ours from error
