"""What a query means, column by column, without its names: CTEs, aliases and stars are resolved.

The meaning of a column is a digest of its expression, in which every column is replaced by the meaning that it has in
the tables that are read. The meaning of the rows is a digest of everything that decides which rows there are: from,
joins, filters, groups, limits. If both are equal on two sides of an edit, the edit did not change the column.
`query_meaning` finds it out: `query_scopes` resolves the names, `query_expressions` reads expressions and clauses.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

ColumnPlace = tuple[str, str]
"""A column of a table: the table's id and the column. The column `*` stands for the table's rows."""
ROWS = "*"


class Unresolved(Exception):
    """SQL whose names cannot be resolved with certainty; the message says why."""


class Meant(NamedTuple):
    """A meaning, the places that it is made of, and the expression as SQL."""

    digest: str
    needs: frozenset[ColumnPlace]
    sql: str = ""


@dataclass(frozen=True, kw_only=True)
class TableMeaning:
    """What a table means. `names` are its columns in order; `complete` is false if it may have others, by a star.

    `rows`, `column(name)` and `rest` (what a star may give besides `names`) give the meanings, with the places of other
    tables that they are made of.
    """

    id: str
    rows: Meant
    rest: Meant
    names: tuple[str, ...]
    complete: bool
    column: Callable[[str], Meant]


def leaf(id_: str, names: Sequence[str] | None = None, salt: str = "") -> TableMeaning:
    """A table that is looked at no further; `salt` tells different contents of it apart."""
    return TableMeaning(
        id=id_,
        rows=Meant(digest("leaf", id_, salt), frozenset()),
        rest=Meant(digest("rest", id_, salt), frozenset()),
        names=tuple(names or ()),
        complete=names is not None,
        column=lambda name: Meant(digest("leaf", id_, salt, name), frozenset()),
    )


def digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]


class Gathering:
    """Gathers meanings into one, with the places that they are all made of."""

    def __init__(self) -> None:
        self._needs: set[ColumnPlace] = set()

    def take(self, meant: Meant) -> str:
        """The digest of a meaning that is a part of this one."""
        self._needs |= meant.needs
        return meant.digest

    def meant(self, content: Any, sql: str = "") -> Meant:
        """The meaning of a content in which all that was taken may stand."""
        return self.same_as(digest(content), sql)

    def same_as(self, digest_: str, sql: str = "") -> Meant:
        """A meaning that is the very one of a part."""
        return Meant(digest_, frozenset(self._needs), sql)
