"""One name, one thing: a public name stands for one class in the whole package."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

import tailrace

PACKAGE = Path(tailrace.__file__).parent
SEVERAL_FUNCTIONS = {"quoted": "a column's name as SQL takes it, in the SQL of Spark and of Postgres"}
"""Functions that are imported by their name alone from several modules, with the reason."""

Modules = dict[str, ast.Module]


@pytest.fixture(scope="module")
def modules() -> Modules:
    paths = {".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path for path in PACKAGE.rglob("*.py")}
    return {name.removesuffix(".__init__"): ast.parse(path.read_text()) for name, path in paths.items()}


def types_of(module: ast.Module) -> Iterator[str]:
    """The public classes of a module, and its names for other types, such as Severity = Literal[...]."""
    for node in module.body:
        if isinstance(node, ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (each.id for each in targets if isinstance(each, ast.Name) and not each.id.isupper())


def homes_of_types(modules: Modules) -> dict[str, list[str]]:
    homes = defaultdict(list)
    for name, module in modules.items():
        for each in types_of(module):
            if each[0].isupper():
                homes[each].append(name)
    return homes


def homes_of_functions(modules: Modules) -> dict[str, set[str]]:
    """The functions that are imported by their names alone, with the modules that they are imported from."""
    functions = {
        name: {node.name for node in module.body if isinstance(node, ast.FunctionDef)}
        for name, module in modules.items()
    }
    homes = defaultdict(set)
    for module in modules.values():
        for node in ast.walk(module):
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    if alias.name in functions.get(node.module or "", ()):
                        homes[alias.name].add(str(node.module))
    return homes


def test_a_public_name_stands_for_one_class(modules):
    several = {name: homes for name, homes in homes_of_types(modules).items() if len(homes) > 1}
    assert several == {}, "rename all but one; a class is imported by its name alone, so the module does not tell them"


def test_a_function_imported_by_its_name_alone_is_one_function(modules):
    several = {name for name, homes in homes_of_functions(modules).items() if len(homes) > 1}
    assert several == set(SEVERAL_FUNCTIONS), "rename all but one, or call them with their module's name"


def test_two_classes_of_one_name_are_seen():
    first, second = ast.parse("class Outcome: ..."), ast.parse("Outcome = Literal['success', 'failed']")
    assert homes_of_types({"a": first, "b": second}) == {"Outcome": ["a", "b"]}
