"""What a failed build leaves to the next try of the same run, so that it repeats only what it must."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tailrace.contracts import ModelResult

_PASSED = {"success", "pass", "warn", "no-op"}
_BUILT = ("model.", "seed.", "snapshot.")
_KEPT_RUNS = 20


@dataclass(frozen=True)
class Try:
    """The results of a failed build, all of them `kept`, and the folder with the project as it was then."""

    nodes: tuple[ModelResult, ...]
    folder: Path


class Tries:
    """Failed builds by run, below `root`; those of the last runs are kept."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def save(self, run_id: str, asked: Mapping[str, Any], nodes: Sequence[ModelResult], target: Path) -> None:
        """Keep a failed build's results, and the manifest that dbt left in `target`."""
        if not run_id or not nodes:
            return
        folder = self._folder(run_id)
        folder.mkdir(parents=True, exist_ok=True)
        # the results last: without them the rest is no try
        (folder / "results.json").unlink(missing_ok=True)
        shutil.copy(target / "manifest.json", folder / "manifest.json")
        written = folder / "results.partial"
        written.write_text(json.dumps({"asked": asked, "nodes": [asdict(node) for node in nodes]}))
        written.replace(folder / "results.json")
        self._prune()

    def load(self, run_id: str, asked: Mapping[str, Any]) -> Try | None:
        """The last failed build of the run; None if there was none, or if it was of anything else."""
        results = self._folder(run_id) / "results.json"
        if not run_id or not results.exists():
            return None
        saved = json.loads(results.read_text())
        if saved["asked"] != asked:
            return None
        nodes = tuple(ModelResult(**{**node, "depends_on": tuple(node["depends_on"])}) for node in saved["nodes"])
        return Try(tuple(replace(node, kept=True) for node in nodes), results.parent)

    def again(self, before: Try) -> list[str]:
        """The arguments that make dbt repeat what it must.

        Not `dbt retry`: that repeats a failed test without the model it judged, and overlooks a changed model.
        """
        built = {node.unique_id: node.name for node in before.nodes if node.unique_id.startswith(_BUILT)}
        open_nodes = [node for node in before.nodes if node.status not in _PASSED]
        names = {node.name for node in open_nodes} | {
            built[judged] for node in open_nodes if node.kind == "test" for judged in node.depends_on if judged in built
        }
        return ["--select", *(f"{name}+" for name in sorted(names)), "state:modified+", "--state", str(before.folder)]

    def forget(self, run_id: str) -> None:
        """The run was built: a later build of it starts anew."""
        if run_id:
            shutil.rmtree(self._folder(run_id), ignore_errors=True)

    def _folder(self, run_id: str) -> Path:
        return self._root / hashlib.sha256(run_id.encode()).hexdigest()[:16]

    def _prune(self) -> None:
        oldest_first = sorted(self._root.iterdir(), key=lambda folder: folder.stat().st_mtime)
        for folder in oldest_first[:-_KEPT_RUNS]:
            shutil.rmtree(folder, ignore_errors=True)
