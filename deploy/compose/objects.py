"""Writes both buckets as one tar to standard output, and reads them back. A backup runs this inside the stack.

objects.py versions              print the versions of the lake's tables, as JSON
objects.py save JSON > file      write all objects; of tables that name models, no version after those in JSON
objects.py load < file           put the objects back into empty buckets
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from typing import Any

import boto3

from tailrace.champions.model_versions import NAME_MODELS

BUCKETS = ("tailrace", "mlflow")
LOG = re.compile(r"^tailrace/lake/(?P<table>.+)/_delta_log/(?:(?P<version>\d{20})\..+|_last_checkpoint)$")


def versions() -> None:
    """Print the newest version of each of the lake's tables, as a JSON object."""
    found: dict[str, int] = {}
    for name, _ in objects():
        entry = LOG.match(name)
        if entry and entry["version"] and name.endswith(".json"):
            found[entry["table"]] = max(int(entry["version"]), found.get(entry["table"], 0))
    json.dump(found, sys.stdout, indent=1, sort_keys=True)


def save(limits: str) -> None:
    """Write every object. For a table that names models, leave out commits after `limits` (the JSON of `versions`)."""
    known: dict[str, int] = json.loads(limits)
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|") as archive:
        for name, size in objects():
            if not too_late(name, known):
                bucket, _, key = name.partition("/")
                entry = tarfile.TarInfo(name)
                entry.size = size
                # A run may have discarded a file since it was listed. Such a file belongs to no table.
                with contextlib.suppress(client().exceptions.NoSuchKey):
                    archive.addfile(entry, client().get_object(Bucket=bucket, Key=key)["Body"])


def too_late(name: str, known: dict[str, int]) -> bool:
    """Whether an object belongs to a commit that the backup leaves out."""
    entry = LOG.match(name)
    if entry is None or entry["table"].split("/")[0] not in NAME_MODELS:
        return False
    # _last_checkpoint is a hint that may be newer than the copy. Readers work without it.
    return entry["version"] is None or int(entry["version"]) > known.get(entry["table"], -1)


def load() -> None:
    """Put every object of the tar back in its place. Exits with an error if the buckets are not empty."""
    present = next(objects(), None)
    if present is not None:
        sys.exit(f"The object store is not empty, it has {present[0]}. A backup is restored only into empty buckets.")
    with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as archive:
        for entry in archive:
            content = archive.extractfile(entry)
            if content is None:
                continue  # a folder: `save` writes none
            bucket, _, key = entry.name.partition("/")
            with tempfile.TemporaryFile() as file:
                # If a part of an upload fails, boto3 reads it again. A pipe cannot be read again, so use a file.
                shutil.copyfileobj(content, file)
                file.seek(0)
                client().upload_fileobj(file, bucket, key)


def objects() -> Iterator[tuple[str, int]]:
    """Each object as bucket/key, with its size in bytes."""
    for bucket in BUCKETS:
        for page in client().get_paginator("list_objects_v2").paginate(Bucket=bucket):
            for each in page.get("Contents", ()):
                yield f"{bucket}/{each['Key']}", each["Size"]


@functools.cache
def client() -> Any:
    """boto3's client for the stack's object store."""
    return boto3.client("s3", region_name=os.environ["AWS_REGION"])


if __name__ == "__main__":
    {"versions": versions, "save": save, "load": load}[sys.argv[1]](*sys.argv[2:])
