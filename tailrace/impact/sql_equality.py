"""Whether two SQL texts are proven to be the same query: by their tokens, or by their syntax trees.

Only a proof makes an edit silent. The parser forgets things (it reads two functions as one, it drops what it does not
know), so trees are a proof only if the tokens are the same too, apart from those that have no meaning.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Literal

EqualityProof = Literal["text", "tokens", "tree", ""]
"""How two texts were proven equal: text, comments and layout, optional words; empty: they were not."""
_DIALECTS = {"sqlserver": "tsql", "synapse": "tsql", "fabric": "tsql"}
_OPTIONAL = {"ALIAS", "INNER", "OUTER", "L_PAREN", "R_PAREN", "DCOLON", "SEMICOLON", "ASC", "CAST"}
"""Tokens that may come and go without a change of the tree."""


def dialect_of(adapter: str) -> str:
    """sqlglot's name for the SQL of a dbt adapter."""
    return _DIALECTS.get(adapter, adapter)


def proof(before: str, after: str, dialect: str) -> EqualityProof:
    """How the two texts are proven to be the same query; empty if they are not. Never raises for SQL it cannot read."""
    if before == after:
        return "text"
    tokens = [tokens_of(text, dialect) for text in (before, after)]
    if None in tokens:
        return ""
    if tokens[0] == tokens[1]:
        return "tokens"
    if _significant(tokens[0] or []) != _significant(tokens[1] or []):
        return ""
    trees = [tree_of(text, dialect) for text in (before, after)]
    return "tree" if None not in trees and said(trees[0]) == said(trees[1]) else ""


def tokens_of(sql: str, dialect: str) -> list[tuple[str, str]] | None:
    """The tokens with their kinds, without comments and layout; None for what sqlglot cannot read.

    Keywords are compared in any case, names and texts as they are written.
    """
    import sqlglot

    try:
        found = sqlglot.tokenize(sql, dialect=dialect)
    except Exception:  # noqa: BLE001 - whatever it cannot read is not proven equal
        return None
    # What stands in the gaps is a comment or blank, except for hints, which some databases obey.
    if any(comment.lstrip().startswith("+") for token in found for comment in token.comments):
        return None
    return [(token.token_type.name, _text(token)) for token in found]


def tree_of(sql: str, dialect: str) -> Any | None:
    """The syntax tree of a single statement; None if sqlglot cannot read it in full."""
    import sqlglot
    from sqlglot import exp

    try:
        statements = [each for each in sqlglot.parse(sql, dialect=dialect) if each is not None]
    except Exception:  # noqa: BLE001 - as above
        return None
    if len(statements) != 1 or statements[0].find(exp.Command):
        return None
    return statements[0]


def said(node: Any) -> Any:
    """All that a tree says, as nested tuples: comments and redundant parentheses are left out."""
    from sqlglot import exp

    while isinstance(node, exp.Paren):
        node = node.this
    if isinstance(node, exp.Expr):
        given = {name: said(value) for name, value in node.args.items() if not _is_empty(value)}
        if isinstance(node, exp.Join) and given.get("kind") == "INNER":
            del given["kind"]
        return (type(node).__name__, *sorted(given.items(), key=lambda each: each[0]))
    if isinstance(node, list | tuple):
        return tuple(said(each) for each in node)
    return node if isinstance(node, str | int | float | bool) else repr(node)


def _is_empty(value: Any) -> bool:
    return value is None or value is False or (isinstance(value, list) and not value)


def _text(token: Any) -> str:
    """A name or text as it is written; a keyword in upper case."""
    plain = token.token_type.name in ("VAR", "IDENTIFIER", "STRING", "NUMBER") or not token.text.isascii()
    return str(token.text if plain or "STRING" in token.token_type.name else token.text.upper())


def _significant(tokens: list[tuple[str, str]]) -> Counter[tuple[str, str]]:
    """The tokens that must be the same in both texts, whatever their order."""
    return Counter(
        (kind, text.upper() if kind == "VAR" else text)
        for kind, text in tokens
        if kind not in _OPTIONAL and not (kind == "VAR" and text.upper() == "CAST")
    )
