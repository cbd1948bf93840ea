"""Suite files in Great Expectations' own format, read and checked.

The suite `flight_delay/features` is the file `flight_delay/features.json`. Its name in the file is
`flight_delay.features`, because Great Expectations turns dots of a name into folders.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tailrace.contracts import Severity
from tailrace.errors import ProblemList, UnknownName, did_you_mean
from tailrace.validation import arguments

SUITE_KEYS = ("name", "expectations", "meta", "notes", "id", "suite_parameters")
EXPECTATION_KEYS = ("type", "kwargs", "severity", "meta", "notes", "description", "id", "rendered_content")
SEVERITIES: Mapping[str, Severity] = {"critical": "critical", "warning": "warning", "info": "warning"}

ArgumentCheck = Callable[[str, Mapping[str, Any]], Iterable[str]]
"""Problems with an expectation's type and arguments, one phrase each."""


@dataclass(frozen=True)
class Expectation:
    """One expectation of a suite; severity `info` counts as a warning."""

    type: str
    kwargs: Mapping[str, Any]
    severity: Severity
    description: str | None


@dataclass(frozen=True)
class Suite:
    """A suite that was read and is well-formed; `name` is the one in the file."""

    name: str
    expectations: tuple[Expectation, ...]


def names(folder: Path) -> tuple[str, ...]:
    """The existing suites, such as 'flight_delay/features'."""
    files = (path for path in folder.rglob("*.json") if path.is_file())
    return tuple(sorted(path.relative_to(folder).with_suffix("").as_posix() for path in files))


def read(folder: Path, suite: str, check: ArgumentCheck) -> Suite:
    """The suite of that name.

    Raises UnknownName if there is no such file, BadInput listing every problem of the file.
    """
    known = names(folder)
    if suite not in known:
        raise UnknownName("expectation suite", suite, known, f"Suites are the JSON files under {folder}.")
    path = folder / f"{suite}.json"
    content = _content(path)
    problems = list(_suite_problems(content, suite.replace("/", "."), check))
    if problems:
        raise _malformed(path, problems)
    return Suite(content["name"], tuple(_expectation(item) for item in content["expectations"]))


def refuse(folder: Path, suite: str, problems: Sequence[str]) -> None:
    """Raise BadInput with the problems of a suite, if there are any."""
    if problems:
        raise _malformed(folder / f"{suite}.json", list(problems))


def _content(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
        return json.loads(text, object_pairs_hook=arguments.repeated, parse_constant=arguments.no_number)
    except OSError as error:
        raise _malformed(path, [f"it cannot be read: {error.strerror}"]) from error
    except (ValueError, RecursionError) as error:
        raise _malformed(path, [f"it is not JSON: {error}"]) from error


def unknown_type(name: str, known: Iterable[str]) -> str:
    """The problem of a type that does not exist, with the nearest one that does."""
    return f"there is no expectation type {name!r}.{did_you_mean(name, known)}"


def unknown_argument(name: str, known: Iterable[str]) -> str:
    """The problem of an argument that the type does not accept, with the nearest one that it does."""
    return f"it has no argument {name!r}.{did_you_mean(name, known)}"


def missing_argument(name: str) -> str:
    """The problem of an argument that the type needs."""
    return f"argument {name!r} is missing"


def _malformed(path: Path, problems: list[str]) -> ProblemList:
    return ProblemList(f"The expectation suite {path} cannot be used; correct the file:", problems)


def _suite_problems(content: Any, name: str, check: ArgumentCheck) -> Iterable[str]:
    if not isinstance(content, dict):
        yield "it is not a JSON object with 'name' and 'expectations'"
        return
    yield from _unknown_keys("the suite", content, SUITE_KEYS)
    if content.get("name") != name:
        yield f"its name must be {name!r} to match its place, not {content.get('name')!r}"
    expectations = content.get("expectations")
    if not isinstance(expectations, list) or not expectations:
        yield "'expectations' must be a list of at least one expectation"
        return
    for number, item in enumerate(expectations, start=1):
        yield from _expectation_problems(f"expectation {number}", item, check)


def _expectation_problems(label: str, item: Any, check: ArgumentCheck) -> Iterable[str]:
    if not isinstance(item, dict) or not isinstance(item.get("type"), str):
        yield f"{label}: it must be an object with a 'type'"
        return
    label = f"{label} ({item['type']})"
    yield from _unknown_keys(label, item, EXPECTATION_KEYS)
    severity = item.get("severity", "critical")
    if not isinstance(severity, str) or severity not in SEVERITIES:
        yield f"{label}: severity must be one of {', '.join(SEVERITIES)}, not {severity!r}"
    description = item.get("description")
    if description is not None and not isinstance(description, str):
        yield f"{label}: 'description' must be text, not {description!r}"
    kwargs = item.get("kwargs", {})
    if not isinstance(kwargs, dict):
        yield f"{label}: 'kwargs' must be an object"
        return
    wrong = list(arguments.problems(item["type"], kwargs))
    # Great Expectations would report the same problems again.
    found = [
        problem
        for problem in check(item["type"], kwargs)
        if not any(_argument(problem) in known_problem for known_problem in wrong)
    ]
    yield from (f"{label}: {problem}" for problem in [*wrong, *found])


def _argument(problem: str) -> str:
    """The argument that a problem is about, in the same form for all problems; the problem itself if it has none."""
    start, _, rest = problem.partition("argument ")
    return f"argument {rest.split(' ')[0].rstrip(':')}" if rest and not start else problem


def _unknown_keys(label: str, content: Mapping[str, Any], known: Iterable[str]) -> Iterable[str]:
    for key in content:
        if key not in known:
            yield f"{label}: there is no field {key!r}.{did_you_mean(key, known)}"


def _expectation(item: Mapping[str, Any]) -> Expectation:
    return Expectation(
        type=item["type"],
        kwargs=item.get("kwargs", {}),
        severity=SEVERITIES[item.get("severity", "critical")],
        description=item.get("description"),
    )
