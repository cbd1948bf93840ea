"""Reads what a night published as it comes, so that in the morning nobody waits for it."""

from __future__ import annotations

import logging
import threading

from tailrace.errors import TailraceError
from tailrace.pages import catalog, overview
from tailrace.pages.sources import Sources

log = logging.getLogger(__name__)

SECONDS = 60.0


def keep(sources: Sources, seconds: float = SECONDS) -> threading.Event:
    """Have the overview's part of the lake read now and again, in a thread of its own; setting the event ends it."""
    ended = threading.Event()
    threading.Thread(target=_keep, args=(sources, seconds, ended), name="tailrace-pages", daemon=True).start()
    return ended


def _keep(sources: Sources, seconds: float, ended: threading.Event) -> None:
    while True:
        try:
            specs, _ = catalog.read()
            overview.of_lake(sources, list(specs.values()))
        except TailraceError as error:
            # Whoever opens a page is told the same.
            log.info("The pages could not read ahead: %s", error)
        except Exception:
            log.exception("The pages could not read ahead.")
        if ended.wait(seconds):
            return
