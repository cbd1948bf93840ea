"""The cluster that the tests of this folder run on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kubernetes.cluster import Cluster, running_cluster


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.kubernetes)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A Kubernetes cluster with the manifests of deploy/kubernetes, one per test module.

    Containers are local processes that start through deploy/images/entrypoint.sh and see pytest's temporary folders.
    """
    keep = [tmp_path_factory.getbasetemp()]
    with running_cluster(tmp_path_factory.mktemp("cluster"), keep) as running:
        yield running
