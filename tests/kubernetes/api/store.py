"""Objects by resource, namespace and name, with the history of changes that watches read."""

from __future__ import annotations

import asyncio
import copy
import datetime as dt
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from .kinds import KINDS, Object, Refused, not_found


def now() -> str:
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class Change:
    """One write. `before` is None for a creation; `after` of a deletion is the object's last state."""

    version: int
    type: str
    after: Object
    before: Object | None


class Store:
    """All state of the API server. Objects handed out are copies; every write makes a new resource version."""

    def __init__(self) -> None:
        self.version = 0
        self.oldest = 0  # changes up to this version are forgotten
        self._objects: dict[str, dict[tuple[str, str], Object]] = {resource: {} for resource in KINDS}
        self._changes: dict[str, list[Change]] = {resource: [] for resource in KINDS}
        self._changed = asyncio.Event()

    def get(self, resource: str, namespace: str, name: str) -> Object:
        """The object. Raises Refused (404)."""
        found = self.find(resource, namespace, name)
        if found is None:
            raise not_found(resource, name)
        return found

    def find(self, resource: str, namespace: str, name: str) -> Object | None:
        found = self._objects[resource].get((namespace, name))
        return copy.deepcopy(found) if found else None

    def all(self, resource: str, namespace: str = "") -> list[Object]:
        """The resource's objects by namespace and name; of every namespace where none is given."""
        return [
            copy.deepcopy(obj)
            for (home, _), obj in sorted(self._objects[resource].items())
            if not namespace or home == namespace
        ]

    def create(self, resource: str, namespace: str, obj: Object) -> Object:
        """Stores a new object under the name it carries, or one made from generateName. Raises Refused (409, 422)."""
        kind = KINDS[resource]
        obj = copy.deepcopy(obj)
        metadata = obj.setdefault("metadata", {})
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = metadata["generateName"] + uuid.uuid4().hex[:5]
        name = metadata.get("name")
        if not name:
            raise Refused(
                422, f"{kind.name} is invalid: metadata.name: Required value: name or generateName is required"
            )
        if (namespace, name) in self._objects[resource]:
            raise Refused(409, f'{resource} "{name}" already exists')
        if kind.namespaced:
            metadata["namespace"] = namespace
        metadata["uid"] = str(uuid.uuid4())
        metadata["creationTimestamp"] = now()
        obj |= {"kind": kind.name, "apiVersion": kind.api_version}
        return self._write(resource, namespace, "ADDED", obj)

    def update(self, resource: str, namespace: str, name: str, edit: Callable[[Object], Object | None]) -> Object:
        """Replaces an object by what `edit` returns for it, or by the object `edit` changed in place.

        Raises Refused: 404 where there is none, 409 where `edit` brings an outdated resourceVersion.
        """
        before = self.get(resource, namespace, name)
        after = copy.deepcopy(before)
        after = edit(after) or after
        carried = after["metadata"].get("resourceVersion")
        if carried and carried != before["metadata"]["resourceVersion"]:
            message = f'Operation cannot be fulfilled on {resource} "{name}": the object has been modified'
            raise Refused(409, message, "Conflict")
        for fixed in ("name", "namespace", "uid", "creationTimestamp"):
            if fixed in before["metadata"]:
                after["metadata"][fixed] = before["metadata"][fixed]
        return self._write(resource, namespace, "MODIFIED", after, before)

    def remove(self, resource: str, namespace: str, name: str) -> Object:
        before = self.get(resource, namespace, name)
        return self._write(resource, namespace, "DELETED", copy.deepcopy(before), before)

    def changes(self, resource: str, since: int) -> list[Change]:
        """Changes after a version, oldest first. Raises Refused (410) where some of them are forgotten."""
        if since < self.oldest:
            raise Refused(410, f"too old resource version: {since} ({self.oldest})")
        return [change for change in self._changes[resource] if change.version > since]

    def forget_history(self) -> None:
        """What etcd's compaction does: a watch from before now is answered with 410."""
        self.oldest = self.version
        for history in self._changes.values():
            history.clear()

    async def changed(self, timeout: float) -> None:
        """Returns at the next write to any resource, or after `timeout` seconds."""
        waiting = self._changed
        try:
            await asyncio.wait_for(waiting.wait(), timeout)
        except TimeoutError:
            return

    def _write(self, resource: str, namespace: str, type_: str, obj: Object, before: Object | None = None) -> Object:
        self.version += 1
        obj["metadata"]["resourceVersion"] = str(self.version)
        key = (namespace, obj["metadata"]["name"])
        if type_ == "DELETED":
            del self._objects[resource][key]
        else:
            self._objects[resource][key] = obj
        self._changes[resource].append(Change(self.version, type_, copy.deepcopy(obj), before))
        self._changed.set()
        self._changed = asyncio.Event()
        return copy.deepcopy(obj)
