"""Stops what `make up` or `make demo` started, in this terminal or another."""

from __future__ import annotations

from rich.console import Console

from scripts import processes
from tailrace import settings


def main() -> None:
    """Stop the processes, and print their names."""
    home = settings.load().home / "airflow"
    ended = processes.end(home / "processes")
    (home / "login.json").unlink(missing_ok=True)
    Console().print(f"Ended: {', '.join(ended)}." if ended else f"No process of {home} was running.", soft_wrap=True)


if __name__ == "__main__":
    main()
