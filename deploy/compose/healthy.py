"""healthy.py URL [PART]: exit code 0 if the URL answers and, with PART, that part of Airflow has a recent heartbeat."""

from __future__ import annotations

import json
import sys
import urllib.request


def main(url: str, part: str | None = None) -> None:
    """Exit with an error if the URL does not answer or the part is not healthy."""
    with urllib.request.urlopen(url, timeout=8) as answer:  # noqa: S310 - an address of the compose file
        state = json.load(answer)[part]["status"] if part else "healthy"
    if state != "healthy":
        sys.exit(f"{part} is {state}")


if __name__ == "__main__":
    main(*sys.argv[1:])
