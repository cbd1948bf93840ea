"""Which marts a build did not make as they should be, and the nodes that stopped them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from tailrace.contracts import ModelResult
from tailrace.warehouse.graph import called, reached

_TEST, _HOOK = "test", "operation"


def stopped(results: Sequence[ModelResult], marts: Mapping[str, Collection[str]]) -> dict[str, list[ModelResult]]:
    """By owner, the nodes that stopped its marts; owners whose marts all succeeded are left out.

    `marts` gives the marts of each owner, such as a pipeline. A mart needs all nodes that it is made from, and the
    tests that judge it or one of these. A test that judges several nodes counts for the owners that need all of them;
    if no owner does, for those that need any. The nodes that dbt skipped because others failed are not named, nor those
    that it skipped because a hook failed: then it is the hook.
    """
    made = {result.unique_id: result for result in results if result.kind != _TEST}
    parents = {unique_id: result.depends_on for unique_id, result in made.items()}
    needs = {
        owner: reached([each for each, result in made.items() if called(result.name, result.table, names)], parents)
        for owner, names in marts.items()
    }
    found: dict[str, list[ModelResult]] = {owner: [] for owner in marts}
    for result in results:
        for owner in () if result.passed else _concerned(result, needs):
            found[owner].append(result)
    hooks = [result for result in results if result.kind == _HOOK and result.failed]
    return {owner: _causes(nodes, hooks) for owner, nodes in found.items() if nodes}


def _concerned(result: ModelResult, needs: Mapping[str, Collection[str]]) -> list[str]:
    """The owners that need this node, which did not succeed."""
    if result.kind != _TEST:
        return [owner for owner, needed in needs.items() if result.unique_id in needed]
    judged = set(result.judges or result.depends_on)
    need_all = [owner for owner, needed in needs.items() if judged <= set(needed)]
    return need_all or [owner for owner, needed in needs.items() if not judged.isdisjoint(needed)]


def _causes(nodes: Sequence[ModelResult], hooks: Sequence[ModelResult]) -> list[ModelResult]:
    failed = [node for node in nodes if node.failed]
    return failed or list(hooks or nodes)
