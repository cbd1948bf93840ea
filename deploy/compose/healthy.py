"""Whether an address answers, and a part of Airflow named after it has a fresh heartbeat: exit code 0 or 1."""

from __future__ import annotations

import json
import sys
import urllib.request


def main(url: str, part: str | None = None) -> None:
    """Exit with a sentence if it is not healthy."""
    with urllib.request.urlopen(url, timeout=8) as answer:  # noqa: S310 - an address of the compose file
        state = json.load(answer)[part]["status"] if part else "healthy"
    if state != "healthy":
        sys.exit(f"{part} is {state}")


if __name__ == "__main__":
    main(*sys.argv[1:])
