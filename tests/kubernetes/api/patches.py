"""The patch formats of Kubernetes that the clients send: JSON patch, merge patches, server-side apply."""

from __future__ import annotations

from typing import Any

import yaml

from .kinds import Object, Refused


def patched(obj: Object, content_type: str, body: str) -> Object:
    """The object with the patch applied. Raises Refused (415) for another format."""
    patch = yaml.safe_load(body)  # JSON is YAML, and apply bodies may be either
    if content_type == "application/json-patch+json":
        for operation in patch:
            _apply_operation(obj, operation)
        return obj
    if content_type == "application/merge-patch+json":
        return _merged(obj, patch, by_name=False)
    if content_type in ("application/strategic-merge-patch+json", "application/apply-patch+yaml"):
        return _merged(obj, patch, by_name=True)
    raise Refused(415, f"the body of the request was in an unknown format: {content_type}", "UnsupportedMediaType")


def _apply_operation(obj: Object, operation: dict[str, Any]) -> None:
    *parents, last = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
    holder: Any = obj
    for part in parents:
        holder = holder[int(part)] if isinstance(holder, list) else holder.setdefault(part, {})
    if operation["op"] not in ("add", "replace", "remove"):
        raise Refused(422, f"JSON patch operation {operation['op']!r} is not known to this server")
    if isinstance(holder, list):
        _edit_list(holder, last, operation)
    elif operation["op"] == "remove":
        holder.pop(last, None)
    else:
        holder[last] = operation["value"]


def _edit_list(holder: list[Any], last: str, operation: dict[str, Any]) -> None:
    position = len(holder) if last == "-" else int(last)
    if operation["op"] == "add":
        holder.insert(position, operation["value"])
    elif operation["op"] == "replace":
        holder[position] = operation["value"]
    else:
        del holder[position]


def _merged(target: Any, patch: Any, by_name: bool) -> Any:
    if isinstance(target, dict) and isinstance(patch, dict):
        for key, value in patch.items():
            if value is None:
                target.pop(key, None)
            else:
                target[key] = _merged(target.get(key), value, by_name)
        return target
    if by_name and _named(target) and _named(patch):
        known = {item["name"]: item for item in target}
        known |= {item["name"]: _merged(known.get(item["name"]), item, by_name) for item in patch}
        return list(known.values())
    return patch


def _named(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) and "name" in item for item in value)
