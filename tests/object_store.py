"""An S3 server on loopback."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# The server has a process of its own: delta-rs holds the GIL while it waits for an answer.
SERVER = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
server.stop()
"""


@contextmanager
def s3_server() -> Iterator[dict[str, str]]:
    """A server with the bucket `lake`; gives the variables that lead there, which are storage options too."""
    import boto3

    command = [sys.executable, "-c", SERVER]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, text=True, **pipes) as server:
        endpoint = f"http://127.0.0.1:{int(server.stdout.readline())}"
        keys = {"aws_access_key_id": "tailrace", "aws_secret_access_key": "tailrace"}
        boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", **keys).create_bucket(Bucket="lake")
        yield {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "tailrace",
            "AWS_SECRET_ACCESS_KEY": "tailrace",
        }
        server.stdin.close()
