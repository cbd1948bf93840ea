"""What Kubernetes checks of a new pod before it stores it, and what this server cannot run."""

from __future__ import annotations

from .kinds import Object, Refused
from .store import Store


def admit(store: Store, namespace: str, pod: Object) -> Object:
    """The pod with its defaults filled in. Raises Refused (403 by policy, 422 for what cannot run here)."""
    spec = pod.get("spec") or {}
    name = pod["metadata"].get("name") or pod["metadata"].get("generateName", "")
    account = spec.get("serviceAccountName") or spec.get("serviceAccount") or "default"
    spec |= {"serviceAccountName": account, "serviceAccount": account}
    if account != "default" and store.find("serviceaccounts", namespace, account) is None:
        raise Refused(
            403,
            f'pods "{name}" is forbidden: error looking up service account {namespace}/{account}: '
            f'serviceaccount "{account}" not found',
        )
    if spec.get("restartPolicy", "Always") != "Never" or len(spec.get("containers") or []) != 1:
        raise Refused(422, f'Pod "{name}": this test server runs pods of one container with restartPolicy Never only')
    labels = store.get("namespaces", "", namespace)["metadata"].get("labels") or {}
    if labels.get("pod-security.kubernetes.io/enforce") == "restricted" and (faults := restricted_faults(spec)):
        raise Refused(403, f'pods "{name}" is forbidden: violates PodSecurity "restricted:latest": {", ".join(faults)}')
    _check_quota(store, namespace, name)
    return pod


def restricted_faults(spec: Object) -> list[str]:
    """The Pod Security Standard `restricted`, https://kubernetes.io/docs/concepts/security/pod-security-standards/"""
    pod = spec.get("securityContext") or {}
    faults = [field for field in ("hostNetwork", "hostPID", "hostIPC") if spec.get(field)]
    faults += [f"hostPath volume {volume['name']}" for volume in spec.get("volumes") or [] if "hostPath" in volume]
    for container in [*(spec.get("initContainers") or []), *spec["containers"]]:
        own = container.get("securityContext") or {}
        effective = pod | own
        subject = f'container "{container["name"]}" must set securityContext.'
        if own.get("allowPrivilegeEscalation") is not False:
            faults.append(subject + "allowPrivilegeEscalation=false")
        if "ALL" not in (own.get("capabilities") or {}).get("drop", []):
            faults.append(subject + 'capabilities.drop=["ALL"]')
        if effective.get("runAsNonRoot") is not True:
            faults.append(subject + "runAsNonRoot=true")
        if (effective.get("seccompProfile") or {}).get("type") not in ("RuntimeDefault", "Localhost"):
            faults.append(subject + "seccompProfile.type=RuntimeDefault")
    return faults


def _check_quota(store: Store, namespace: str, name: str) -> None:
    running = [pod for pod in store.all("pods", namespace) if pod["status"]["phase"] in ("Pending", "Running")]
    for quota in store.all("resourcequotas", namespace):
        limit = quota["spec"].get("hard", {}).get("pods")
        if limit is not None and len(running) >= int(limit):
            raise Refused(
                403,
                f'pods "{name}" is forbidden: exceeded quota: {quota["metadata"]["name"]}, '
                f"requested: pods=1, used: pods={len(running)}, limited: pods={limit}",
            )
