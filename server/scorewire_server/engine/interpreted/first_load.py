"""Predictions for models that are not there wait while the first bundles are loaded.

A client that balances over servers calls one as soon as it takes connections.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from scorewire_server.engine.interpreted.failures import draining


class FirstLoad:
    """Whether bundles are loaded for the first time; to be used from one event loop.

    Attributes:
        settled: they are not, and the server has not stopped meanwhile.
    """

    def __init__(self) -> None:
        self.settled = True
        self._on = False
        self._changed = asyncio.Event()

    def tell(self, *, on: bool) -> None:
        """Tell of another snapshot, and whether models are still to come."""
        self._on = on
        self.settled = not on
        self._wake()

    def give_up(self) -> None:
        """End the loading of a server that stops."""
        self._on = False
        self._wake()

    async def wait_for(self, is_there: Callable[[], bool]) -> None:
        """Wait for what a call asks for, until all is loaded.

        Raises:
            CallError: the server stops before.
        """
        while not is_there():
            if not self._on:
                if not self.settled:
                    raise draining()
                return
            await self._changed.wait()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
