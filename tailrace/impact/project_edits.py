"""Edits outside of the dbt project: specs, expectation suites, code of sources, settings."""

from __future__ import annotations

import ast
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from tailrace.errors import BadInput, TailraceError
from tailrace.impact import spec_contents
from tailrace.impact.git_trees import Base, Repository
from tailrace.settings import Settings, import_paths

Needs = Literal["rebuild", "retrain", "rescore", "judge", "next training", "nothing"]
"""What a changed field of a spec asks for: a rebuild of the mart, a training, scoring again, another judgment of the
same predictions; `next training`: the champion stays as it is."""

_FIELDS: Mapping[str, tuple[Needs, str]] = {
    "owner": ("nothing", "who answers for it"),
    "description": ("nothing", "its description"),
    "features.columns": ("retrain", "other features"),
    "features.weight": ("retrain", "another weight of rows"),
    "features": ("rebuild", "other rows are taken from its mart"),
    "outcome.problem": ("retrain", "another question"),
    "outcome.description": ("nothing", "its description"),
    "outcome.late_days": ("judge", "the monitor looks at other outcomes"),
    "outcome": ("retrain", "another label"),
    "candidates": ("next training", "other candidates"),
    "baselines": ("next training", "other rules"),
    "window": ("next training", "another window"),
    "search": ("next training", "another search"),
    "gate": ("next training", "another gate"),
    "predictions.threshold": ("rescore", "another threshold: decisions may flip"),
    "predictions": ("rescore", "other published columns"),
    "audit": ("judge", "the audit has other limits"),
    "monitor": ("judge", "the monitor has other limits"),
    "schedule": ("nothing", "when it runs"),
    "review": ("judge", "another review policy"),
}
"""What follows from a change of a field; the longest name that a field begins with counts."""


@dataclass(frozen=True, kw_only=True)
class SpecEdit:
    """A spec that says something else. `fields` maps each changed field to its text before and after."""

    pipeline: str
    kind: Literal["changed", "added", "deleted", "wrong"]
    fields: Mapping[str, tuple[str, str]]
    needs: Mapping[str, tuple[Needs, str]]
    why: str = ""

    def asks_for(self, *needs: Needs) -> bool:
        return self.kind != "changed" or any(need in needs for need, _ in self.needs.values())


@dataclass(frozen=True, kw_only=True)
class SuiteEdit:
    """An expectation suite that judges otherwise."""

    pipeline: str
    part: str
    words: str


@dataclass(frozen=True, kw_only=True)
class ProjectEdits:
    """All edits outside of the dbt project. `landed` are tables whose extraction changed, each with the reason."""

    specs: tuple[SpecEdit, ...] = ()
    suites: tuple[SuiteEdit, ...] = ()
    landed: Mapping[str, str]
    training_code: Mapping[str, str]
    """Pipelines of which a candidate is made by code of the project that changed, each with the file."""
    layout: tuple[str, ...] = ()
    """Files of which only comments and layout changed."""
    unknown: tuple[str, ...] = ()
    """Changed files that nothing is known about: none of the dbt project."""


def find(
    repository: Repository, base: Base, *, checkout: Path, settings: Settings, changed: Sequence[str]
) -> ProjectEdits:
    """The edits of the changed files, which are named relative to the project; `checkout` has the base's files."""
    root = settings.project.root
    python = [file for file in changed if file.startswith("pipelines/") and file.endswith(".py")]
    silent = [file for file in python if _same_python(repository.text(base, file), _text(root / file))]
    edited = [file for file in python if file not in silent]
    concerned = _importing(root, edited) | _importing(checkout, edited)
    suites, same = _suites(repository, base, settings, changed)
    known = {*python, *(file for file in changed if _suite_of(settings, file))}
    return ProjectEdits(
        specs=tuple(_specs(checkout, {PurePosixPath(file).stem for file in concerned if _is_spec(file)})),
        suites=tuple(suites),
        landed=_landed(settings, concerned, edited),
        training_code=_training_code(concerned, edited),
        layout=tuple(sorted([*silent, *same])),
        unknown=tuple(file for file in changed if file not in known and _may_matter(settings, file)),
    )


# ------------------------------------------------------------ specs


def _specs(checkout: Path, names: Collection[str]) -> Iterator[SpecEdit]:
    before, after = spec_contents.of_project(checkout, names), spec_contents.here(names)
    for name in sorted(names):
        edit = _spec_edit(name, before.get(name), after.get(name))
        if edit is not None:
            yield edit


def _spec_edit(name: str, before: Any, after: Any) -> SpecEdit | None:
    kind: Literal["added", "deleted", "wrong"] | None = None
    why = ""
    if isinstance(after, str) or isinstance(before, str):
        side = "in the working files" if isinstance(after, str) else "at the base"
        kind, why = "wrong", f"its spec cannot be used {side}: {after if isinstance(after, str) else before}"
    elif before is None:
        kind, why = "added", "it is new"
    elif after is None:
        kind, why = "deleted", "its file was deleted"
    if kind is not None:
        return SpecEdit(pipeline=name, kind=kind, fields={}, needs={}, why=why)
    fields = dict(differences(before, after))
    if not fields:
        return None
    needs = {field: _needs(field) for field in fields}
    return SpecEdit(pipeline=name, kind="changed", fields=fields, needs=needs)


def differences(before: Any, after: Any, where: str = "") -> Iterator[tuple[str, tuple[str, str]]]:
    """The fields that differ, with dots, each with what it says on both sides."""
    if isinstance(before, Mapping) and isinstance(after, Mapping) and where.count(".") < 2:
        for name in dict.fromkeys([*before, *after]):
            inner = f"{where}.{name}" if where else str(name)
            yield from differences(before.get(name), after.get(name), inner)
    elif before != after:
        yield where, (_shown(before), _shown(after))


def _shown(value: Any) -> str:
    text = "not said" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def _needs(field: str) -> tuple[Needs, str]:
    for length in range(len(field.split(".")), 0, -1):
        if found := _FIELDS.get(".".join(field.split(".")[:length])):
            return found
    return "retrain", "another spec"


_OF_THE_NIGHT = ("tailrace.toml", "pyproject.toml", "uv.lock")


def _may_matter(settings: Settings, file: str) -> bool:
    """Whether a file outside of dbt, specs and suites could change what a night does."""
    path = settings.project.root / file
    return not path.is_relative_to(settings.dbt_project) and (
        file.partition("/")[0] in ("plugins", "dags", "pipelines")
        or file in ("tailrace.toml", "pyproject.toml", "uv.lock")
    )


# ------------------------------------------------------------ code


def _same_python(before: str | None, after: str | None) -> bool:
    """Whether two files are the same apart from comments and layout. Docstrings count: a spec may use its own."""
    if before is None or after is None:
        return False
    try:
        return ast.dump(ast.parse(before)) == ast.dump(ast.parse(after))
    except (SyntaxError, ValueError):
        return False


def _importing(root: Path, files: Collection[str]) -> set[str]:
    """These files of `pipelines/`, and those that import them, also by way of others."""
    imports = {
        file.relative_to(root).as_posix(): _imported(file)
        for file in sorted((root / "pipelines").rglob("*.py"))
        if "__pycache__" not in file.parts
    }
    found = set(files)
    while more := {
        file for file, of in imports.items() if file not in found and of & {_module(each) for each in found}
    }:
        found |= more
    return found


def _imported(file: Path) -> set[str]:
    """The modules of the project that a file may import; every part of a dotted name counts."""
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return set()
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            near = "pipelines.sources" if node.level and "sources" in file.parts else "pipelines"
            module = f"{near}.{node.module}".rstrip(".") if node.level else node.module or ""
            names |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    return names


def _module(file: str) -> str:
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _is_spec(file: str) -> bool:
    path = PurePosixPath(file)
    return path.parent.as_posix() == "pipelines" and not path.stem.startswith("_")


def _landed(settings: Settings, concerned: Collection[str], edited: Collection[str]) -> dict[str, str]:
    """The tables that sources in these files land."""
    modules = {_module(file): file for file in concerned}
    found: dict[str, str] = {}
    for path in settings.sources:
        file = modules.get(path.partition(":")[0])
        if file is None:
            continue
        said = f"the code that lands it changed ({', '.join(sorted(edited))})"
        try:
            source = import_paths.resolve("sources names", path, settings.project)(settings.work / "source")
            found |= dict.fromkeys(source.tables, said)
        except TailraceError as error:
            raise BadInput(f"What {file} lands is not known: {error}") from error
    return found


def _training_code(concerned: Collection[str], edited: Collection[str]) -> dict[str, str]:
    """The pipelines of which a candidate's estimator is in one of these files."""
    from tailrace.spec import registry

    modules = {_module(file): file for file in concerned}
    found = {}
    for spec in registry.load(estimators=False)[0] if modules else ():
        paths = [candidate.estimator for candidate in spec.candidates]
        paths += [each.path for candidate in spec.candidates for _, each in candidate.nested]
        for path in paths:
            if file := modules.get(path.rpartition(".")[0]):
                found[spec.name] = file
    return found


# ------------------------------------------------------------ suites


def _suites(
    repository: Repository, base: Base, settings: Settings, changed: Sequence[str]
) -> tuple[list[SuiteEdit], list[str]]:
    """The suites that judge otherwise, and the files that say the same."""
    found, same = [], []
    for file in changed:
        suite = _suite_of(settings, file)
        if suite is None:
            continue
        before, after = (_json(text) for text in (repository.text(base, file), _text(settings.project.root / file)))
        if before == after:
            same.append(file)
            continue
        found.append(SuiteEdit(pipeline=suite[0], part=suite[1], words=_suite_words(before, after)))
    return found, same


def _suite_of(settings: Settings, file: str) -> tuple[str, str] | None:
    """The pipeline and the part of a suite's file."""
    path = settings.project.root / file
    if path.suffix != ".json" or not path.is_relative_to(settings.suites):
        return None
    parts = path.relative_to(settings.suites).parts
    return (parts[0], parts[1].removesuffix(".json")) if len(parts) == 2 else None


def _suite_words(before: Any, after: Any) -> str:
    if isinstance(after, str):
        return "it is not JSON any more, so tonight's validation would stop"
    sides = [[json.dumps(each, sort_keys=True) for each in _expectations(side)] for side in (before, after)]
    gone, new = (len([each for each in one if each not in other]) for one, other in (sides, sides[::-1]))
    return f"{len(sides[1])} expectations; {new} are new or different, {gone} of before are gone"


def _expectations(suite: Any) -> list[Any]:
    found = suite.get("expectations") if isinstance(suite, Mapping) else None
    return found if isinstance(found, list) else []


def _json(text: str | None) -> Any:
    try:
        return None if text is None else json.loads(text)
    except ValueError:
        return text


def _text(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
