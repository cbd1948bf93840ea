"""Both buckets as one tar on standard output, and back: the part of a backup that runs inside the stack.

objects.py versions              where the lake's tables stand, as JSON
objects.py save JSON > file      everything; tables that name models, up to there
objects.py load < file           into buckets that are empty
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
    """Write every object; of a table that names models, no commit later than `limits` (JSON as of `versions`)."""
    known: dict[str, int] = json.loads(limits)
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|") as archive:
        for name, size in objects():
            if not too_late(name, known):
                bucket, _, key = name.partition("/")
                entry = tarfile.TarInfo(name)
                entry.size = size
                # What a run discarded since it was listed was of no table.
                with contextlib.suppress(client().exceptions.NoSuchKey):
                    archive.addfile(entry, client().get_object(Bucket=bucket, Key=key)["Body"])


def too_late(name: str, known: dict[str, int]) -> bool:
    """Whether an object is of a commit that the backup leaves out."""
    entry = LOG.match(name)
    if entry is None or entry["table"].split("/")[0] not in NAME_MODELS:
        return False
    # _last_checkpoint is a hint that may be newer than the copy; readers do without.
    return entry["version"] is None or int(entry["version"]) > known.get(entry["table"], -1)


def load() -> None:
    """Put every object of the tar where it was. Exits with a sentence if anything is there already."""
    held = next(objects(), None)
    if held is not None:
        sys.exit(f"The object store holds {held[0]} and maybe more: a backup is restored into empty buckets only.")
    with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as archive:
        for entry in archive:
            content = archive.extractfile(entry)
            if content is None:
                continue  # a folder: `save` writes none
            bucket, _, key = entry.name.partition("/")
            with tempfile.TemporaryFile() as file:
                # A pipe cannot be read again, which an upload in parts does where one fails.
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
    """boto3's client of the stack's object store."""
    return boto3.client("s3", region_name=os.environ["AWS_REGION"])


if __name__ == "__main__":
    {"versions": versions, "save": save, "load": load}[sys.argv[1]](*sys.argv[2:])
