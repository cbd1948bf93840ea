"""Reads what a night publishes into the cache as it arrives, so that nobody has to wait for it in the morning."""

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
    """Regularly read what the overview shows of lake, landing zone and tracker, in a thread of its own.

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
        # A user who opens a page sees the same error.
        log.info("The pages could not fill their cache: %s", error)
    except Exception:
        log.exception("The pages could not fill their cache.")
