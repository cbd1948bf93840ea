"""Ends what `make up` or `make demo` started, wherever it was started."""

from __future__ import annotations

from rich.console import Console

from scripts import processes
from tailrace import settings


def main() -> None:
    """End it, and say what ran."""
    home = settings.load().home / "airflow"
    ended = processes.end(home / "processes")
    (home / "login.json").unlink(missing_ok=True)
    Console().print(f"Ended: {', '.join(ended)}." if ended else f"Nothing of {home} ran.", soft_wrap=True)


if __name__ == "__main__":
    main()
