"""dbt's data tests of what an edit touches: those that fail after it stop tonight's build."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from tailrace.errors import BuildFailed
from tailrace.impact.dbt_sides import DbtNode, DbtSide
from tailrace.warehouse.adapter import DbtAdapter

_FAILED = {"fail": "{failures:,} rows fail", "error": "it cannot run: {message}", "runtime error": "{message}"}


def concerned(
    side: DbtSide, touched: Collection[str], changed: Collection[str], there: Collection[str]
) -> list[DbtNode]:
    """The tests of a side that judge a touched table, or were changed themselves.

    `there` are the ids of the tables that are built or kept in the copy: a test that reads another one cannot run.
    """
    return [
        node
        for node in side.nodes.values()
        if node.kind == "test"
        and (node.id in changed or {*node.needs} & {*touched})
        and all(id_ in there or id_.startswith("source.") for id_ in node.needs)
    ]


def failures(adapter: DbtAdapter, tests: Sequence[DbtNode], manifest: Any) -> Mapping[str, str]:
    """What fails, by the test's id, in words; no failing row is stored. Raises BuildFailed if dbt stops."""
    here = [node for node in tests if node.id in manifest.nodes]
    if not here:
        return {}
    for node in here:
        manifest.nodes[node.id].config.store_failures = False
    names = sorted(".".join(manifest.nodes[node.id].fqn) for node in here)
    outcome = adapter.invoke(["test", "--select", *names], manifest=manifest)
    results = getattr(outcome.result, "results", None)
    if results is None:
        raise BuildFailed(f"dbt could not run the data tests: {adapter.cleaned(outcome.exception)}")
    found = {}
    for each in results:
        if said := _FAILED.get(str(each.status)):
            message = adapter.cleaned(each.message or "")
            found[each.node.unique_id] = said.format(failures=each.failures or 0, message=message)
    return found
