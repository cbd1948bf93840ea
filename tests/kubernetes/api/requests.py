"""A request's address and method, read as Kubernetes reads them: verb, resource, namespace, name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .kinds import KINDS, Refused

SUBRESOURCES = {"pods": ("log", "status")}


@dataclass(frozen=True)
class Wanted:
    verb: str
    resource: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""

    @property
    def qualified(self) -> str:
        """The resource as RBAC rules name it, such as `pods/log`."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


def wanted(method: str, path: str, query: Mapping[str, str]) -> Wanted:
    """Raises Refused: 404 for a path that is no resource held here, 405 for a method it does not have."""
    parts = [part for part in path.split("/") if part]
    group, rest = _split_group(parts, path)
    namespace = ""
    if len(rest) > 2 and rest[0] == "namespaces":
        namespace, rest = rest[1], rest[2:]
    resource, name, subresource, *more = [*rest, "", "", ""][: max(3, len(rest))]
    kind = KINDS.get(resource)
    if (
        kind is None
        or kind.group != group
        or more
        or (subresource and subresource not in SUBRESOURCES.get(resource, ()))
    ):
        raise Refused(404, f"the server could not find the requested resource: {path}")
    return Wanted(_verb(method, name, query), resource, namespace, name, subresource)


def _split_group(parts: list[str], path: str) -> tuple[str, list[str]]:
    if parts[:2] == ["api", "v1"]:
        return "", parts[2:]
    if parts[:1] == ["apis"] and len(parts) > 3:
        return parts[1], parts[3:]
    raise Refused(404, f"the server could not find the requested resource: {path}")


def _verb(method: str, name: str, query: Mapping[str, str]) -> str:
    if method == "GET":
        if switched_on(query, "watch"):
            return "watch"
        return "get" if name else "list"
    verbs = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete" if name else "deletecollection"}
    if method not in verbs:
        raise Refused(405, f"the server does not allow {method}")
    return verbs[method]


def switched_on(query: Mapping[str, str], name: str) -> bool:
    """A boolean of the query string, in the spellings that Go takes for true."""
    return query.get(name) in ("1", "t", "T", "true", "True", "TRUE")
