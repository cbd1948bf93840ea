"""Makes the buckets, and refuses an object store on which two writers can both create the same object.

The lake commits by creating the next file of its log. If PUT ignores If-None-Match, a commit is lost without any error.
"""

from __future__ import annotations

import os
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor

import boto3
from botocore.exceptions import ClientError

WRITERS = 8


def main(*names: str) -> None:
    """Make the missing buckets. Exit with a sentence if the store is not suitable."""
    client = boto3.client("s3", region_name=os.environ["AWS_REGION"])
    there = {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
    for name in names:
        if name not in there:
            client.create_bucket(Bucket=name)
    key = f"conditional-put-{uuid.uuid4().hex}"

    def put(number: int) -> bool:
        try:
            client.put_object(Bucket=names[0], Key=key, Body=str(number).encode(), IfNoneMatch="*")
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] in (409, 412):
                return False
            raise
        return True

    with ThreadPoolExecutor(WRITERS) as pool:
        created = sum(pool.map(put, range(WRITERS)))
    client.delete_object(Bucket=names[0], Key=key)
    if created != 1:
        sys.exit(
            f"{created} of {WRITERS} writers created the same object, but exactly one may. This object store ignores "
            "If-None-Match of PUT, and the lake would lose commits. Use another object store, or a newer version."
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
