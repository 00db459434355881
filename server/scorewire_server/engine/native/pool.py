"""Lends the extension's threads for large batches to Python."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from threading import Lock
from typing import Any, ParamSpec, TypeVar

import scorewire_native

_P = ParamSpec("_P")
_T = TypeVar("_T")


class NativePool(Executor):
    """An executor on the extension's threads, so that --batch-threads bounds the work of both sides."""

    def __init__(self, native: scorewire_native.Engine) -> None:
        self._native = native
        self._waiting: set[Future[Any]] = set()
        self._lock = Lock()

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Queue a function for a thread."""
        future: Future[_T] = Future()

        def task() -> None:
            with self._lock:
                self._waiting.discard(future)
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)

        with self._lock:
            self._waiting.add(future)
        self._native.run(task)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002 - the threads are the extension's
        """Cancel the functions that wait for a thread; the threads end with the extension."""
        with self._lock:
            waiting, self._waiting = self._waiting, set()
        for future in waiting:
            future.cancel()
