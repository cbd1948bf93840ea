"""The store that docker-compose.yaml starts: eight writers of one object, and what each role's key may do."""

from __future__ import annotations

import datetime as dt
import importlib.util
import io
import sys
import tarfile
from collections.abc import Callable, Iterator
from types import ModuleType

import boto3
import grpc
import httpx
import pyarrow as pa
import pytest
from botocore.exceptions import ClientError

from tailrace.errors import LakeUnavailable
from tailrace.lake.delta import DeltaLake
from tailrace.settings import find_project
from tests.object_store import Store, composes_store

pytestmark = pytest.mark.services

BUCKETS = ("tailrace", "mlflow")
READS = {"backup": BUCKETS, "airflow": ("tailrace",), "spark": ("tailrace",), "pages": ("tailrace",)}
READS |= {"notebook": ("tailrace",), "mlflow": ("mlflow",)}
WRITES = {"airflow": ("tailrace",), "spark": ("tailrace",), "mlflow": ("mlflow",)}
"""Role -> the buckets that its key may read or write."""
OBJECT = "lake/predictions/flight_delay/_delta_log/00000000000000000000.json"


def of_compose(name: str) -> ModuleType:
    """A file of deploy/compose, which is copied into an image as it is."""
    found = importlib.util.spec_from_file_location(name, find_project().root / "deploy" / "compose" / f"{name}.py")
    assert found
    assert found.loader
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """The store after the service `buckets` has run, with an object in each bucket."""
    with composes_store(tmp_path_factory.mktemp("store")) as running, pytest.MonkeyPatch.context() as patched:
        for name, value in running.variables("root").items():
            patched.setenv(name, value)
        of_compose("buckets").main(*BUCKETS)
        for bucket in BUCKETS:
            running.client("root").put_object(Bucket=bucket, Key=OBJECT, Body=b"{}")
        yield running


def allowed(act: Callable[[], object]) -> bool:
    try:
        act()
    except ClientError as error:
        assert error.response["Error"]["Code"] == "AccessDenied", error
        return False
    return True


@pytest.mark.parametrize("role", READS)
def test_a_role_may_do_what_it_needs_and_nothing_else(store: Store, role: str) -> None:
    client = store.client(role)
    for bucket in BUCKETS:
        of = {"Bucket": bucket}
        reads, writes = bucket in READS[role], bucket in WRITES.get(role, ())
        assert allowed(lambda of=of: client.get_object(**of, Key=OBJECT)) is reads
        assert allowed(lambda of=of: client.list_objects_v2(**of)) is reads
        assert allowed(lambda of=of: client.put_object(**of, Key="new", Body=b"")) is writes
        assert allowed(lambda of=of: client.copy_object(**of, Key="new", CopySource=of | {"Key": OBJECT})) is writes
        assert allowed(lambda of=of: client.create_multipart_upload(**of, Key="new")) is writes
        assert allowed(lambda of=of: client.delete_object(**of, Key="new")) is writes
        assert not allowed(lambda of=of: client.put_bucket_acl(**of, ACL="public-read-write"))
        assert not allowed(lambda of=of: client.delete_bucket(**of))
    assert not allowed(lambda: client.create_bucket(Bucket=f"of-{role}"))


def test_the_notebook_reads_the_lake_and_cannot_publish(store: Store) -> None:
    day = dt.date(2013, 2, 12)
    rows = pa.table({"ds": pa.array([day], pa.date32()), "score": [0.5]})

    def publish(role: str, run: str) -> None:
        lake = DeltaLake("s3://tailrace/lake", store.variables(role))
        lake.publish(lake.stage("predictions/churn", day, run, rows.to_reader()), {"pipeline": "churn"})

    publish("airflow", "night-1")
    notebook = DeltaLake("s3://tailrace/lake", store.variables("notebook"))
    assert notebook.read("predictions/churn").read_all()["score"].to_pylist() == [0.5]
    with pytest.raises(LakeUnavailable, match="lacked the necessary privileges"):
        publish("notebook", "mine")
    assert notebook.days("predictions/churn")[day].metadata["run_id"] == "night-1"


def test_a_key_cannot_be_added_through_the_stores_other_port(store: Store) -> None:
    """S3's gRPC port is open to other containers. Without the signing key, anyone could add a key with all rights."""
    with grpc.insecure_channel(store.grpc) as channel:
        call = channel.unary_unary("/messaging_pb.SeaweedS3IamCache/PutIdentity", bytes, bytes)
        with pytest.raises(grpc.RpcError) as refused:
            call(b"\n\x0d\n\x04evil\x1a\x05Admin", timeout=10)
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_a_backup_is_made_with_a_key_that_only_reads(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in store.variables("backup").items():
        monkeypatch.setenv(name, value)
    # boto3 keeps the keys that it was first used with.
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    with monkeypatch.context() as patched:
        written = io.BytesIO()
        patched.setattr(sys, "stdout", io.TextIOWrapper(written, write_through=True))
        of_compose("objects").save('{"predictions/flight_delay": 0}')
        sys.stdout.detach()
    with tarfile.open(fileobj=io.BytesIO(written.getvalue())) as archive:
        assert {f"{bucket}/{OBJECT}" for bucket in BUCKETS} <= set(archive.getnames())
    assert not allowed(lambda: of_compose("objects").client().put_object(Bucket="mlflow", Key="new", Body=b""))


def test_an_object_without_a_key_is_not_read(store: Store) -> None:
    assert httpx.get(f"{store.endpoint}/tailrace/{OBJECT}", timeout=60).status_code == 403
