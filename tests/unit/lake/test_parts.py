"""What a piece of a table takes along to another process, and what it leaves behind."""

from __future__ import annotations

import datetime as dt
import pickle

import pyarrow as pa
import pytest

from tailrace.errors import LakeUnavailable
from tailrace.lake.parquet import RowGroups
from tailrace.lake.parts import FilePart, FilePartWriter, Place

SCHEMA = pa.schema([("x", pa.int64()), ("ds", pa.date32())])
DAY = dt.date(2013, 3, 1)
NOWHERE = {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_ALLOW_HTTP": "true", "max_retries": "0", "AWS_REGION": "r"}
SECRETS = {"AWS_ACCESS_KEY_ID": "hush-id", "aws_secret_access_key": "hush-key", "AWS_SESSION_TOKEN": "hush-token"}
OTHERS = {
    "azure_storage_account_key": "hush-1",
    "azure_client_secret": "hush-2",
    "azure_storage_sas_key": "hush-3",
    "google_service_account_key": "hush-4",
    "aws_sse_customer_key_base64": "hush-5",
    "bearer_token": "hush-6",
}
KEPT = {"aws_sse_kms_key_id": "arn:key", "aws_sse_bucket_key_enabled": "true", "azure_federated_token_file": "/token"}


def pieces(place):
    yield FilePart(place=place, pieces=(RowGroups("f.parquet", 1),), schema=SCHEMA, doing="Reading t")
    yield FilePartWriter(
        place=place, folder="ds=2013-03-01/run-r", schema=SCHEMA, day=DAY, where="t of 2013-03-01", doing="Staging t"
    )


def test_no_credential_travels_and_none_is_printed():
    place = Place("s3://lake/t", {**NOWHERE, **SECRETS, **OTHERS, **KEPT})
    for piece in pieces(place):
        sent = pickle.dumps(piece)
        assert b"hush" not in sent
        assert pickle.loads(sent).place.options == {**NOWHERE, **KEPT}
        assert set(pickle.loads(pickle.dumps(pickle.loads(sent))).place.withheld) == {*SECRETS, *OTHERS}
        assert "hush" not in repr(piece)
        assert piece.place.options == place.options, "who sends it still has them"


def use(piece):
    if isinstance(piece, FilePart):
        return list(piece.batches())
    row = pa.RecordBatch.from_pydict({"x": [1], "ds": [DAY]}, SCHEMA)
    return piece.write(0, pa.RecordBatchReader.from_batches(SCHEMA, [row]))


def test_a_process_that_cannot_open_the_lake_says_which_credentials_it_was_not_given(monkeypatch):
    for name in SECRETS:
        monkeypatch.setenv(name.upper(), "of-the-environment")
    for piece in pieces(Place("s3://lake/t", {**NOWHERE, **SECRETS})):
        with pytest.raises(LakeUnavailable, match="AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN in the"):
            use(pickle.loads(pickle.dumps(piece)))
        with pytest.raises(LakeUnavailable) as raised:
            use(piece)
        assert "AWS_ACCESS_KEY_ID" not in str(raised.value)
