"""What Kubernetes reports about a container that does not start."""

from __future__ import annotations

import re

WRONG_CONFIGURATION = "CreateContainerConfigError"
WRONG_IMAGE = ("InvalidImageName", "ErrImageNeverPull")
"""Reasons of a waiting container for which more waiting cannot help."""

PULL_FAILED = ("ErrImagePull", "ImagePullBackOff")
"""Two reasons that mean either a wrong name or a registry that is down. The message may tell which; kubelets before
1.32 give ImagePullBackOff no message."""

_FINAL = re.compile(
    r"not found|manifest unknown|does not exist|repository name not known|invalid reference|unauthorized|denied"
    r"|forbidden|authentication required|no basic auth",
    re.IGNORECASE,
)
"""Answers of registries about a wrong name or account."""


def image_is_wrong(reason: str, message: str) -> bool:
    """Whether another attempt to pull the image would fail too."""
    return reason in WRONG_IMAGE or (reason in PULL_FAILED and bool(_FINAL.search(message)))


def exceeds_quota(message: str) -> bool:
    """Whether the API server refused a pod because of the namespace's quota."""
    return "exceeded quota" in message


def never_fits(message: str) -> bool:
    """Whether a pod that was refused for the quota asks for more than the total quota: then waiting cannot help.

    The message comes from the API server: `exceeded quota: q, requested: pods=1, used: pods=9, limited: pods=9`.
    """
    from kubernetes.utils.quantity import parse_quantity

    requested, limited = (_amounts(message, word) for word in ("requested", "limited"))
    return any(parse_quantity(amount) > parse_quantity(limited.get(name, amount)) for name, amount in requested.items())


def _amounts(message: str, word: str) -> dict[str, str]:
    found = re.search(rf"{word}: ((?:[\w./-]+=\w+,?)+)", message)
    return dict(pair.split("=") for pair in found[1].strip(",").split(",")) if found else {}
