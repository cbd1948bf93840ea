"""Label and field selectors, as a query string holds them."""

from __future__ import annotations

import re

from .kinds import Object, Refused

_TERM_COMMA = re.compile(r",(?![^(]*\))")
_SET_TERM = re.compile(r"(\S+)\s+(in|notin)\s*\(([^)]*)\)")


def selects(labels: str | None, fields: str | None, obj: Object) -> bool:
    """Whether the object matches both selectors; an empty selector matches everything."""
    return _labels_match(labels or "", obj["metadata"].get("labels") or {}) and _fields_match(fields or "", obj)


def _labels_match(selector: str, labels: dict[str, str]) -> bool:
    return all(_label_matches(term.strip(), labels) for term in _TERM_COMMA.split(selector) if term.strip())


def _label_matches(term: str, labels: dict[str, str]) -> bool:
    if found := _SET_TERM.fullmatch(term):
        key, operator, values = found.groups()
        among = labels.get(key) in [value.strip() for value in values.split(",")]
        return among == (operator == "in")
    if "!=" in term:
        key, value = term.split("!=", 1)
        return labels.get(key.strip()) != value.strip()
    if "=" in term:
        key, value = re.split("==?", term, maxsplit=1)
        return labels.get(key.strip()) == value.strip()
    if term.startswith("!"):
        return term[1:] not in labels
    return term in labels


def _fields_match(selector: str, obj: Object) -> bool:
    return all(_field_matches(term, obj) for term in selector.split(",") if term)


def _field_matches(term: str, obj: Object) -> bool:
    found = re.fullmatch(r"([\w.]+)(==|!=|=)(.*)", term)
    if not found:
        raise Refused(400, f"invalid field selector {term!r}", "BadRequest")
    path, operator, value = found.groups()
    actual: object = obj
    for part in path.split("."):
        actual = actual.get(part) if isinstance(actual, dict) else None
    return (str(actual or "") == value) == (operator != "!=")
