"""What other writers do to a Delta table of the lake, done by hand to its log: features that need a native reader."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

from deltalake import DeltaTable


def delete_rows(table: Path, partition: str, positions: Sequence[int]) -> None:
    """Delete rows of the partition's one file as Delta's deletion vectors do: the file stays as it is."""
    version = DeltaTable(str(table)).version()
    (add,) = (
        action["add"]
        for entry in sorted((table / "_delta_log").glob("*.json"))
        for action in map(json.loads, entry.read_text().splitlines())
        if "add" in action and action["add"]["path"].startswith(f"{partition}/")
    )
    bitmap = _bitmap(positions)
    vector = table / f"deletion_vector_{version}.bin"
    vector.write_bytes(b"\x01" + struct.pack(">i", len(bitmap)) + bitmap + struct.pack(">I", zlib.crc32(bitmap)))
    deletion = {
        "storageType": "p",
        "pathOrInlineDv": vector.absolute().as_uri(),
        "offset": 1,
        "sizeInBytes": len(bitmap),
        "cardinality": len(positions),
    }
    remove = {key: add[key] for key in ("path", "partitionValues", "size")}
    commit(
        table,
        _protocol("deletionVectors"),
        {"remove": {**remove, "dataChange": True, "extendedFileMetadata": True, "deletionTimestamp": 0}},
        {"add": {**add, "deletionVector": deletion}},
    )


def need_feature(table: Path, feature: str) -> None:
    """Make the table one that only readers with the feature may read."""
    commit(table, _protocol(feature))


def commit(table: Path, *actions: dict) -> None:
    version = DeltaTable(str(table)).version() + 1
    log = table / "_delta_log" / f"{version:020d}.json"
    log.write_text("\n".join(map(json.dumps, [{"commitInfo": {"timestamp": version, "operation": "X"}}, *actions])))


def _protocol(feature: str) -> dict:
    features = {"readerFeatures": [feature], "writerFeatures": [feature]}
    return {"protocol": {"minReaderVersion": 3, "minWriterVersion": 7, **features}}


def _bitmap(positions: Sequence[int]) -> bytes:
    """A 64-bit Roaring bitmap of one array container, in Delta's portable format."""
    header = struct.pack("<iqI", 1681511377, 1, 0)
    container = struct.pack("<IIHHI", 12346, 1, 0, len(positions) - 1, 16)
    return header + container + b"".join(struct.pack("<H", position) for position in positions)
