"""What a container finds in its environment and under its mount paths."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from pathlib import Path

from .kinds import Object, Refused
from .sandbox import Mount
from .store import Store

TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105  a folder


def environment(store: Store, pod: Object, fields: Mapping[str, str], base: Mapping[str, str]) -> dict[str, str]:
    """`base` under the container's envFrom and env. Raises Refused for a missing config map, secret or key."""
    namespace = pod["metadata"]["namespace"]
    container = pod["spec"]["containers"][0]
    env = dict(base)
    for source in container.get("envFrom") or []:
        for reference, resource in (("configMapRef", "configmaps"), ("secretRef", "secrets")):
            if wanted := source.get(reference):
                prefix = source.get("prefix", "")
                env |= {prefix + key: value for key, value in _data(store, resource, namespace, wanted).items()}
    for entry in container.get("env") or []:
        if "valueFrom" in entry:
            value = _value_from(store, namespace, entry["valueFrom"], fields, container)
        else:
            value = expanded(entry.get("value") or "", env)
        if value is not None:
            env[entry["name"]] = value
    return env


def expanded(text: str, env: Mapping[str, str]) -> str:
    """`$(NAME)` replaced by the variable, `$$(` by a plain `$(`; unknown names stay."""
    return re.sub(r"\$(\$)?\(([\w.-]+)\)", lambda m: m[0][1:] if m[1] else env.get(m[2], m[0]), text)


def mounts(store: Store, pod: Object, folder: Path, token: str) -> list[Mount]:
    """The container's mounts, their volumes written under `folder`. Raises Refused for what is missing."""
    spec = pod["spec"]
    namespace = pod["metadata"]["namespace"]
    volumes = {
        volume["name"]: _volume(store, namespace, volume, folder / volume["name"])
        for volume in spec.get("volumes") or []
    }
    result = []
    for mount in spec["containers"][0].get("volumeMounts") or []:
        if mount["name"] not in volumes:
            raise Refused(422, f'volumeMounts: "{mount["name"]}" names no volume of the pod')
        result.append(Mount(volumes[mount["name"]] / mount.get("subPath", ""), mount["mountPath"]))
    if spec.get("automountServiceAccountToken", True):
        account = folder / "serviceaccount"
        account.mkdir(parents=True)
        (account / "token").write_text(token)
        (account / "namespace").write_text(namespace)
        result.append(Mount(account, TOKEN_PATH))
    return result


def _volume(store: Store, namespace: str, volume: Object, folder: Path) -> Path:
    folder.mkdir(parents=True)
    if "emptyDir" in volume:
        return folder
    for source, resource, name_field in (("configMap", "configmaps", "name"), ("secret", "secrets", "secretName")):
        if wanted := volume.get(source):
            data = _data(store, resource, namespace, {**wanted, "name": wanted[name_field]})
            items = wanted.get("items") or [{"key": key, "path": key} for key in data]
            for item in items:
                (folder / item["path"]).parent.mkdir(parents=True, exist_ok=True)
                (folder / item["path"]).write_text(data[item["key"]])
            return folder
    raise Refused(422, f'volume "{volume["name"]}": this test server knows emptyDir, configMap and secret volumes only')


def _value_from(
    store: Store, namespace: str, source: Object, fields: Mapping[str, str], container: Object
) -> str | None:
    if reference := source.get("fieldRef"):
        return fields[reference["fieldPath"]]
    if reference := source.get("resourceFieldRef"):
        kind, name = reference["resource"].split(".")
        return str(container["resources"][kind][name])
    for key, resource in (("secretKeyRef", "secrets"), ("configMapKeyRef", "configmaps")):
        if reference := source.get(key):
            data = _data(store, resource, namespace, reference)
            if reference["key"] not in data and not reference.get("optional"):
                raise Refused(404, f"couldn't find key {reference['key']} in {namespace}/{reference['name']}")
            return data.get(reference["key"])
    raise Refused(422, f"this test server does not know valueFrom {sorted(source)}")


def _data(store: Store, resource: str, namespace: str, reference: Object) -> dict[str, str]:
    found = store.find(resource, namespace, reference["name"])
    if found is None:
        if reference.get("optional"):
            return {}
        raise Refused(404, f'{resource.rstrip("s")} "{reference["name"]}" not found')
    plain = dict(found.get("data") or {})
    if resource == "secrets":
        plain = {key: base64.b64decode(value).decode() for key, value in plain.items()}
        plain |= found.get("stringData") or {}
    return plain
