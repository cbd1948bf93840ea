"""The settings that somebody has set, before they are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tailrace.errors import did_you_mean
from tailrace.settings import project_file, values
from tailrace.settings.project_file import FileSettings
from tailrace.settings.values import ValueKind


class Given:
    """A text for each variable that the environment or tailrace.toml sets; the environment overrides the file.

    `problems` collects a sentence for each text that is wrong.
    """

    def __init__(self, environment: Mapping[str, str], file: FileSettings, problems: list[str]) -> None:
        self._texts = {**file.texts, **environment}
        self._in_file = {variable: key for variable, key in file.keys.items() if variable not in environment}
        self.problems = problems

    def __contains__(self, variable: str) -> bool:
        return variable in self._texts

    def text(self, variable: str, default: str = "") -> str:
        """The text, or the default where the variable is not set."""
        return self._texts.get(variable, default)

    def label(self, variable: str) -> str:
        """The setting as messages name it: its variable, or its key in tailrace.toml if it is set there."""
        return project_file.label(self._in_file[variable]) if variable in self._in_file else variable

    def wrong(self, variable: str, said: str) -> None:
        """Add the problem that the setting, named first, has."""
        self.problems.append(f"{self.label(variable)} {said}")

    def read(self, variable: str, kind: ValueKind, default: Any) -> Any:
        """The value of a kind of setting; the default where the variable is not set, or wrong."""
        if variable not in self:
            return default
        text = self.text(variable)
        value = kind.read(text)
        if value is None:
            self.wrong(variable, f"is {text!r}; it must be {kind.wanted}.")
            return default
        return value

    def choice(self, variable: str, known: Sequence[str], default: str) -> str:
        """One of a few names."""
        text = self.text(variable, default)
        if text not in known:
            wanted = values.listed([repr(name) for name in known], "or")
            self.wrong(variable, f"is {text!r}; it must be {wanted}.{did_you_mean(text, known)}")
        return text
