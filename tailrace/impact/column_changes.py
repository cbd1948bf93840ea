"""Which tables and columns of a dbt project mean something else than before an edit.

The meaning of each column is made of the meanings of the columns of other models that it reads (`meaning.py`), so one
comparison finds an edit and everything downstream of it, across `ref`, stars, CTEs and unions. What cannot be resolved
is never silent: such a model counts as changed as soon as anything that it could read has changed.
"""

from __future__ import annotations

import ast
import functools
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from tailrace.impact import meaning, query_meaning, sql_equality
from tailrace.impact.dbt_sides import BUILT, DbtNode, DbtSide, NotRendered, without_comments, words
from tailrace.impact.meaning import ROWS, ColumnPlace, Meant, TableMeaning, Unresolved

Edit = Literal["layout", "rewritten", "changed", "added", "deleted", ""]
"""What was done to a model itself: comments and layout; written otherwise, and proven to mean the same; anything else.
Empty: nothing."""


@dataclass(frozen=True, kw_only=True)
class TableChange:
    """What an edit does to one table of the dbt project.

    `columns` maps each column whose meaning is another to `added`, `removed` or `changed`. `all_columns`: every column
    is concerned, also those that are not known by name, since which rows there are has changed, or it is not certain
    what did; `why` says so in words. `because` are the places of other tables that changed, from which each column, or
    `*` for the rows, has its change.
    """

    node: DbtNode
    edit: Edit = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    all_columns: bool = False
    why: str = ""
    because: Mapping[str, tuple[ColumnPlace, ...]] = field(default_factory=dict)

    @property
    def touched(self) -> bool:
        return self.all_columns or bool(self.columns)

    def touches(self, column: str) -> bool:
        return self.all_columns or column.lower() in {name.lower() for name in self.columns}


def compare(base: DbtSide, head: DbtSide, landed: Mapping[str, str] | None = None) -> dict[str, TableChange]:
    """Every table that was edited or that means something else, by dbt's unique id, in the order in which they build.

    `landed` maps the names of landed tables whose extraction has changed to the reason.
    """
    return _Comparison(base, head, landed or {}).changes()


def changed_tests(base: DbtSide, head: DbtSide) -> dict[str, str]:
    """The dbt tests that an edit adds, changes or removes: what was done to each, by dbt's unique id."""
    if base is head:
        return {}
    texts = {side: _Fingerprints(side, {}) for side in (base, head)}
    found = {}
    for id_ in sorted({*base.nodes, *head.nodes}):
        before, after = base.nodes.get(id_), head.nodes.get(id_)
        if "test" not in {node.kind for node in (before, after) if node is not None}:
            continue
        if before is None or after is None:
            found[id_] = "is new" if before is None else "is gone"
        elif texts[base].judged(id_) != texts[head].judged(id_):
            found[id_] = "changed"
    return found


class _Comparison:
    def __init__(self, base: DbtSide, head: DbtSide, landed: Mapping[str, str]) -> None:
        self._sides = (base, head)
        self._landed = landed
        # Both sides are one object if no file of the dbt project differs.
        self._texts = (_Fingerprints(base, {}), _Fingerprints(head, landed))
        self._candidates = self._edited()
        self._concerned = self._downstream(self._candidates)
        self._meanings = tuple(
            _Meanings(side, texts, self._concerned) for side, texts in zip(self._sides, self._texts, strict=True)
        )

    def changes(self) -> dict[str, TableChange]:
        found: dict[str, TableChange] = {}
        for id_ in self._order():
            change = self._change(id_)
            if change.edit or change.touched:
                found[id_] = change
        return {id_: replace(each, because=_only(each.because, found)) for id_, each in found.items()}

    def _edited(self) -> set[str]:
        base, head = self._sides
        ids = {id_ for side in self._sides for id_, node in side.nodes.items() if node.kind in (*BUILT, "source")}
        return {
            id_
            for id_ in ids
            if id_ not in base.nodes
            or id_ not in head.nodes
            or self._texts[0].of(id_) != self._texts[1].of(id_)
            # Landed by code that changed.
            or self._texts[0].outside(id_) != self._texts[1].outside(id_)
        }

    def _downstream(self, begin: Collection[str]) -> set[str]:
        children = defaultdict(set)
        for side in self._sides:
            for node in side.nodes.values():
                if node.kind in BUILT:
                    for parent in node.needs:
                        children[parent].add(node.id)
        found, waiting = set(begin), list(begin)
        while waiting:
            for child in children[waiting.pop()] - found:
                found.add(child)
                waiting.append(child)
        return found

    def _order(self) -> Iterator[str]:
        """The concerned tables, parents first; those that only the base has come where they were."""
        done: set[str] = set()

        def visit(id_: str) -> Iterator[str]:
            if id_ in done or id_ not in self._concerned:
                return
            done.add(id_)
            for side in self._sides:
                for parent in sorted(side.nodes[id_].needs) if id_ in side.nodes else ():
                    yield from visit(parent)
            yield id_

        for id_ in sorted(self._concerned):
            yield from visit(id_)

    def _change(self, id_: str) -> TableChange:
        base, head = self._sides
        if id_ not in head.nodes:
            return TableChange(node=base.nodes[id_], edit="deleted", all_columns=True, why="it was deleted")
        if id_ not in base.nodes:
            return TableChange(node=head.nodes[id_], edit="added", all_columns=True, why="it is new")
        before, after = (side.of(id_) for side in self._meanings)
        change = _difference(head.nodes[id_], before, after)
        why = change.why or self._why_all(id_, change)
        return replace(change, edit=self._edit(id_, change), why=why)

    def _edit(self, id_: str, change: TableChange) -> Edit:
        if id_ not in self._candidates:
            return ""
        if self._texts[0].built(id_) != self._texts[1].built(id_) or self._texts[0].outside(id_) != self._texts[
            1
        ].outside(id_):
            return "changed"
        before, after = (side.nodes[id_] for side in self._sides)
        if self._proven(id_):
            retyped = after.contract and before.types != after.types and change.touched
            return "changed" if retyped else "layout" if before.raw != after.raw else ""
        return "changed" if change.touched else "rewritten"

    def _proven(self, id_: str) -> bool:
        """Whether the model's own text says the same, as tokens or as a tree."""
        before, after = (side.nodes[id_] for side in self._sides)
        if before.raw == after.raw and self._texts[0].of(id_) == self._texts[1].of(id_):
            return True
        if before.kind not in ("model", "snapshot") or before.language != "sql" or after.language != "sql":
            return False
        try:
            texts = [side.sql(id_) for side in self._sides]
        except NotRendered:
            return False
        dialect = self._sides[1].dialect
        return len(texts[0]) == len(texts[1]) and all(
            sql_equality.proof(one, other, dialect) for one, other in zip(*texts, strict=True)
        )

    def _why_all(self, id_: str, change: TableChange) -> str:
        if not change.all_columns:
            return ""
        for side in self._meanings:
            if problem := side.problem(id_):
                return f"{problem}, so every column of it and everything downstream counts as touched"
        if id_ in self._candidates:
            for texts in self._texts:
                if said := texts.outside(id_):
                    return said
            if self._texts[0].built(id_) != self._texts[1].built(id_):
                return "how dbt builds it changed (its configuration, its table's name, a hook or a macro)"
        return "which rows it has may change"


def _difference(node: DbtNode, before: TableMeaning, after: TableMeaning) -> TableChange:
    names = list(dict.fromkeys([*after.names, *before.names, *(node.types or ())]))
    columns: dict[str, str] = {}
    because: dict[str, tuple[ColumnPlace, ...]] = {}
    for name in names:
        there = [_has(side, name) for side in (before, after)]
        if there == [False, True]:
            columns[name] = "added"
        elif there == [True, False]:
            columns[name] = "removed"
        elif there == [True, True] and before.column(name).digest != after.column(name).digest:
            columns[name] = "changed"
        if name in columns:
            needs = {place for side in (before, after) if _has(side, name) for place in side.column(name).needs}
            because[name] = tuple(sorted(needs))
    everything = before.rows.digest != after.rows.digest or before.rest.digest != after.rest.digest
    if everything:
        because[ROWS] = tuple(sorted({*before.rows.needs, *after.rows.needs, *before.rest.needs, *after.rest.needs}))
    return TableChange(node=node, columns=columns, all_columns=everything, because=because)


def _has(side: TableMeaning, name: str) -> bool:
    return name in side.names or (not side.complete and name.lower() not in {each.lower() for each in side.names})


def _only(
    because: Mapping[str, Sequence[ColumnPlace]], found: Mapping[str, TableChange]
) -> dict[str, tuple[ColumnPlace, ...]]:
    """The places that changed themselves."""
    kept = {}
    for name, places in because.items():
        changed = [
            (table, column)
            for table, column in places
            if table in found and (found[table].all_columns if column == ROWS else found[table].touches(column))
        ]
        if changed:
            kept[name] = tuple(changed)
    return kept


class _Fingerprints:
    """What a table is made of besides the SQL that its template gives: compared before anything is rendered."""

    def __init__(self, side: DbtSide, landed: Mapping[str, str]) -> None:
        self._side, self._landed = side, landed

    @functools.cache  # noqa: B019 - one comparison, and then it is gone
    def of(self, id_: str) -> str:
        """A digest of the template and of everything that it could use; equal ones give the same SQL."""
        node = self._side.nodes[id_]
        if node.kind == "source":
            # Another table, or other files: both are said in the source's yml.
            return meaning.digest(node.source, node.relation, sorted(node.meta.items(), key=repr))
        used = self._closure(words(node.raw))
        text = " ".join([node.raw, *(text for _, text in used)])
        extra = [self._side.project_vars] if re.search(r"\bvar\b", text) else []
        if re.search(r"\b(graph|model)\b", without_comments(text)) and ("graph" in text or "model." in text):
            extra.append(self._whole_graph)
        raw = _python(node.raw) if node.language == "python" else node.raw
        seed = repr(self._side.header(node)) if node.kind == "seed" else ""
        types = sorted(node.types.items()) if node.contract or "model." in text else []
        parts = (raw, seed, sorted(node.needs), types, sorted(used), extra, node.language, node.source)
        return meaning.digest(*parts, self.built(id_))

    @functools.cache  # noqa: B019
    def built(self, id_: str) -> str:
        """A digest of how dbt builds the table, and where: configuration, hooks, macros that replace dbt's own.

        Another alias or schema is another table: the one that is there is not built on.
        """
        node = self._side.nodes[id_]
        if node.kind == "source":
            return ""
        hooks = repr([node.config.get("pre-hook"), node.config.get("post-hook"), *self._side.hooks])
        names = {f"get_incremental_{node.config.get('incremental_strategy')}_sql"}
        names |= {f"materialization_{node.config.get('materialized')}"}
        own = {name for name in self._replacing if not name.startswith(("test_", "generate_")) and name not in _TESTS}
        used = self._closure(names | own | words(hooks))
        return meaning.digest(sorted(node.config.items()), node.relation, hooks, sorted(used))

    def judged(self, id_: str) -> str:
        """A digest of what a dbt test says: its text or its arguments, its settings, and the macros behind it."""
        node = self._side.nodes[id_]
        return meaning.digest(node.raw, sorted(node.config.items()), sorted(self._closure(words(node.raw))))

    def outside(self, id_: str) -> str:
        """Why the rows of a source are other ones: the code that lands them changed. Empty: they are not."""
        node = self._side.nodes[id_]
        return self._landed.get(node.name, "") if node.kind == "source" else ""

    def _closure(self, names: Collection[str]) -> set[tuple[str, str]]:
        """The macros that these names can stand for, with those that they use, without their comments."""
        found: set[tuple[str, str]] = set()
        waiting, seen = set(names), set[str]()
        while waiting:
            name = waiting.pop()
            seen.add(name)
            for macro, text in self._macros.get(name, ()):
                if (macro, text) not in found:
                    found.add((macro, text))
                    waiting |= words(text) - seen
        return found

    @functools.cached_property
    def _macros(self) -> Mapping[str, list[tuple[str, str]]]:
        """The macros by each name that can reach them: that of an adapter's implementation is reached by dispatch."""
        found = defaultdict(list)
        for full, text in self._side.macros.items():
            name = full.partition(".")[2]
            plain = without_comments(text).strip()
            # Of the macros of tests only their own names: `test` is a word of each.
            short = name if name.startswith("test_") else re.sub(r"_(default|[a-z]+)$", "", name)
            for reached in {name, name.partition("__")[2] or name, short}:
                found[reached].append((full, plain))
        return found

    @functools.cached_property
    def _replacing(self) -> set[str]:
        """The project's macros that stand for dbt's own."""
        names = {full.partition(".")[2] for full in self._side.macros}
        dbts = self._side.own_macros
        return {name for name in names if name in dbts or (name.partition("__")[2] in dbts and "__" in name)}

    @functools.cached_property
    def _whole_graph(self) -> str:
        return meaning.digest(sorted((id_, repr(node)) for id_, node in self._side.nodes.items()))


_TESTS = {"get_where_subquery", "default__get_where_subquery", "should_store_failures"}
"""Macros that only tests use."""


def _python(code: str) -> str:
    """A Python model without comments, layout and docstrings."""
    try:
        tree = ast.parse(code)
    except SyntaxError:
        return code
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        first = body[0] if isinstance(body, list) and body else None
        value = first.value if isinstance(first, ast.Expr) else None
        if body and isinstance(value, ast.Constant) and isinstance(value.value, str):
            body[0] = ast.Pass()
    return ast.dump(tree)


_ROUNDS = 3
"""How often a model that reads itself is looked at again."""


class _Meanings:
    """The meanings of the concerned tables on one side; the others are only looked at for their columns."""

    def __init__(self, side: DbtSide, texts: _Fingerprints, concerned: Collection[str]) -> None:
        self._side, self._texts, self._concerned = side, texts, concerned
        self._found: dict[str, TableMeaning] = {}
        self._problems: dict[str, str] = {}
        self._itself: dict[str, TableMeaning] = {}
        self._self_reading: set[str] = set()

    def problem(self, id_: str) -> str:
        """Why a table could not be resolved; empty if it could."""
        return self._problems.get(id_, "")

    def of(self, id_: str) -> TableMeaning:
        if id_ not in self._found:
            self._found[id_] = self._of(self._side.nodes[id_])
        return self._found[id_]

    def _of(self, node: DbtNode) -> TableMeaning:
        if node.kind == "source":
            return meaning.leaf(node.id, salt=self._texts.outside(node.id) + self._texts.of(node.id))
        if node.kind == "seed":
            return self._seed(node)
        try:
            if node.language != "sql":
                raise Unresolved(f"{node.name} is a {node.language.capitalize()} model, which cannot be read as SQL")
            return self._model(node)
        except NotRendered as error:
            said = f"{node.name}: {error}"
        except Unresolved as error:
            said = str(error) if str(error).startswith(node.name) else f"{node.name}: {error}"
        except RecursionError:
            said = f"{node.name}: its SQL is nested too deeply"
        self._problems[node.id] = said
        return self._opaque(node)

    def _model(self, node: DbtNode) -> TableMeaning:
        # What an incremental model reads of itself is what it meant before; a few rounds reach every column.
        texts, salt = self._side.sql(node.id), self._texts.of(node.id)
        self._itself[node.id] = meaning.leaf(f"this:{node.id}", salt=salt)
        first = self._query(node, texts[0])
        self._itself[node.id] = meaning.leaf(f"this:{node.id}", first.names if first.complete else None, salt)
        found = [first, *(self._query(node, sql) for sql in texts[1:])]
        for _ in range(_ROUNDS if node.id in self._self_reading else 0):
            self._itself[node.id] = found[-1]
            found = [self._query(node, sql) for sql in texts]
        names = tuple(dict.fromkeys(name for each in found for name in each.names))
        types = {name.lower(): it for name, it in node.types.items()} if node.contract else {}
        built = self._texts.built(node.id)

        def column(name: str) -> Meant:
            columns = [each.column(name) for each in found if _has(each, name)]
            needs = frozenset(place for each in columns for place in each.needs)
            return Meant(meaning.digest([each.digest for each in columns], types.get(name.lower(), "")), needs)

        # A landed table may stand in the SQL as the files that it lies in.
        outside = {
            need: said for need in node.needs if need in self._side.nodes and (said := self._texts.outside(need))
        }
        rows = Meant(
            meaning.digest(built, [each.rows.digest for each in found], sorted(outside.items())),
            frozenset([*(place for each in found for place in each.rows.needs), *((need, ROWS) for need in outside)]),
        )
        rest = Meant(meaning.digest([each.rest.digest for each in found]), first.rest.needs)
        return TableMeaning(
            id=node.id, rows=rows, rest=rest, names=names, complete=all(it.complete for it in found), column=column
        )

    def _query(self, node: DbtNode, sql: str) -> TableMeaning:
        try:
            return query_meaning.of_query(node.id, sql, self._side.dialect, lambda name: self._table(name, deep=False))
        except Unresolved:
            # Once more, with the columns of every table that it reads.
            return query_meaning.of_query(node.id, sql, self._side.dialect, lambda name: self._table(name, deep=True))

    def _table(self, name: str, *, deep: bool) -> TableMeaning | None:
        node = self._side.by_relation(name)
        if node is None:
            return None
        if node.id in self._itself and node.id not in self._found:
            self._self_reading.add(node.id)
            return self._itself[node.id]
        if node.id in self._concerned:
            return self.of(node.id)
        return meaning.leaf(node.id, self._columns(node, deep=deep))

    def _columns(self, node: DbtNode, *, deep: bool) -> Sequence[str] | None:
        """The columns of a table that is not concerned, if they are certain; `deep` reads its SQL for them."""
        if node.contract and node.types:
            return tuple(node.types)
        if node.kind == "seed":
            rows = self._side.header(node)
            return rows[0] if rows else None
        if not deep or node.kind != "model":
            return None
        found = self.of(node.id)
        return found.names if found.complete else None

    def _opaque(self, node: DbtNode) -> TableMeaning:
        """A table that means another thing as soon as anything that it could read does."""
        parts: list[object] = [self._texts.of(node.id)]
        needs: set[ColumnPlace] = set()
        for parent in sorted(node.needs):
            if parent in self._concerned and parent in self._side.nodes:
                table = self.of(parent)
                columns = [(name, table.column(name).digest) for name in sorted(table.names)]
                parts.append((parent, table.rows.digest, table.rest.digest, columns))
                needs |= {(parent, ROWS), *((parent, name) for name in table.names)}
        whole = Meant(meaning.digest(parts), frozenset(needs))
        return TableMeaning(
            id=node.id,
            rows=whole,
            rest=whole,
            names=tuple(node.types),
            complete=False,
            column=lambda name: Meant(meaning.digest(whole.digest, name), whole.needs),
        )

    def _seed(self, node: DbtNode) -> TableMeaning:
        """A seed's columns mean their values."""
        rows = self._side.header(node)
        if not rows or any(len(row) != len(rows[0]) for row in rows):
            return meaning.leaf(node.id, salt=self._texts.of(node.id))
        values = {name: [row[place] for row in rows[1:]] for place, name in enumerate(rows[0])}
        types = node.config.get("column_types") or {}
        return TableMeaning(
            id=node.id,
            rows=Meant(meaning.digest(node.id, len(rows), self._texts.built(node.id)), frozenset()),
            rest=Meant(meaning.digest(node.id), frozenset()),
            names=tuple(rows[0]),
            complete=True,
            column=lambda name: Meant(meaning.digest(node.id, name, values.get(name), types.get(name)), frozenset()),
        )
