"""S3 servers on loopback: moto's, which starts in a second and asks for no rights, and the one that compose starts."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from scripts import make_secrets
from tailrace.settings import find_project

START_SECONDS = 60
PORTS = (
    *("s3.port", "s3.port.grpc", "filer.port", "filer.port.grpc"),
    *("master.port", "master.port.grpc", "volume.port", "volume.port.grpc"),
)
"""SeaweedFS's ports. Only the first two listen for other containers."""

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


@dataclass(frozen=True)
class Store:
    """A running store: its addresses for S3 and for gRPC, and the keys of each role."""

    endpoint: str
    grpc: str
    secrets: Mapping[str, str]

    def variables(self, role: str) -> dict[str, str]:
        """The variables that lead to the store with a role's key; they are storage options too."""
        names = ("USER", "PASSWORD") if role == "root" else (f"{role.upper()}_KEY", f"{role.upper()}_SECRET")
        key, secret = (self.secrets[f"OBJECT_STORE_{name}"] for name in names)
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": secret,
        }

    def client(self, role: str) -> Any:
        """boto3's client with a role's key."""
        import boto3

        given = self.variables(role)
        keys = {name.lower(): given[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
        return boto3.client("s3", endpoint_url=self.endpoint, region_name="us-east-1", **keys)


@contextmanager
def composes_store(folder: Path) -> Iterator[Store]:
    """The store that docker-compose.yaml starts, with its keys and rights: SeaweedFS from its wheel, no buckets."""
    script = find_project().root / "deploy" / "compose" / "object-store.sh"
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    secrets = make_secrets.made()
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    given = [f"-{name}={port}" for name, port in ports.items()]
    sockets = [f"-{name}.localSocket={folder / name}.sock" for name in ("s3", "filer")]
    (folder / "data").mkdir()
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            ["sh", script, folder / "data", "-s3.ip.bind=127.0.0.1", *given, *sockets],
            env=os.environ | secrets | {"PATH": programs, "TMPDIR": str(folder)},
            stdout=log,
            stderr=log,
        )
    try:
        endpoint = f"http://127.0.0.1:{ports['s3.port']}"
        until = time.monotonic() + START_SECONDS
        while not answers(f"{endpoint}/healthz"):
            assert server.poll() is None, (folder / "log").read_text(errors="replace")[-2000:]
            assert time.monotonic() < until, f"the store did not start in {START_SECONDS} s"
            time.sleep(0.1)
        yield Store(endpoint, f"127.0.0.1:{ports['s3.port.grpc']}", secrets)
    finally:
        # Asked to end, it first waits for its own parts.
        server.kill()
        server.wait()


def free_ports(count: int) -> list[int]:
    """Different free ports on loopback."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def answers(url: str) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(url, timeout=2).is_success
    return False
