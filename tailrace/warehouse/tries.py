"""What a failed build stores for the next try of the same run, so that it repeats only what is necessary."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tailrace.contracts import ModelResult

_BUILT = ("model.", "seed.", "snapshot.")
_KEPT_RUNS = 20


@dataclass(frozen=True)
class Try:
    """The results of a failed build, all marked as `kept`, and the folder with the project as it was at that time."""

    nodes: tuple[ModelResult, ...]
    folder: Path


class Tries:
    """Failed builds by run, in folders below `root`; those of the latest runs are kept."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def save(self, run_id: str, scope: Mapping[str, Any], nodes: Sequence[ModelResult], target: Path) -> None:
        """Store a failed build's results, and the manifest that dbt left in `target`."""
        if not run_id or not nodes:
            return
        folder = self._folder(run_id)
        folder.mkdir(parents=True, exist_ok=True)
        # results last: without them, the other files do not count as a try
        (folder / "results.json").unlink(missing_ok=True)
        shutil.copy(target / "manifest.json", folder / "manifest.json")
        written = folder / "results.partial"
        written.write_text(json.dumps({"asked": scope, "nodes": [asdict(node) for node in nodes]}))
        written.replace(folder / "results.json")
        self._prune()

    def load(self, run_id: str, scope: Mapping[str, Any]) -> Try | None:
        """The last failed build of the run; None if there is none or if its `scope` was different."""
        results = self._folder(run_id) / "results.json"
        if not run_id or not results.exists():
            return None
        saved = json.loads(results.read_text())
        if saved["asked"] != scope:
            return None
        nodes = tuple(ModelResult.from_json(node) for node in saved["nodes"])
        return Try(tuple(replace(node, kept=True) for node in nodes), results.parent)

    def again(self, before: Try) -> list[str]:
        """The dbt arguments that repeat only what is necessary.

        Not `dbt retry`: that repeats a failed test without the model that it tests, and misses changed models.
        """
        built = {node.unique_id: node.name for node in before.nodes if node.unique_id.startswith(_BUILT)}
        open_nodes = [node for node in before.nodes if not node.passed]
        names = {node.name for node in open_nodes} | {
            built[judged] for node in open_nodes if node.kind == "test" for judged in node.depends_on if judged in built
        }
        return ["--select", *(f"{name}+" for name in sorted(names)), "state:modified+", "--state", str(before.folder)]

    def forget(self, run_id: str) -> None:
        """Forget the failed build of a run that was built: a later build of the run starts from the beginning."""
        if run_id:
            shutil.rmtree(self._folder(run_id), ignore_errors=True)

    def _folder(self, run_id: str) -> Path:
        return self._root / hashlib.sha256(run_id.encode()).hexdigest()[:16]

    def _prune(self) -> None:
        oldest_first = sorted(self._root.iterdir(), key=lambda folder: folder.stat().st_mtime)
        for folder in oldest_first[:-_KEPT_RUNS]:
            shutil.rmtree(folder, ignore_errors=True)
