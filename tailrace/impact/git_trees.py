"""The two sides of an edit: the working files, and the files of a git revision in a folder that goes away again."""

from __future__ import annotations

import io
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tailrace.errors import BadInput, did_you_mean

_MAIN = ("origin/HEAD", "origin/main", "origin/master", "main", "master")
_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class Base:
    """The revision that the working files are compared with: its commit, and how it was chosen, in words."""

    commit: str
    words: str

    @property
    def short(self) -> str:
        return self.commit[:10]


class Repository:
    """The git repository that `folder` is in. Raises BadInput if it is in none, or if git is not installed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        found = _git(self.folder, "rev-parse", "--show-toplevel")
        if found is None:
            raise BadInput(
                f"{folder} is in no git repository, so there is no earlier state to compare it with. Put the project "
                "under git, and commit it once."
            )
        self.root = Path(found.strip()).resolve()

    def base(self, revision: str | None = None) -> Base:
        """The revision to compare with.

        By default it is HEAD while there are edits that are not committed, else the commit at which this branch left
        the main branch. Raises BadInput for a revision that does not exist.
        """
        if revision is not None:
            return Base(commit=self._commit(revision), words=f"{revision}, as requested")
        head = self._commit("HEAD")
        if self.is_dirty:
            return Base(commit=head, words="HEAD, since there are edits that are not committed")
        for main in _MAIN:
            if (left := self._run("merge-base", "HEAD", main)) is not None:
                named = "the main branch of origin" if main.endswith("/HEAD") else main
                return Base(commit=left.strip(), words=f"where this branch left {named}")
        return Base(commit=head, words="HEAD: there is no branch main or master")

    @property
    def is_dirty(self) -> bool:
        """Whether files of the folder differ from HEAD, or are new."""
        return bool((self._run("status", "--porcelain", "--untracked-files=all", "--", ".") or "").strip())

    def changed(self, base: Base) -> tuple[str, ...]:
        """The files of the folder that differ from the base or are on one side only, relative to the folder."""
        differ = self._run("diff", "--name-only", "--no-renames", "--relative", "-z", base.commit, "--", ".") or ""
        new = self._run("ls-files", "--others", "--exclude-standard", "-z", "--", ".") or ""
        return tuple(sorted({name for name in (differ + "\0" + new).split("\0") if name}))

    def text(self, base: Base, file: str) -> str | None:
        """A file of the base, named relative to the folder; None if the base has none."""
        return self._run("show", f"{base.commit}:./{file}")

    @contextmanager
    def checked_out(self, base: Base, paths: Sequence[str] = (), under: Path | None = None) -> Iterator[Path]:
        """A temporary folder with the base's files of this folder, or with those under `paths`; removed at the end.

        It is made in the folder `under`. Neither the working files nor git's own records are touched.
        """
        with tempfile.TemporaryDirectory(prefix="tailrace-base-", dir=under) as scratch:
            self._export(base, paths, Path(scratch))
            yield Path(scratch).resolve()

    def _export(self, base: Base, paths: Sequence[str], into: Path) -> None:
        prefix = self.folder.relative_to(self.root).as_posix()
        tree = base.commit if prefix == "." else f"{base.commit}:{prefix}"
        there = [path for path in paths if self._run("cat-file", "-e", f"{base.commit}:./{path}") is not None]
        if paths and not there:
            return
        done = subprocess.run(
            ["git", "-C", str(self.root), "archive", "--format=tar", tree, "--", *there],
            capture_output=True,
            timeout=_SECONDS,
        )
        if done.returncode == 0:
            with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
                archive.extractall(into, filter="data")
            return
        if self._run("cat-file", "-e", tree) is not None:
            raise BadInput(f"git cannot read {base.commit}: {done.stderr.decode(errors='replace').strip()}")

    def _commit(self, revision: str) -> str:
        found = None if revision.startswith("-") else self._run("rev-parse", "--verify", "-q", f"{revision}^{{commit}}")
        if found is not None:
            return found.strip()
        if revision == "HEAD":
            raise BadInput(f"The git repository {self.root} has no commit yet; commit the project once.")
        known = (self._run("for-each-ref", "--format=%(refname:short)") or "").split()
        raise BadInput(
            f"There is no git revision {revision!r} in {self.root}.{did_you_mean(revision, known)} Name a branch, a "
            "tag or a commit; in CI, fetch it first (git fetch origin main; a shallow clone has no other commits)."
        )

    def _run(self, *arguments: str) -> str | None:
        return _git(self.folder, *arguments)


def _git(folder: Path, *arguments: str) -> str | None:
    """What git prints; None if it refuses. Raises BadInput if git is not installed."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, errors="replace", timeout=_SECONDS
        )
    except FileNotFoundError as error:
        raise BadInput("git is not installed, so there is no earlier state to compare with; install git.") from error
    return done.stdout if done.returncode == 0 else None
