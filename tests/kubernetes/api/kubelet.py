"""Runs each pod's container as a local process and reports its fate in the pod's status."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
import signal
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from . import sandbox, volumes
from .kinds import Object, Refused
from .selectors import selects
from .store import Store, now

_CONFIG_WAIT_SECONDS = 10
_TERMINATION_LOG = "/dev/termination-log"
_TERMINATION_BYTES = 4096
_LOG_LINES, _LOG_BYTES = 80, 2048
"""What of a log becomes the message."""
_MEMORY_POLL_SECONDS = 0.2
_UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "k": 10**3, "M": 10**6, "G": 10**9, "": 1}


@dataclass(frozen=True)
class Node:
    """The one machine of the cluster and what its images hold."""

    folder: Path
    entrypoint: Path
    images: frozenset[str]
    image_files: list[sandbox.Mount]
    keep: list[Path]
    url: str
    isolation: list[str]
    enforce_memory: bool


@dataclass
class _Running:
    task: asyncio.Task[None] | None = None
    process: asyncio.subprocess.Process | None = None
    hook: asyncio.subprocess.Process | None = None
    launch: sandbox.Launch | None = None
    oom: bool = False
    grace: float = 30
    log: list[tuple[str, str]] = field(default_factory=list)
    log_grew: asyncio.Event = field(default_factory=asyncio.Event)
    ended: bool = False


class Kubelet:
    def __init__(self, store: Store, node: Node, token_of: Callable[[str, str], str]) -> None:
        self._store = store
        self._node = node
        self._token_of = token_of
        self._pods: dict[str, _Running] = {}  # by uid
        self._addresses = itertools.count(2)
        self._to_hold: list[str] = []

    def start(self, pod: Object) -> None:
        running = _Running(grace=float(pod["spec"].get("terminationGracePeriodSeconds", 30)))
        self._pods[pod["metadata"]["uid"]] = running
        running.task = asyncio.create_task(self._run(pod, running))

    def hold_next(self, labels: str) -> None:
        """The next container of a pod that the label selector selects runs, but does nothing before SIGCONT."""
        self._to_hold.append(labels)

    async def stop(self, pod: Object, grace: float | None) -> None:
        """What a deletion does to the container: preStop, SIGTERM, SIGKILL when the grace period is over."""
        running = self._pods[pod["metadata"]["uid"]]
        grace = running.grace if grace is None else grace
        if running.process and running.process.returncode is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace):
                    if grace:
                        await self._before_stop(pod, running)
                    if running.process.returncode is None:
                        running.process.send_signal(signal.SIGTERM)
                        running.process.send_signal(signal.SIGCONT)  # a held container could not end
                    await running.process.wait()
            sandbox.signal_session(running.process.pid, signal.SIGKILL)
        assert running.task is not None
        if running.process is None:
            running.task.cancel()
        await asyncio.gather(running.task, return_exceptions=True)

    def kill(self, pod: Object, number: signal.Signals, oom: bool = False) -> int:
        """Signals the container's main process; SIGKILL reaches all its processes. Returns the process id."""
        running = self._pods[pod["metadata"]["uid"]]
        if running.process is None or running.process.returncode is not None:
            raise Refused(409, f"pod {pod['metadata']['name']} runs no process", "Conflict")
        running.oom = oom
        if number == signal.SIGKILL:
            sandbox.signal_session(running.process.pid, number)
        else:
            running.process.send_signal(number)
        return running.process.pid

    def log(self, pod: Object) -> list[tuple[str, str]]:
        """(time, line) of what the container printed."""
        return self._pods[pod["metadata"]["uid"]].log

    async def more_log(self, pod: Object, seen: int) -> bool:
        """Waits for a line after the first `seen`; False when the container has ended and there is none."""
        running = self._pods[pod["metadata"]["uid"]]
        while len(running.log) == seen and not running.ended:
            running.log_grew.clear()
            await running.log_grew.wait()
        return len(running.log) > seen

    async def close(self) -> None:
        """Ends every container at once."""
        for running in self._pods.values():
            if running.process and running.process.returncode is None:
                sandbox.signal_session(running.process.pid, signal.SIGKILL)
            if running.task:
                running.task.cancel()
        await asyncio.gather(*(running.task for running in self._pods.values() if running.task), return_exceptions=True)

    async def _run(self, pod: Object, running: _Running) -> None:
        try:
            if pod["spec"]["containers"][0].get("image") not in self._node.images:
                self._cannot_pull(pod)
                return
            address = f"127.77.0.{next(self._addresses)}"
            await self._start_process(pod, running, address)
            await self._follow(pod, running, address)
        except Refused as refused:
            self._event(pod, "Warning", "Failed", f"Error: {refused.message}")
            self._waiting(pod, "CreateContainerConfigError", refused.message)
        except OSError as error:
            self._ended(pod, 128, "StartError", f"failed to create containerd task: {error}")
        finally:
            running.ended = True
            running.log_grew.set()

    async def _start_process(self, pod: Object, running: _Running, address: str) -> None:
        folder = self._node.folder / pod["metadata"]["namespace"] / pod["metadata"]["uid"]
        folder.mkdir(parents=True)
        mounts, env = await self._configured(pod, folder, address)
        container = pod["spec"]["containers"][0]
        words = [*(container.get("command") or [str(self._node.entrypoint)]), *(container.get("args") or [])]
        told = folder / "termination-log"
        told.touch()
        # Instead of a mount below /dev: the one word of the command that names the file.
        path = container.get("terminationMessagePath") or _TERMINATION_LOG
        argv = [str(told) if word == path else volumes.expanded(word, env) for word in words]
        running.launch = sandbox.launch(
            self._node.isolation, folder, argv, env, mounts, self._node.keep, container.get("workingDir", "")
        )
        running.process = await asyncio.create_subprocess_exec(
            *running.launch.argv,
            env=running.launch.env,
            cwd=running.launch.cwd,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=2**24,
            start_new_session=True,
        )
        if held := [labels for labels in self._to_hold if selects(labels, None, pod)]:
            self._to_hold.remove(held[0])
            running.process.send_signal(signal.SIGSTOP)

    async def _follow(self, pod: Object, running: _Running, address: str) -> None:
        process = running.process
        assert process is not None
        started = now()
        self._event(pod, "Normal", "Started", f"Started container {pod['spec']['containers'][0]['name']}")
        self._status(
            pod,
            {"running": {"startedAt": started}},
            phase="Running",
            podIP=address,
            podIPs=[{"ip": address}],
            hostIP="127.0.0.1",
            startTime=started,
        )
        reader = asyncio.create_task(self._read_log(running))
        watcher = asyncio.create_task(self._limit_memory(pod, running)) if self._node.enforce_memory else None
        try:
            code = await process.wait()
        finally:
            # A container ends with its main process: whatever that left behind goes too.
            sandbox.signal_session(process.pid, signal.SIGKILL)
            if running.hook and running.hook.returncode is None:
                running.hook.kill()
            if watcher:
                watcher.cancel()
        await reader
        code = code if code >= 0 else 128 - code
        reason = "OOMKilled" if running.oom else "Completed" if code == 0 else "Error"
        self._ended(pod, code, reason, self._termination_message(pod, running, code), started=started)

    async def _read_log(self, running: _Running) -> None:
        assert running.process is not None and running.process.stdout is not None
        async for line in running.process.stdout:
            running.log.append((now(), line.decode(errors="replace").rstrip("\n")))
            running.log_grew.set()

    async def _limit_memory(self, pod: Object, running: _Running) -> None:
        limit = bytes_of(pod["spec"]["containers"][0].get("resources", {}).get("limits", {}).get("memory"))
        assert running.process is not None
        while limit:
            await asyncio.sleep(_MEMORY_POLL_SECONDS)
            if await asyncio.to_thread(sandbox.session_memory, running.process.pid) > limit:
                self.kill(pod, signal.SIGKILL, oom=True)
                return

    async def _before_stop(self, pod: Object, running: _Running) -> None:
        hook = (pod["spec"]["containers"][0].get("lifecycle") or {}).get("preStop") or {}
        if "exec" not in hook or running.launch is None:
            return
        command = hook["exec"]["command"]
        try:
            process = running.hook = await asyncio.create_subprocess_exec(
                *self._inside(running, command),
                env=running.launch.env,
                cwd=running.launch.cwd,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
        except OSError as error:
            self._event(pod, "Warning", "FailedPreStopHook", f"PreStopHook failed: {command[0]}: {error.strerror}")
            return
        said, _ = await process.communicate()
        if process.returncode:
            message = f"PreStopHook failed: exit code {process.returncode}: {said.decode(errors='replace')[-500:]}"
            self._event(pod, "Warning", "FailedPreStopHook", message)

    def _inside(self, running: _Running, command: list[str]) -> list[str]:
        assert running.process is not None
        if not self._node.isolation:
            return command
        user = ["--user", "--preserve-credentials"] if "--user" in self._node.isolation else []
        return ["nsenter", "--target", str(running.process.pid), *user, "--mount", "--wd", *command]

    async def _configured(self, pod: Object, folder: Path, address: str) -> tuple[list[sandbox.Mount], dict[str, str]]:
        """Mounts and environment; waits for what comes after its pod, as Spark's config map does."""
        token = self._token_of(pod["metadata"]["namespace"], pod["spec"]["serviceAccountName"])
        deadline = asyncio.get_running_loop().time() + _CONFIG_WAIT_SECONDS
        while True:
            try:
                mounts = volumes.mounts(self._store, pod, folder / "volumes", token)
                env = volumes.environment(self._store, pod, _fields(pod, address), self._image_env(pod, folder))
            except Refused as refused:
                left = deadline - asyncio.get_running_loop().time()
                if refused.code != 404 or left <= 0:
                    raise
                shutil.rmtree(folder / "volumes")
                await self._store.changed(left)
            else:
                return [*self._node.image_files, *mounts], env

    def _image_env(self, pod: Object, folder: Path) -> dict[str, str]:
        """What ENV of the image and the kubelet give: this interpreter's environment first on PATH."""
        host, _, port = self._node.url.removeprefix("http://").partition(":")
        env = {
            "PATH": f"{Path(sys.prefix) / 'bin'}:{os.environ.get('PATH', os.defpath)}",
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "HOSTNAME": pod["metadata"]["name"],
            "KUBERNETES_SERVICE_HOST": host,
            "KUBERNETES_SERVICE_PORT": port,
        }
        for name in ("JAVA_HOME", "PYTHONDONTWRITEBYTECODE"):
            if name in os.environ:
                env[name] = os.environ[name]
        return env

    def _termination_message(self, pod: Object, running: _Running, code: int) -> str:
        """What the container wrote for its status, from the end if that is too long; else its log, where asked for."""
        metadata = pod["metadata"]
        written = (self._node.folder / metadata["namespace"] / metadata["uid"] / "termination-log").read_bytes()
        policy = pod["spec"]["containers"][0].get("terminationMessagePolicy")
        if code and not written and policy == "FallbackToLogsOnError":
            return "\n".join(line for _, line in running.log[-_LOG_LINES:])[-_LOG_BYTES:]
        return written[-_TERMINATION_BYTES:].decode(errors="replace")

    def _cannot_pull(self, pod: Object) -> None:
        image = pod["spec"]["containers"][0].get("image", "")
        message = f'failed to pull and unpack image "{image}": failed to resolve reference: {image}: not found'
        self._event(pod, "Warning", "Failed", f'Failed to pull image "{image}": {message}')
        self._waiting(pod, "ErrImagePull", message)
        self._waiting(pod, "ImagePullBackOff", f'Back-off pulling image "{image}": ErrImagePull: {message}')

    def _waiting(self, pod: Object, reason: str, message: str) -> None:
        self._status(pod, {"waiting": {"reason": reason, "message": message}}, phase="Pending")

    def _ended(self, pod: Object, code: int, reason: str, message: str = "", started: str = "") -> None:
        terminated = {"exitCode": code, "reason": reason, "startedAt": started or now(), "finishedAt": now()}
        if message:
            terminated["message"] = message
        self._status(pod, {"terminated": terminated}, phase="Failed" if code else "Succeeded")

    def _status(self, pod: Object, state: Object, **fields: object) -> None:
        metadata = pod["metadata"]
        container = pod["spec"]["containers"][0]
        ready = "running" in state
        seen = {
            "name": container["name"],
            "image": container.get("image", ""),
            "imageID": "",
            "containerID": f"process://{metadata['uid']}",
            "restartCount": 0,
            "ready": ready,
            "started": ready,
            "state": state,
        }
        conditions = [
            {"type": "PodScheduled", "status": "True"},
            {"type": "Ready", "status": "True" if ready else "False"},
        ]

        def edit(current: Object) -> None:
            current["status"] |= {"containerStatuses": [seen], "conditions": conditions, **fields}

        with contextlib.suppress(Refused):  # deleted meanwhile
            self._store.update("pods", metadata["namespace"], metadata["name"], edit)

    def _event(self, pod: Object, type_: str, reason: str, message: str) -> None:
        metadata = pod["metadata"]
        involved = {"kind": "Pod", "apiVersion": "v1"} | {key: metadata[key] for key in ("name", "namespace", "uid")}
        self._store.create(
            "events",
            metadata["namespace"],
            {
                "metadata": {"name": f"{metadata['name']}.{uuid.uuid4().hex[:16]}"},
                "involvedObject": involved,
                "type": type_,
                "reason": reason,
                "message": message,
                "count": 1,
                "firstTimestamp": now(),
                "lastTimestamp": now(),
                "source": {"component": "kubelet"},
            },
        )


def bytes_of(quantity: str | None) -> int:
    """Bytes of a Kubernetes quantity such as 512Mi; 0 for none."""
    if not quantity:
        return 0
    number = quantity.rstrip("KiMGk")
    return int(float(number) * _UNITS[quantity[len(number) :]])


def _fields(pod: Object, address: str) -> dict[str, str]:
    metadata = pod["metadata"]
    return {
        "metadata.name": metadata["name"],
        "metadata.namespace": metadata["namespace"],
        "metadata.uid": metadata["uid"],
        "spec.nodeName": "node-1",
        "spec.serviceAccountName": pod["spec"]["serviceAccountName"],
        "status.podIP": address,
        "status.hostIP": "127.0.0.1",
    }
