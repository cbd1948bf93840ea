"""What Kubernetes says of a container that does not start."""

from __future__ import annotations

import re

WRONG_CONFIGURATION = "CreateContainerConfigError"
WRONG_IMAGE = ("InvalidImageName", "ErrImageNeverPull")
"""Reasons of a waiting container that no further waiting cures."""

PULL_FAILED = ("ErrImagePull", "ImagePullBackOff")
"""The same two for a wrong name and for a registry that is down. The message may tell them apart; kubelets before 1.32
give ImagePullBackOff none."""

_FINAL = re.compile(
    r"not found|manifest unknown|does not exist|repository name not known|invalid reference|unauthorized|denied"
    r"|forbidden|authentication required|no basic auth",
    re.IGNORECASE,
)
"""What registries answer about a name or an account that is wrong."""


def image_is_wrong(reason: str, message: str) -> bool:
    """Whether pulling the image again would fail again."""
    return reason in WRONG_IMAGE or (reason in PULL_FAILED and bool(_FINAL.search(message)))


def exceeds_quota(message: str) -> bool:
    """Whether the API server refused a pod for the namespace's quota."""
    return "exceeded quota" in message


def never_fits(message: str) -> bool:
    """Whether a pod that was refused for the quota asks for more than the whole quota: no waiting makes room for it.

    The message is the API server's: `exceeded quota: q, requested: pods=1, used: pods=9, limited: pods=9`.
    """
    from kubernetes.utils.quantity import parse_quantity

    requested, limited = (_amounts(message, word) for word in ("requested", "limited"))
    return any(parse_quantity(amount) > parse_quantity(limited.get(name, amount)) for name, amount in requested.items())


def _amounts(message: str, word: str) -> dict[str, str]:
    found = re.search(rf"{word}: ((?:[\w./-]+=\w+,?)+)", message)
    return dict(pair.split("=") for pair in found[1].strip(",").split(",")) if found else {}
