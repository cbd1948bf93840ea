"""What creating and deleting means: admission and a process for a pod, the end of everything an object owns."""

from __future__ import annotations

import asyncio
import contextlib

from .admission import admit
from .kinds import KINDS, Object, Refused, not_found
from .kubelet import Kubelet
from .store import Store, now


class ControlPlane:
    def __init__(self, store: Store, kubelet: Kubelet) -> None:
        self._store = store
        self._kubelet = kubelet
        self._stopping: set[asyncio.Task[None]] = set()

    def create(self, resource: str, namespace: str, obj: Object) -> Object:
        if KINDS[resource].namespaced and self._store.find("namespaces", "", namespace) is None:
            raise not_found("namespaces", namespace)
        obj.setdefault("metadata", {})
        if resource != "pods":
            return self._store.create(resource, namespace, obj)
        pod = admit(self._store, namespace, obj)
        pod["status"] = {"phase": "Pending", "conditions": [], "qosClass": "Burstable"}
        created = self._store.create("pods", namespace, pod)
        self._kubelet.start(created)
        return created

    def delete(self, resource: str, namespace: str, name: str, grace: float | None = None) -> Object:
        """Marks a pod for deletion and ends it in the background; removes anything else at once."""
        obj = self._store.get(resource, namespace, name)
        if resource != "pods":
            self._remove(resource, namespace, name)
            return obj
        if obj["metadata"].get("deletionTimestamp") and grace != 0:
            return obj
        seconds = grace if grace is not None else obj["spec"].get("terminationGracePeriodSeconds", 30)

        def mark(pod: Object) -> None:
            pod["metadata"] |= {"deletionTimestamp": now(), "deletionGracePeriodSeconds": int(seconds)}

        marked = self._store.update("pods", namespace, name, mark)
        stopping = asyncio.create_task(self._end(marked, grace))
        self._stopping.add(stopping)
        stopping.add_done_callback(self._stopping.discard)
        return marked

    async def _end(self, pod: Object, grace: float | None) -> None:
        await self._kubelet.stop(pod, grace)
        with contextlib.suppress(Refused):  # a second deletion, without grace, was faster
            self._remove("pods", pod["metadata"]["namespace"], pod["metadata"]["name"])

    def _remove(self, resource: str, namespace: str, name: str) -> None:
        gone = self._store.remove(resource, namespace, name)
        for owned in KINDS:
            for obj in self._store.all(owned, namespace):
                owners = obj["metadata"].get("ownerReferences") or []
                if any(owner["uid"] == gone["metadata"]["uid"] for owner in owners):
                    self.delete(owned, namespace, obj["metadata"]["name"])
