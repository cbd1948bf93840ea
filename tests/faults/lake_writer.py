"""A process that stages and publishes one day, run after run, until it is killed or has done its count.

Usage: lake_writer.py ROOT RUN_PREFIX COUNT ROWS. With COUNT = 1 it stages, prints `staged`, waits
for a line on stdin and then publishes, printing `published` or `conflict`.
"""

from __future__ import annotations

import datetime as dt
import sys

import pyarrow as pa

from tailrace.errors import PublishConflict
from tailrace.lake.delta import DeltaLake

DAY = dt.date(2013, 3, 1)


def main(root: str, prefix: str, count: int, rows: int) -> None:
    lake = DeltaLake(root)
    for number in range(count):
        run = f"{prefix}-{number}"
        table = pa.table({"run": [run] * rows, "n": range(rows)})
        staged = lake.stage("t", DAY, run, pa.RecordBatchReader.from_batches(table.schema, table.to_batches(50)))
        print("staged", flush=True)
        if count == 1:
            sys.stdin.readline()
        try:
            lake.publish(staged, {})
            print("published", flush=True)
        except PublishConflict:
            print("conflict", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
