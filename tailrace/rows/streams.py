"""Items that one thread hands to another, a few at a time, and whose end it decides."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from queue import Full, Queue
from typing import Any, Generic, TypeVar

T = TypeVar("T")
_ALIVE_SECONDS = 0.1
"""How often a full queue is looked at: nobody empties it after its reader failed."""


class Stopped(Exception):
    """The stream will not end as it should; raised in the thread that reads it."""


class Stream(Generic[T]):
    """Iterated over by one thread, which waits for the items that another one puts. `reading` is what it computes."""

    def __init__(self, waiting: int = 1) -> None:
        self._items: Queue[tuple[T] | BaseException] = Queue(waiting)

    def __iter__(self) -> Iterator[T]:
        while True:
            item = self._items.get()
            if isinstance(item, StopIteration):
                return
            if isinstance(item, BaseException):
                raise item
            yield item[0]

    def put(self, item: T, reading: Future[Any]) -> bool:
        """Hand over an item; False if its reader has failed already."""
        return self._put((item,), reading)

    def end(self, reading: Future[Any]) -> None:
        """Let the reader's iteration end."""
        self._put(StopIteration(), reading)

    def stop(self, reading: Future[Any]) -> None:
        """Let the reader's iteration raise Stopped."""
        self._put(Stopped(), reading)

    def _put(self, item: tuple[T] | BaseException, reading: Future[Any]) -> bool:
        while not reading.done():
            try:
                self._items.put(item, timeout=_ALIVE_SECONDS)
                return True
            except Full:
                continue
        return False
