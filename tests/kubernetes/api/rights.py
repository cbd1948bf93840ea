"""Who asks, and whether the Roles and RoleBindings in the store allow it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

from .kinds import KINDS, Object, Refused
from .store import Store

ADMIN = "system:masters"


class Rights:
    """Bearer tokens of service accounts, judged by the RBAC objects that were applied to this server."""

    def __init__(self, store: Store, admin_token: str) -> None:
        self._store = store
        self._users = {admin_token: ADMIN}
        self._tokens: dict[str, str] = {}

    def token_of(self, namespace: str, service_account: str) -> str:
        """The account's bearer token, made on first use."""
        user = f"system:serviceaccount:{namespace}:{service_account}"
        if user not in self._tokens:
            self._tokens[user] = secrets.token_hex(16)
            self._users[self._tokens[user]] = user
        return self._tokens[user]

    def user_of(self, authorization: str | None) -> str:
        """The user's name. Raises Refused (401) for a token that nobody holds."""
        if not authorization:
            return "system:anonymous"
        user = self._users.get(authorization.removeprefix("Bearer ").strip())
        if user is None:
            raise Refused(401, "Unauthorized")
        return user

    def check(self, user: str, verb: str, resource: str, namespace: str, name: str = "") -> None:
        """Raises Refused (403) unless a role bound to the user grants the verb. `resource` may be `pods/log`."""
        group = KINDS[resource.split("/")[0]].group
        if user == ADMIN or any(_grants(rule, verb, group, resource, name) for rule in self._rules_of(user, namespace)):
            return
        plural, _, _ = resource.partition("/")
        subject = f'{plural} "{name}"' if name else plural
        scope = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
        raise Refused(
            403,
            f'{subject} is forbidden: User "{user}" cannot {verb} resource "{resource}" in API group "{group}" {scope}',
        )

    def _rules_of(self, user: str, namespace: str) -> Iterator[Object]:
        for binding in self._store.all("rolebindings", namespace) if namespace else []:
            if any(_names(subject, user, namespace) for subject in binding.get("subjects") or []):
                role = self._store.find("roles", namespace, binding["roleRef"]["name"])
                yield from (role or {}).get("rules") or []


def _names(subject: Object, user: str, namespace: str) -> bool:
    home = subject.get("namespace", namespace)
    return subject["kind"] == "ServiceAccount" and user == f"system:serviceaccount:{home}:{subject['name']}"


def _grants(rule: Object, verb: str, group: str, resource: str, name: str) -> bool:
    only = rule.get("resourceNames")
    return (
        group in rule.get("apiGroups", [])
        and resource in rule.get("resources", [])
        and verb in rule.get("verbs", [])
        and (not only or name in only)
    )
