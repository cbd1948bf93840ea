"""The team's own dbt project: its manifest and its connection, by the profile and target that dbt itself uses.

Nothing here stores or shows the profile's secrets. Messages of drivers may repeat them, so every message of another
library passes through `DbtAdapter.cleaned` before it becomes part of one of ours.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from tailrace.errors import BadInput, BuildFailed, NotInstalled, SettingsError, cause_of, did_you_mean
from tailrace.extras import EXTRAS
from tailrace.warehouse.dbt_runs import environment, in_one_line

_DBT = threading.RLock()
"""dbt keeps its flags and adapters in global variables: one invocation at a time in a process."""
_NO_PROFILE = re.compile(r"Could not find profile named '(?P<name>[^']*)'")
_NO_TARGET = re.compile(r"The profile '(?P<profile>[^']*)' does not have a target named '(?P<name>[^']*)'")
_NO_ADAPTER = re.compile(r"Could not find adapter type (?P<name>\w+)!")
_SECRET = re.compile(r"pass|secret|token|key|credential", re.IGNORECASE)
_VARIABLE = re.compile(r"env_var\(\s*['\"](\w+)['\"]")
_SHORTEST_SECRET = 3


class DbtAdapter:
    """The dbt project in the folder `project`, with the target of its profile.

    `profiles` is the folder of profiles.yml; without it, the project's own folder if it has that file, else dbt's
    default (~/.dbt). Without `target`, the profile's own is used. `work` is a folder for what dbt caches of the
    project, and `variables` are further environment variables for dbt.
    """

    def __init__(
        self,
        project: Path,
        *,
        work: Path,
        profiles: Path | None = None,
        target: str = "",
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self.project = project.absolute()
        self.profiles = profiles.absolute() if profiles else _profiles_of(self.project)
        self.target = target
        self._variables = dict(variables or {})
        told = "\n".join([str(self.project), str(self.profiles), target])
        self._work = work.absolute() / hashlib.sha256(told.encode()).hexdigest()[:16]

    @property
    def variables(self) -> Mapping[str, str]:
        """The further environment variables for dbt; some may be secret."""
        return self._variables

    @property
    def target_folder(self) -> Path:
        """Where dbt writes what it makes of the project, and what it caches."""
        return self._work / "target"

    @property
    def partial_parse(self) -> Path:
        """Where dbt keeps the project as it has parsed it: with it, only files that changed are parsed again."""
        return self.target_folder / "partial_parse.msgpack"

    @cached_property
    def manifest(self) -> Any:
        """dbt's manifest object, parsed once; dbt itself reads again only the files that changed since the last time.

        Raises SettingsError for a profile or target that does not exist, NotInstalled for an adapter that is not
        installed, BuildFailed if dbt cannot read the project.
        """
        return self._parsed[0]

    @cached_property
    def adapter(self) -> Any:
        """dbt's adapter of the target. Raises what `manifest` raises."""
        return self._parsed[1]

    @property
    def type(self) -> str:
        """The adapter's name, such as "duckdb". Raises what `manifest` raises."""
        return str(self.credentials.type)

    @property
    def credentials(self) -> Any:
        """The profile's connection, secrets included: never show it. Raises what `manifest` raises."""
        return self.adapter.config.credentials

    @property
    def name(self) -> str:
        """How messages name the database: the adapter and the target. Raises what `manifest` raises."""
        return f"{self.type} (target {self.adapter.config.target_name!r} of the dbt project {self.project})"

    def invoke(
        self,
        command: Sequence[str],
        hear: Callable[[Any], None] = lambda event: None,
        *,
        manifest: Any = None,
        variables: Mapping[str, str] | None = None,
    ) -> Any:
        """Run dbt in this process, quietly; returns dbt's outcome. With a `manifest` dbt does not parse the project.

        `variables` are environment variables for this run alone.
        """
        from dbt.cli.main import dbtRunner

        arguments = [
            *("--log-level", "none", "--log-level-file", "info"),
            "--no-send-anonymous-usage-stats",
            *("--log-path", str(self._work / "logs")),
            *command,
            *("--project-dir", str(self.project)),
            *("--profiles-dir", str(self.profiles)),
            *(("--target", self.target) if self.target else ()),
            *("--target-path", str(self.target_folder)),
        ]
        with _DBT, self._alone(), environment({**self._variables, **(variables or {})}), chdir(self.project):
            try:
                return dbtRunner(manifest=manifest, callbacks=[hear]).invoke(arguments)
            finally:
                _release_duckdb()

    @contextmanager
    def connected(self) -> Iterator[Any]:
        """A connection of one's own, opened by the adapter and closed at the end of the block; gives its handle.

        It is none of dbt's connections by thread, so several may be open at once and be used in any thread.
        """
        manager = self.adapter.connections
        # the adapter itself makes it, since some need more than credentials; then dbt no longer counts it as its own
        manager.clear_thread_connection()
        made = manager.set_connection_name("tailrace")
        manager.clear_thread_connection()
        try:
            yield made.handle
        finally:
            manager.close(made)

    def columns_in(self, relation: Any) -> list[Any]:
        """The columns of a table as the adapter reports them; none if there is no table. Raises the driver's errors."""
        from dbt.adapters.factory import FACTORY

        with _DBT:
            # macros look their adapter up there, and every dbt command replaces it
            before = FACTORY.adapters.get(self.type)
            FACTORY.adapters[self.type] = self.adapter
            try:
                with self.adapter.connection_named("tailrace"):
                    return list(self.adapter.get_columns_in_relation(relation))
            finally:
                FACTORY.adapters.pop(self.type)
                if before is not None:
                    FACTORY.adapters[self.type] = before

    def rendered(self, node: Any, overrides: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> str:
        """The code of a node of `manifest` as dbt's own compiler renders it; by itself it connects to no database.

        `overrides` is given the names that the template can use, and returns those that stand for something else; they
        are in force in macros too. Raises what the template raises.
        """
        from dbt.adapters.factory import FACTORY
        from dbt.clients.jinja import get_rendered
        from dbt.compilation import Compiler

        with _DBT, environment(self._variables):
            before = FACTORY.adapters.get(self.type)
            FACTORY.adapters[self.type] = self.adapter
            try:
                context = Compiler(self.adapter.config)._create_node_context(node, self.manifest, {})
                context.update(overrides(context))
                return str(get_rendered(node.raw_code, context, node))
            finally:
                FACTORY.adapters.pop(self.type)
                if before is not None:
                    FACTORY.adapters[self.type] = before

    def cleaned(self, message: object) -> str:
        """Another library's message in one line, without the profile's secrets."""
        return _without(str(message), self._secrets)

    @cached_property
    def _parsed(self) -> tuple[Any, Any]:
        from dbt.adapters.factory import FACTORY

        if not (self.project / "dbt_project.yml").exists():
            raise SettingsError(
                "The dbt project cannot be used:",
                [f"There is no dbt_project.yml in {self.project}. Set [dbt] project in tailrace.toml to its folder."],
            )
        if problem := self._profiles_problem():
            raise SettingsError(f"The dbt profile of {self.project} cannot be used:", [problem])
        with _DBT:
            outcome = self.invoke(["parse"])
            if not outcome.success:
                raise self._unreadable(outcome.exception) from None
            (adapter,) = FACTORY.adapters.values()
        return outcome.result, adapter

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Wait for other processes that run dbt in the same work folder: they would damage what it caches there."""
        self._work.mkdir(parents=True, exist_ok=True)
        with (self._work / "dbt.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _unreadable(self, error: BaseException | None) -> BadInput | BuildFailed:
        """The error for a project or profile that dbt cannot read."""
        message, where = str(error), str(self.profiles / "profiles.yml")
        heading = f"The dbt profile of {self.project} cannot be used:"
        if found := _NO_ADAPTER.search(message):
            return NotInstalled(_absent(found["name"]))
        if found := _NO_TARGET.search(message):
            known = [str(name) for name in (self._raw_profiles.get(found["profile"]) or {}).get("outputs") or {}]
            what = f"target of the profile {found['profile']!r}"
            return SettingsError(heading, [_unknown(what, found["name"], known, where)])
        if found := _NO_PROFILE.search(message):
            return SettingsError(heading, [_unknown("profile", found["name"], list(self._raw_profiles), where)])
        said = _without(message, self._written_secrets())
        if type(error).__name__ == "DbtProfileError":
            return SettingsError(heading, [f"{where}: {said}."])
        return BuildFailed(f"dbt cannot read the project {self.project}: {in_one_line(said)}.")

    def _written_secrets(self) -> Iterator[str]:
        """What may be secret in profiles.yml, for when dbt rejects it: a message may repeat a value."""
        for name, value in _values(self._raw_profiles):
            if _SECRET.search(name):
                yield value
            for variable in _VARIABLE.findall(value):
                yield os.environ.get(variable, self._variables.get(variable, ""))

    def _profiles_problem(self) -> str:
        """Why dbt could not read profiles.yml; dbt's own message would show the lines around a mistake."""
        import yaml

        file = self.profiles / "profiles.yml"
        if not file.exists():
            return f"There is no profiles.yml in {self.profiles}. Set [dbt] profiles in tailrace.toml to its folder."
        try:
            read = yaml.safe_load(file.read_text())
        except (OSError, UnicodeDecodeError) as error:
            return f"{file} cannot be read: {cause_of(error)}."
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            return f"{file} is not YAML{f': see line {mark.line + 1}, column {mark.column + 1}' if mark else ''}."
        return "" if isinstance(read, dict) else f"{file} has no profiles."

    @cached_property
    def _raw_profiles(self) -> Mapping[str, Any]:
        """profiles.yml as it is written; only its names are ever shown."""
        import yaml

        read = yaml.safe_load((self.profiles / "profiles.yml").read_text())
        return {name: found for name, found in read.items() if name != "config"}

    @cached_property
    def _secrets(self) -> list[str]:
        """The profile's values that dbt does not show either, by any of their names."""
        shown = set(self.credentials._connection_keys())
        shown |= {alias for alias, name in getattr(self.credentials, "_ALIASES", {}).items() if name in shown}
        hidden = {name: value for name, value in self.credentials.to_dict().items() if name not in shown}
        return [value for _, value in _values(hidden)]


def _release_duckdb() -> None:
    """dbt-duckdb keeps its connection, and so the lock on the file, until the process ends."""
    loaded = sys.modules.get("dbt.adapters.duckdb.connections")
    if loaded is None:
        return
    manager = loaded.DuckDBConnectionManager
    if manager._ENV is not None:
        manager._ENV.close()
    manager.close_all_connections()


def _profiles_of(project: Path) -> Path:
    """The folder where dbt looks for profiles.yml, as seen from the project."""
    return project if (project / "profiles.yml").exists() else Path.home() / ".dbt"


def _unknown(what: str, name: str, known: Sequence[str], where: str) -> str:
    listed = f" Known: {', '.join(sorted(known))}." if known else f" {where} names none."
    return f"There is no {what} named {name!r} in {where}.{did_you_mean(name, known)}{listed}"


def _absent(adapter: str) -> str:
    """The sentence for an adapter that is not installed: the extra that brings it, if one does."""
    module = f"dbt.adapters.{adapter}"
    extras = [extra for extra, brought in EXTRAS.items() if module in brought]
    install = f"'tailrace[{extras[0]}]'" if extras else f"dbt-{adapter}"
    return (
        f"The dbt profile names the adapter {adapter!r}, which is not installed; "
        f"install it with: pip install {install}."
    )


def _without(message: str, secrets: Iterable[str]) -> str:
    """The message in one line, with *** for each secret, the longest first."""
    text = " ".join(message.split()).rstrip(".")
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, "***")
    return text


def _values(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Every text and number in a value of dictionaries and lists, with the name that it has in its dictionary."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _values(part, str(key))
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _values(part, name)
    elif isinstance(value, str | int | float) and not isinstance(value, bool):
        yield name, str(value)
