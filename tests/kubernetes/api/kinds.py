"""The resources this server holds, and the Status bodies with which Kubernetes answers a refused request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    name: str
    group: str = ""
    version: str = "v1"
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


KINDS: dict[str, Kind] = {
    "pods": Kind("Pod"),
    "configmaps": Kind("ConfigMap"),
    "services": Kind("Service"),
    "secrets": Kind("Secret"),
    "persistentvolumeclaims": Kind("PersistentVolumeClaim"),
    "events": Kind("Event"),
    "namespaces": Kind("Namespace", namespaced=False),
    "serviceaccounts": Kind("ServiceAccount"),
    "resourcequotas": Kind("ResourceQuota"),
    "limitranges": Kind("LimitRange"),
    "roles": Kind("Role", "rbac.authorization.k8s.io"),
    "rolebindings": Kind("RoleBinding", "rbac.authorization.k8s.io"),
    "networkpolicies": Kind("NetworkPolicy", "networking.k8s.io"),
}

_REASONS = {
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    409: "AlreadyExists",
    410: "Expired",
    422: "Invalid",
}


def resource_of(kind: str) -> str | None:
    """The plural under which objects of this kind are addressed, or None for a kind not held here."""
    return next((plural for plural, held in KINDS.items() if held.name == kind), None)


class Refused(Exception):
    """A request that Kubernetes would refuse; becomes a Status body."""

    def __init__(self, code: int, message: str, reason: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = reason or _REASONS.get(code, "BadRequest")

    def body(self) -> Object:
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        }


def not_found(resource: str, name: str) -> Refused:
    return Refused(404, f'{resource} "{name}" not found')
