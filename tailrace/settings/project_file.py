"""Reads tailrace.toml: what a project says of its settings."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tailrace.errors import did_you_mean
from tailrace.settings import source_tables
from tailrace.settings.keys import ENV, SOURCES, TABLES, Setting, by_key
from tailrace.settings.locations import sqlite_file
from tailrace.settings.project import FILE, Project

_LINE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")
TWICE = "Cannot overwrite a value"
"""How tomllib begins its sentence about a key that is there already."""
_PASSWORD = re.compile(r"://[^/@\s]*:[^/@\s]+@")
_NO_RELATIVE_PATH = re.compile(r"~|-$|[A-Za-z][A-Za-z0-9+._-]*:|(databricks|databricks-uc|uc)$")
"""A home, standard error, a URL, or what MLflow knows by one word."""
_SECRET = re.compile(
    r"((access|account|master|sas|private|service_account)_key|secret([._]?key)?|token|password|customer_key_base64)$",
    re.IGNORECASE,
)
"""Keys of options that hold a secret."""
_TYPES = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    list: "a list",
    dict: "a table",
}
_WANTED = {
    str: "a text, in quotes",
    int: "a whole number, without quotes",
    bool: "true or false, without quotes",
    list: "a list of texts",
    dict: "a table of texts",
}


def label(key: str) -> str:
    """A setting of the file as messages name it."""
    return f"{FILE}: {key}"


class FileSettings(NamedTuple):
    """What the project's file says of its settings."""

    texts: Mapping[str, str] = {}
    """For each variable the text that it would hold."""
    keys: Mapping[str, str] = {}
    """For each variable the key in the file, as in `seed` and `env.prod.seed`."""


def read(project: Project, problems: list[str], environment: str = "") -> FileSettings:
    """The settings of the project's file, those of the environment's section over the others.

    Every section is checked, whichever is in force; what is wrong goes to problems.
    """
    before = len(problems)
    document = _document(project.file, problems)
    is_read = len(problems) == before
    sections = _sections(document, problems)
    found = _settings("", {key: value for key, value in document.items() if key != ENV}, project.root, problems)
    if is_read and environment and environment not in sections:
        known = ", ".join(sorted(sections)) or "none yet"
        near = did_you_mean(environment, sections)
        problems.append(
            f"TAILRACE_ENV is {environment!r}; {FILE} has no such section of [{ENV}].{near} Known: {known}."
        )
    for name, section in sections.items():
        own = _settings(f"{ENV}.{name}.", section, project.root, problems)
        if name == environment:
            found = FileSettings({**found.texts, **own.texts}, {**found.keys, **own.keys})
    return found


def _sections(document: Mapping[str, Any], problems: list[str]) -> Mapping[str, Mapping[str, Any]]:
    """The settings of each environment, by its name."""
    sections = document.get(ENV, {})
    if not isinstance(sections, dict):
        problems.append(f"{label(ENV)} is {_type(sections)}; it must be a section for each environment: [{ENV}.prod].")
        return {}
    wrong = {name: value for name, value in sections.items() if not isinstance(value, dict)}
    problems += [
        f"{label(f'{ENV}.{name}')} is {_type(value)}; [{ENV}] holds a section for each environment, such as "
        f"[{ENV}.prod], and settings stand in these."
        for name, value in wrong.items()
    ]
    return {name: section for name, section in sections.items() if name not in wrong}


def _settings(prefix: str, document: Mapping[str, Any], root: Path, problems: list[str]) -> FileSettings:
    """The settings of the file or of one section, whose keys begin with `prefix` in messages."""
    texts, keys, known = {}, {}, by_key()
    for key, value in _entries(prefix, document, problems):
        setting = known.get(key)
        if setting is None:
            near = did_you_mean(key.lower().removeprefix("tailrace_"), [*known, *TABLES, *([] if prefix else [ENV])])
            problems.append(f"{label(prefix + key)} is not a setting.{near}")
        elif key == SOURCES and isinstance(value, dict):
            if value and source_tables.read(value, label(prefix + key), problems):
                texts[setting.variable] = json.dumps(_with_files(value, root), default=str)
                keys[setting.variable] = prefix + key
        elif wrong := _wrong(setting, value):
            problems.append(f"{label(prefix + key)} {wrong}")
        elif value not in ("", [], {}):
            texts[setting.variable] = _text(setting, value, root)
            keys[setting.variable] = prefix + key
    return FileSettings(texts, keys)


def _document(file: Path, problems: list[str]) -> Mapping[str, Any]:
    content = b""
    try:
        content = file.read_bytes()
        return tomllib.loads(content.decode())
    except tomllib.TOMLDecodeError as error:
        said, where = str(error), _LINE.search(str(error))
        line = int((where and where[1]) or content.strip().count(b"\n") + 1)
        if TWICE in said:
            key = content.decode().splitlines()[line - 1].partition("=")[0].strip()
            problems.append(f"{file}, line {line}: {key} is set a second time; remove one of the two.")
        else:
            problems.append(f"{file}, line {line}, is not TOML: {_LINE.sub('', said)}.")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        problems.append(f"{file}, line {line}, is not TOML: it is not in UTF-8.")
    except RecursionError:
        problems.append(f"{file} is nested too deeply to be read.")
    except OSError as error:
        problems.append(f"{file} cannot be read: {error.strerror}.")
    return {}


def _entries(prefix: str, document: Mapping[str, Any], problems: list[str]) -> Iterator[tuple[str, Any]]:
    """The values by key, as in `seed` and `spark.executors`."""
    for key, value in document.items():
        if key not in TABLES:
            yield key, value
        elif isinstance(value, dict):
            yield from ((f"{key}.{name}", one) for name, one in value.items())
        else:
            problems.append(f"{label(prefix + key)} is {_type(value)}; it must be a table: [{prefix}{key}].")


def _wrong(setting: Setting, value: Any) -> str:
    """What is wrong with a value's type, or where it stands; the value itself is not shown: it may be a secret."""
    if setting.secret:
        return f"is a secret, which must not stand in this file; set {setting.variable}."
    if not _fits(setting.type, value):
        return f"is {_type(value)}; it must be {_WANTED[setting.type]}."
    if isinstance(value, dict) and (secret := next(filter(_SECRET.search, value), None)):
        return f"holds the secret {secret!r}, which must not stand in this file; set {setting.variable}."
    if isinstance(value, str) and _PASSWORD.search(value):
        instead = "TAILRACE_WAREHOUSE_PASSWORD" if setting.key == "warehouse" else setting.variable
        return f"holds a password, which must not stand in this file; set {instead}."
    return ""


def _fits(wanted: type, value: Any) -> bool:
    if wanted is int and isinstance(value, bool):
        return False
    parts = value if isinstance(value, list) else value.values() if isinstance(value, dict) else ()
    return isinstance(value, wanted) and all(isinstance(part, str) for part in parts)


def _type(value: Any) -> str:
    named = _TYPES.get(type(value), "a date or time")
    parts = value if isinstance(value, list) else value.values() if isinstance(value, dict) else ()
    return named if all(isinstance(part, str) for part in parts) else f"{named} of more than texts"


def _text(setting: Setting, value: Any, root: Path) -> str:
    """The value as its variable would hold it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ",".join(value)
    if isinstance(value, dict):
        return json.dumps(value)
    return _below(root, str(value)) if setting.place else str(value)


def _with_files(sources: Mapping[str, Any], root: Path) -> dict[str, Any]:
    """The tables of the sources, with places of files as `_below` has them."""
    return {
        name: {**table, "files": _below(root, table["files"])} if "files" in table else table
        for name, table in sources.items()
    }


def _below(root: Path, text: str) -> str:
    """A relative path as one of the project's folder, whatever folder a process works in; anything else as it is."""
    file, options = sqlite_file(text)
    if file:
        return f"{text.partition(':///')[0]}:///{root / file}{'?' if options else ''}{options}"
    return text if _NO_RELATIVE_PATH.match(text) else str(root / text)
