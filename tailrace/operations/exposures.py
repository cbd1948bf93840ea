"""The pipelines as `exposures` of the dbt project, made from the specs: dbt's own docs show who uses which mart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tailrace.errors import BuildFailed, UnknownName
from tailrace.spec import PipelineSpec, registry
from tailrace.warehouse.dbt_runs import EXPOSURES_FILE
from tailrace.warehouse.manifest import DbtManifest, DbtTable

if TYPE_CHECKING:
    from tailrace.warehouse.dbt import DbtWarehouse

HEADING = "# Made from the specs by `tailrace exposures`. Do not edit it: run the command again.\n"


def file_of(project: Path) -> Path:
    """Where the exposures are written: in the first of the dbt project's `model-paths`."""
    import yaml

    content = yaml.safe_load((project / "dbt_project.yml").read_text(encoding="utf-8")) or {}
    return project / (content.get("model-paths") or ["models"])[0] / EXPOSURES_FILE


def text_of(manifest: DbtManifest, specs: Iterable[PipelineSpec]) -> str:
    """The file's text. Raises UnknownName if the project has no table of a pipeline."""
    import yaml

    found = [_exposure(manifest, spec) for spec in sorted(specs, key=lambda spec: spec.name)]
    content = {"exposures": found}
    return HEADING + yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=110)


def manifest_of(warehouse: DbtWarehouse) -> DbtManifest:
    """dbt's manifest of the project, also if the exposures that were written last name a table that is gone.

    Raises what `DbtWarehouse.parse` raises.
    """
    try:
        path = warehouse.parse()
    except BuildFailed:
        file = file_of(warehouse.project)
        if not file.exists():
            raise
        with _set_aside(file):
            path = warehouse.parse()
    return DbtManifest.read(path, warehouse.project)


@contextmanager
def _set_aside(file: Path) -> Iterator[None]:
    content = file.read_bytes()
    file.unlink()
    try:
        yield
    finally:
        file.write_bytes(content)


def renew(warehouse: DbtWarehouse) -> Path | None:
    """Write the file again if the project has one, and every spec is right; returns it if it was written.

    Raises what `DbtWarehouse.parse` raises.
    """
    file = file_of(warehouse.project)
    if not file.exists():
        return None
    specs, wrong = registry.load(estimators=False)
    manifest = manifest_of(warehouse)
    if wrong or not problems(manifest, specs):
        return None
    file.write_text(text_of(manifest, specs), encoding="utf-8")
    return file


def problems(manifest: DbtManifest, specs: Sequence[PipelineSpec]) -> list[str]:
    """A sentence if the project has exposures that were made from other specs; none if it never had any."""
    file = file_of(manifest.project)
    if not file.exists():
        return []
    try:
        now = text_of(manifest, specs)
    except UnknownName:  # the check of the marts says so
        return []
    if file.read_text(encoding="utf-8") == now:
        return []
    return [f"{file.name} in the dbt project does not say what the specs say. Write it again: tailrace exposures."]


def _exposure(manifest: DbtManifest, spec: PipelineSpec) -> dict[str, Any]:
    marts = [manifest.find(mart.table) for mart in spec.marts]
    for mart, found in zip(spec.marts, marts, strict=True):
        if found is None:
            raise UnknownName(f"table of {spec.name} in the dbt project", mart.table, manifest.names)
    return {
        "name": spec.name,
        "type": "ml",
        "owner": {"name": spec.owner},
        "description": spec.description.strip(),
        "depends_on": list(dict.fromkeys(_reference(each) for each in marts if each)),
        "config": {
            "meta": {
                "features": list(spec.features.columns),
                "label": spec.outcome.label,
                "problem": spec.problem.kind,
                "publishes": spec.predictions_table,
            }
        },
    }


def _reference(table: DbtTable) -> str:
    """How dbt's yml names the table."""
    if table.kind == "source":
        return f"source('{table.id.split('.')[2]}', '{table.name}')"
    return f"ref('{table.name}')"
