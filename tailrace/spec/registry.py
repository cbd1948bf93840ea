"""Finds the pipelines: each is a file of the project's `pipelines/` that exports SPEC."""

from __future__ import annotations

import importlib.util
import sys
from collections import defaultdict
from pathlib import Path

from tailrace.errors import SpecError, UnknownName
from tailrace.settings import find_project
from tailrace.spec import PipelineSpec, problems_of


def names(catalog: Path | None = None) -> tuple[str, ...]:
    """The pipelines' names, by file name alone: importing none of them. Raises SettingsError without a project."""
    folder = catalog or find_project().pipelines
    return tuple(sorted(path.stem for path in folder.glob("*.py") if not path.stem.startswith("_")))


def get(name: str, catalog: Path | None = None, *, estimators: bool = False) -> PipelineSpec:
    """One pipeline's spec, checked; the other files of the catalog are not read.

    Raises UnknownName with the nearest name, SpecError listing every problem of this spec.
    """
    if name not in names(catalog):
        raise UnknownName("pipeline", name, names(catalog), "Pipelines are the files of pipelines/.")
    spec, problems = _load(name, catalog, estimators=estimators)
    if spec is None or problems:
        raise SpecError(f"Pipeline {name!r} cannot be used:", problems)
    return spec


def check(catalog: Path | None = None) -> tuple[PipelineSpec, ...]:
    """Every pipeline's spec, checked in full. Raises SpecError listing the problems of all files."""
    specs, problems = load(catalog)
    if problems:
        raise SpecError("Pipeline specs are wrong:", problems)
    return specs


def load(catalog: Path | None = None, *, estimators: bool = True) -> tuple[tuple[PipelineSpec, ...], tuple[str, ...]]:
    """The specs without problems, and the problems of the others: a wrong spec breaks only itself."""
    found = {name: _load(name, catalog, estimators=estimators) for name in names(catalog)}
    files = defaultdict(list)
    for file, (spec, _) in found.items():
        if spec is not None and isinstance(spec.name, str):
            files[spec.name].append(f"{file}.py")
    problems = [problem for _, its_problems in found.values() for problem in its_problems]
    problems += [
        f"{name}: {len(same)} pipelines have this name: {', '.join(same)}."
        for name, same in files.items()
        if len(same) > 1
    ]
    return tuple(spec for spec, wrong in found.values() if spec is not None and not wrong), tuple(problems)


def _load(name: str, catalog: Path | None, *, estimators: bool) -> tuple[PipelineSpec | None, list[str]]:
    """The spec of one file, if it has one, and everything wrong with it."""
    if catalog is None:
        project = find_project()
        project.make_importable()
        module_name, path = f"pipelines.{name}", project.pipelines / f"{name}.py"
    else:
        module_name, path = f"_catalog_{name}", catalog / f"{name}.py"
    loader = importlib.util.spec_from_file_location(module_name, path)
    if loader is None or loader.loader is None:
        return None, [f"{path.stem}: {path.name} is not a Python file."]
    module = importlib.util.module_from_spec(loader)
    # Dataclasses look their module up by name while their class is built.
    sys.modules[module_name] = module
    try:
        loader.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a catalog file raises is this file's problem
        return None, [f"{path.stem}: {path.name} does not load: {type(error).__name__}: {error}".rstrip(": ")]
    spec = getattr(module, "SPEC", None)
    if not isinstance(spec, PipelineSpec):
        return None, [f"{path.stem}: {path.name} exports no SPEC; end it with SPEC = PipelineSpec(...)."]
    try:
        problems = problems_of(spec, estimators=estimators)
    except Exception as error:  # noqa: BLE001 - nor may a value that breaks the checks take other pipelines down
        return None, [f"{path.stem}: {path.name} cannot be checked: {type(error).__name__}: {error}"]
    if spec.name != path.stem:
        problems.append(
            f"{spec.name}: name differs from its file {path.name}; one stem names everything of a pipeline."
        )
    return spec, problems
