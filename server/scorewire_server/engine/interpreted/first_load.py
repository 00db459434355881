"""Lets predictions wait while the first bundles are loaded.

A client that balances over servers calls a new one as soon as it accepts
connections. While the first bundles are loaded, a prediction for an unknown model
waits instead of failing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from scorewire_server.engine.interpreted.failures import draining


class FirstLoad:
    """Whether the first bundles are being loaded; to be used from one event loop.

    Attributes:
        settled: whether they are loaded; stays false if the server stops before.
    """

    def __init__(self) -> None:
        self.settled = True
        self._loading = False
        self._changed = asyncio.Event()

    def update(self, *, loading: bool) -> None:
        """Take note of a new snapshot; `loading` says whether more models are to come."""
        self._loading = loading
        self.settled = not loading
        self._wake()

    def give_up(self) -> None:
        """End all waiting, since the server stops."""
        self._loading = False
        self._wake()

    async def wait_for(self, is_there: Callable[[], bool]) -> None:
        """Wait until the model of a call is loaded, or until all bundles are.

        Args:
            is_there: tells whether the snapshot has the model.

        Raises:
            DrainingError: the server stops before.
        """
        while not is_there():
            if not self._loading:
                if not self.settled:
                    raise draining()
                return
            await self._changed.wait()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
