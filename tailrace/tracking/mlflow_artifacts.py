"""Deleting in MLflow: the files of a model, and runs."""

from __future__ import annotations

from collections.abc import Iterator

from mlflow import MlflowClient
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository


def store_of(source: str, tracking_uri: str) -> ArtifactRepository:
    """Where the files of a model version are."""
    return get_artifact_repository(source, tracking_uri=tracking_uri)


def sizes(store: ArtifactRepository, folder: str | None = None) -> Iterator[int]:
    """The bytes of each file below a folder of the store."""
    for found in store.list_artifacts(folder):
        if found.is_dir:
            yield from sizes(store, found.path)
        else:
            yield int(found.file_size or 0)


def delete_run(client: MlflowClient, run_id: str) -> None:
    """Delete a run. A server keeps its rows, marked as deleted, until somebody runs `mlflow gc` there."""
    client.delete_run(run_id)
    # MLflow has no other name for it; `mlflow gc` calls the same.
    for_good = getattr(client._tracking_client.store, "_hard_delete_run", None)
    if for_good is not None:
        for_good(run_id)
