"""Where a spec says something: the file and line of a field, for messages about it.

A spec is a Python object and does not know where it was written, so its file is read as a syntax tree. What the file
makes in another way, such as a spec that is copied from another pipeline's, has the line of its SPEC.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

_FIELD = re.compile(r"[a-z_]+|\.([a-z_]+)|\[(?:'([^']*)'|\"([^\"]*)\")\]")
_START = re.compile(r"[a-z_]+([.\[]| )")


class Places:
    """The lines of one spec's fields; `shown` is the file's name in messages."""

    def __init__(self, file: Path, shown: str) -> None:
        self._shown = shown
        try:
            self._tree: ast.Module = ast.parse(file.read_text(encoding="utf-8"))
        except (OSError, SyntaxError, ValueError):
            self._tree = ast.Module([], [])
        assigned = [node for node in self._tree.body if isinstance(node, ast.Assign | ast.AnnAssign) and node.value]
        self._named = {
            target.id: node.value
            for node in assigned
            for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
            if isinstance(target, ast.Name)
        }

    def of(self, *path: str) -> str:
        """'pipelines/churn.py:14' for ("features", "columns", "age"), as near as the file itself says it."""
        line = self._line(path)
        return f"{self._shown}:{line}" if line else self._shown

    def of_sentence(self, sentence: str) -> str:
        """The place of the field with which a sentence begins, such as features.columns['age']."""
        return self.of(*_path(sentence))

    def _line(self, path: Sequence[str]) -> int | None:
        spec = self._named.get("SPEC")
        found = spec
        for part in path:
            inner = self._inside(found, part)
            if inner is None:
                break
            found = inner
        return found.lineno if found is not None else None

    def _inside(self, node: ast.expr | None, part: str) -> ast.expr | None:
        """The value of a field of a call, of a key of a dict, or of a named or equal member of a list."""
        node = self._value(node)
        if isinstance(node, ast.Call):
            return next((each.value for each in node.keywords if each.arg == part), None)
        if isinstance(node, ast.Dict):
            keys = zip(node.keys, node.values, strict=True)
            return next((key for key, _ in keys if isinstance(key, ast.Constant) and key.value == part), None)
        if isinstance(node, ast.Tuple | ast.List):
            return next((each for each in map(self._value, node.elts) if part in _names(each)), None)
        return None

    def _value(self, node: ast.expr | None) -> ast.expr | None:
        """The value of a variable of the file; any other expression as it is."""
        return self._named.get(node.id, node) if isinstance(node, ast.Name) else node


def _names(node: ast.expr | None) -> Iterator[str]:
    """What a member of a list may be called: its own text, or the name of the call that makes it."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.Call):
        named = [each.value for each in node.keywords if each.arg == "name"]
        for value in [*node.args[:1], *named]:
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield value.value


def _path(sentence: str) -> list[str]:
    """The parts of a field's name at the start of a sentence."""
    if not _START.match(sentence):
        return []
    parts, position = [], 0
    while found := _FIELD.match(sentence, position):
        if position == 0 and found[0].startswith(("[", ".")):
            break
        if position and not found[0].startswith(("[", ".")):
            break
        parts.append(next(filter(None, found.groups()), found[0]))
        position = found.end()
    return parts
