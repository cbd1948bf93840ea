"""Starts the server: applies manifests, then prints its address as one line of JSON when it answers.

The administrator's bearer token is read from TEST_CLUSTER_ADMIN_TOKEN.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from pathlib import Path

import yaml
from aiohttp import web

from .control import ControlPlane
from .http import Api
from .kinds import KINDS, Object, resource_of
from .kubelet import Kubelet, Node
from .rights import Rights
from .sandbox import Mount, isolation
from .store import Store


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.kubernetes.api", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="empty folder for the containers' files")
    parser.add_argument("--entrypoint", type=Path, required=True, help="the entry point of every image")
    parser.add_argument("--image", action="append", default=[], help="a name that can be pulled")
    parser.add_argument("--image-file", action="append", default=[], help="SOURCE=TARGET, a path that all images have")
    parser.add_argument("--manifests", action="append", default=[], type=Path, help="YAML file to apply at the start")
    parser.add_argument("--keep", action="append", default=[], type=Path, help="host folder containers always see")
    parser.add_argument("--enforce-memory", action="store_true", help="kill containers above their memory limit")
    parser.add_argument("--no-isolation", action="store_true", help="containers without mounts of their own")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(parser.parse_args()))


async def serve(options: argparse.Namespace) -> None:
    """Serves until SIGTERM, or until standard input ends: the tests' process may have been killed."""
    store = Store()
    rights = Rights(store, os.environ["TEST_CLUSTER_ADMIN_TOKEN"])
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_reader(sys.stdin, lambda: None if os.read(sys.stdin.fileno(), 1024) else stop.set())

    listening = _free_socket()
    url = "http://{}:{}".format(*listening.getsockname())
    prefix = [] if options.no_isolation else isolation()
    node = Node(
        folder=options.folder,
        entrypoint=options.entrypoint,
        images=frozenset(options.image),
        image_files=[Mount(Path(source), target) for source, target in (f.split("=") for f in options.image_file)],
        keep=options.keep,
        url=url,
        isolation=prefix,
        enforce_memory=options.enforce_memory,
    )
    kubelet = Kubelet(store, node, rights.token_of)
    control = ControlPlane(store, kubelet)
    for path in options.manifests:
        for obj in yaml.safe_load_all(path.read_text()):
            apply(control, obj)
    runner = web.AppRunner(
        Api(store, control, kubelet, rights).application(),
        access_log=None,
        shutdown_timeout=1,
        handler_cancellation=True,
    )
    await runner.setup()
    await web.SockSite(runner, listening).start()
    print(json.dumps({"url": url, "isolated": bool(prefix)}), flush=True)
    await stop.wait()
    await kubelet.close()
    await runner.cleanup()


def apply(control: ControlPlane, obj: Object) -> None:
    """Creates an object of a manifest. Raises ValueError for a kind that this server does not hold."""
    resource = resource_of(obj["kind"])
    if resource is None:
        raise ValueError(f"the test server holds no objects of kind {obj['kind']}")
    control.create(resource, obj["metadata"].get("namespace", "") if KINDS[resource].namespaced else "", obj)


def _free_socket() -> socket.socket:
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", 0))
    return listening


if __name__ == "__main__":
    main()
