"""Import paths, as settings name a team's own code: `package.module:Name`."""

from __future__ import annotations

import importlib
import re
from typing import Any

from tailrace.errors import SettingsError, cause_of, did_you_mean
from tailrace.settings.project import Project

WANTED = "an import path such as 'pipelines.sources.orders:Orders'"
FORM = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


def resolve(setting: str, path: str, project: Project) -> Any:
    """What the path names; its module may be in the project's folder.

    `setting` begins the sentence of an error, as in "sources names". Raises SettingsError if the path has another
    form, its module does not import, or has no such attribute.
    """
    if not FORM.fullmatch(path):
        raise _wrong(f"{setting} {path!r}; it must be {WANTED}.")
    module_name, _, name = path.partition(":")
    project.make_importable()
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # a module may raise anything
        said = f"{type(error).__name__}: {cause_of(error)}"
        raise _wrong(f"{setting} {path!r}, and {module_name} does not import ({said}).") from error
    if not hasattr(module, name):
        near = did_you_mean(name, [each for each in vars(module) if not each.startswith("_")])
        raise _wrong(f"{setting} {path!r}, and {module_name} has no {name}.{near}")
    return getattr(module, name)


def _wrong(problem: str) -> SettingsError:
    return SettingsError("The settings are wrong:", [problem])
