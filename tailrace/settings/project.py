"""The project: the folder of a team's own files, found by its tailrace.toml."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tailrace.errors import SettingsError

FILE = "tailrace.toml"
VARIABLE = "TAILRACE_PROJECT"


@dataclass(frozen=True)
class Project:
    """The folder that holds tailrace.toml, and the places in it that the library knows by name."""

    root: Path

    @property
    def file(self) -> Path:
        return self.root / FILE

    @property
    def pipelines(self) -> Path:
        return self.root / "pipelines"

    @property
    def dags(self) -> Path:
        return self.root / "dags"

    @property
    def plugins(self) -> Path:
        return self.root / "plugins"

    @property
    def dbt(self) -> Path:
        return self.root / "dbt"

    @property
    def expectations(self) -> Path:
        return self.root / "expectations"

    @property
    def home(self) -> Path:
        """Where everything is written that the settings do not put elsewhere."""
        return self.root / ".tailrace"

    def make_importable(self) -> None:
        """Put the folder at the end of sys.path: `pipelines.sources.orders` is then a module."""
        if str(self.root) not in sys.path:
            sys.path.append(str(self.root))


def find_project(environment: Mapping[str, str] = os.environ) -> Project:
    """The project of TAILRACE_PROJECT, or of the working folder or a folder above it.

    Each call looks again, which costs a few microseconds. Raises SettingsError if there is none or more than one.
    """
    if named := environment.get(VARIABLE):
        return Project(_named(named))
    try:
        here = Path.cwd()
    except OSError as error:
        raise _none(
            f"The working folder cannot be read ({error.strerror}); go to another, or set {VARIABLE}."
        ) from error
    # os.path: a folder above that this user must not read holds no file, and is no error
    found = [folder for folder in (here, *here.parents) if os.path.isfile(folder / FILE)]  # noqa: PTH113
    if not found:
        raise _none(
            f"{here} is in no project: neither it nor a folder above it has a {FILE}. Go to the folder of a project, "
            f"or name it in {VARIABLE}."
        )
    if len(found) > 1:
        files = " and ".join(str(folder / FILE) for folder in reversed(found))
        raise _none(f"Projects are nested: {files}. Move one out of the other, or name the one you mean in {VARIABLE}.")
    return Project(found[0])


def _named(text: str) -> Path:
    """The folder that the variable names. Raises SettingsError if it holds no project."""
    try:
        folder = Path(os.path.abspath(Path(text).expanduser()))  # noqa: PTH100 - symbolic links stay as they are
        found = os.path.isfile(folder / FILE)  # noqa: PTH113 - a name that is too long is no file, and no error
    except (RuntimeError, OSError, ValueError) as error:
        raise _none(f"{VARIABLE} is {text!r}, which is no path: {error}.") from error
    if not found:
        raise _none(f"{VARIABLE} is {text!r}, and there is no {FILE} in that folder; name the folder that has it.")
    return folder


def _none(problem: str) -> SettingsError:
    return SettingsError("There is no project to work on:", [problem])
