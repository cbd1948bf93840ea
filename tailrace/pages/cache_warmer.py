"""Reads what a night published as it comes, so that in the morning nobody waits for it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from tailrace.errors import TailraceError
from tailrace.pages import catalog, missed, overview
from tailrace.pages.sources import Sources

log = logging.getLogger(__name__)

SECONDS = 60.0


def keep(sources: Sources, seconds: float = SECONDS) -> threading.Event:
    """Have what the overview shows of lake, landing zone and tracker read now and again, in a thread of its own.

    Setting the event ends it.
    """
    ended = threading.Event()
    threading.Thread(target=_keep, args=(sources, seconds, ended), name="tailrace-pages", daemon=True).start()
    return ended


def _keep(sources: Sources, seconds: float, ended: threading.Event) -> None:
    while True:
        _try(lambda: _read(sources))
        if ended.wait(seconds):
            return


def _read(sources: Sources) -> None:
    specs = list(catalog.read()[0].values())
    _try(lambda: overview.of_lake(sources, specs))
    _try(lambda: missed.look_for_nights(sources))
    _try(lambda: missed.look_for_trainings(sources, specs))


def _try(read: Callable[[], object]) -> None:
    try:
        read()
    except TailraceError as error:
        # Whoever opens a page is told the same.
        log.info("The pages could not read ahead: %s", error)
    except Exception:
        log.exception("The pages could not read ahead.")
