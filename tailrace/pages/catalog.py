"""The specs of all pipelines; they are read again when their files change."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

from tailrace.errors import SpecError, TailraceError, UnknownName
from tailrace.settings import find_project
from tailrace.spec import PipelineSpec, registry


def read() -> tuple[dict[str, PipelineSpec], dict[str, str]]:
    """The specs by name, and the problems of files that are not valid specs."""
    found = {name: _current(name) for name in registry.names()}
    specs = {name: spec for name, spec in found.items() if isinstance(spec, PipelineSpec)}
    return specs, {name: problem for name, problem in found.items() if isinstance(problem, str)}


def get(name: str) -> PipelineSpec:
    """One pipeline's spec. Raises UnknownName, SpecError."""
    if name not in registry.names():
        raise UnknownName("pipeline", name, registry.names())
    found = _current(name)
    if isinstance(found, PipelineSpec):
        return found
    raise SpecError(f"Pipeline {name!r} cannot be used:", [found])


def _current(name: str) -> PipelineSpec | str:
    file = find_project().pipelines / f"{name}.py"
    return _read(name, file, file.stat().st_mtime_ns)


@functools.lru_cache(maxsize=500)
def _read(name: str, file: Path, changed: int) -> PipelineSpec | str:
    """The spec, or the problem with its file, as the file has been since that time (nanoseconds)."""
    try:
        return registry.get(name)
    except SpecError as error:
        return _sentence(name, error.problems)
    except TailraceError as error:
        return " ".join(str(error).split())


def _sentence(name: str, problems: Sequence[str]) -> str:
    """All that is wrong with a file, with its name once."""
    first, *others = (" ".join(problem.split()).removeprefix(f"{name}: ") for problem in problems)
    file = f"pipelines/{name}.py"
    # One that could not be read is named already.
    opening = f"pipelines/{first}" if first.startswith(f"{name}.py ") else f"{file} is wrong: {first}"
    return " ".join([opening if opening.endswith(".") else f"{opening}.", *others])
