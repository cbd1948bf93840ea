"""A dataclass of more than four fields is made by keyword: mypy does not see two texts that are swapped."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import tailrace

MOST = 4


def wide(module: ast.Module) -> Iterator[str]:
    """The dataclasses that take more than four fields by position."""
    for node in ast.walk(module):
        if isinstance(node, ast.ClassDef):
            decorators = [ast.unparse(each) for each in node.decorator_list]
            fields = [each for each in node.body if isinstance(each, ast.AnnAssign)]
            own = [each for each in fields if "ClassVar" not in ast.unparse(each.annotation)]
            own = [each for each in own if each.value is None or "kw_only=True" not in ast.unparse(each.value)]
            made = any(each.startswith("dataclass") and "kw_only=True" not in each for each in decorators)
            if made and len(own) > MOST:
                yield node.name


def test_wide_dataclasses_are_made_by_keyword():
    paths = Path(tailrace.__file__).parent.rglob("*.py")
    found = {name for path in paths for name in wide(ast.parse(path.read_text()))}
    assert found == set(), "add kw_only=True to the dataclass"


def test_a_wide_dataclass_is_seen():
    fields = "\n".join(f"    {name}: str" for name in "abcde")
    assert list(wide(ast.parse(f"@dataclass(frozen=True)\nclass Wide:\n{fields}"))) == ["Wide"]
    assert list(wide(ast.parse(f"@dataclass(frozen=True, kw_only=True)\nclass Wide:\n{fields}"))) == []
