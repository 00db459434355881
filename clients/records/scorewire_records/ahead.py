"""Items that a thread makes before they are wanted."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_T = TypeVar("_T")
_END = object()


def ahead(items: Iterable[_T], depth: int = 1) -> Iterator[_T]:
    """The items in their order; while one is used, a thread makes the next ones, up to `depth` of them.

    Raises:
        Exception: what making an item raises, in that item's place.
    """
    iterator = iter(items)
    with ThreadPoolExecutor(1) as executor:
        running: deque[Future[_T | object]] = deque(
            executor.submit(next, iterator, _END) for _ in range(depth)
        )
        while (item := running.popleft().result()) is not _END:
            running.append(executor.submit(next, iterator, _END))
            yield item  # type: ignore[misc]  # not the mark of the end
