"""The wheel, environments that it is installed into, and a project without the library."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
UV = shutil.which("uv") or str(Path(sys.executable).parent / "uv")


def build_wheel(folder: Path) -> Path:
    """The wheel that `uv build` makes of this checkout."""
    here = ("--no-build-isolation", "--python", sys.executable)
    _run([UV, "build", "--quiet", "--wheel", *here, "--out-dir", str(folder), str(REPOSITORY)])
    return next(folder.glob("*.whl"))


@dataclass(frozen=True)
class Installed:
    """A virtual environment with the wheel in it."""

    folder: Path

    def install(self, *requirements: str) -> None:
        """Install with uv, at the versions of uv.lock."""
        lock = self.folder / "lock.txt"
        if not lock.exists():
            export = ("export", "--quiet", "--frozen", "--all-extras", "--no-emit-project", "--no-hashes")
            _run([UV, *export, "--output-file", str(lock), "--project", str(REPOSITORY)])
        _run([UV, "pip", "install", "--quiet", "--python", str(self.python), "--constraint", str(lock), *requirements])

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    def run(self, *command: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment in a folder, without any setting of this process."""
        return self._run(self.folder / "bin" / command[0], *command[1:], cwd=cwd, **variables)

    def make(self, *targets: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run make in a folder; it finds the programs of the environment first."""
        return self._run(Path("make"), *targets, cwd=cwd, **variables)

    def _run(self, program: Path, *arguments: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [program, *arguments],
            cwd=cwd,
            env=self.environment(**variables),
            capture_output=True,
            text=True,
        )

    def environment(self, **variables: str) -> dict[str, str]:
        """The variables for a program of this environment, without any setting of this process."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("TAILRACE_", "PYTHONPATH"))}
        path = f"{self.folder / 'bin'}{os.pathsep}{kept['PATH']}"
        return {**kept, "VIRTUAL_ENV": str(self.folder), "PATH": path, **variables}

    def printed(self, code: str, cwd: Path) -> list[str]:
        """The lines that a Python program prints."""
        done = self.run("python", "-c", code, cwd=cwd)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()


def empty_environment(folder: Path) -> Installed:
    """A virtual environment without a package."""
    _run([UV, "venv", "--quiet", "--python", sys.executable, str(folder)])
    return Installed(folder)


def borrowing_environment(folder: Path, wheel: Path) -> Installed:
    """An environment with the wheel, and every library of the present one but this checkout.

    Python reads no .pth file of a folder that a .pth file names, so the checkout's own is not in force.
    """
    made = empty_environment(folder)
    site = next((folder / "lib").glob("python3.*")) / "site-packages"
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib"))
    _run([UV, "pip", "install", "--quiet", "--python", str(made.python), "--no-deps", str(wheel)])
    return made


def project_without_library(folder: Path) -> Path:
    """A copy of what this repository tracks, but `tailrace/` and the tests."""
    tracked = _run(["git", "ls-files", "-z"]).split("\0")
    for name in filter(None, tracked):
        if not name.startswith(("tailrace/", "tests/")) and (REPOSITORY / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, folder / name)
    return folder


def _run(command: list[str]) -> str:
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
