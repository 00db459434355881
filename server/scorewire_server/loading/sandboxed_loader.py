"""How folders come to serve: by a trial, and then a load of the very bytes that were tried."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeAlias

from scorewire_server.catalog.records import refuse
from scorewire_server.catalog.repository import BundleFolder, Identity
from scorewire_server.engine.snapshot import VersionRecord
from scorewire_server.loading.sandbox import Sandbox

# Loads a folder, if its digest is this one or none is given.
Load: TypeAlias = Callable[[BundleFolder, str], VersionRecord]
# Bundles that passed their trial need none when they are loaded again; older ones do.
_MAX_TRIED = 1000


class SandboxedLoader:
    """Admits folders; to be used from one event loop.

    Args:
        sandbox: where each is tried first; None loads them untried.
        load: runs in a thread, one at a time, since it measures what a row costs.
    """

    def __init__(self, sandbox: Sandbox | None, load: Load) -> None:
        self._sandbox = sandbox
        self._load = load
        # The digest of what was tried, by the identity that its files had before.
        self._tried: dict[Identity, str] = {}
        self._one_load = asyncio.Lock()

    async def load(self, folder: BundleFolder, identity: Identity) -> VersionRecord:
        """Load a folder, or find the reason to refuse it.

        The server reads the files once and parses nothing but what was tried, so
        that a folder that is exchanged meanwhile is refused; as its identity is
        another then, it is tried anew at the next look.
        """
        digest = self._tried.get(identity, "")
        if self._sandbox is not None and not digest:
            tried = await self._sandbox.try_load(folder)
            if tried.reason:
                return refuse(folder, tried.reason)
            digest = tried.digest
            self._remember(identity, digest)
        async with self._one_load:
            record = await asyncio.to_thread(self._load, folder, digest)
        if record.loaded is None:
            self._tried.pop(identity, None)
        return record

    def _remember(self, identity: Identity, digest: str) -> None:
        if len(self._tried) >= _MAX_TRIED:
            del self._tried[next(iter(self._tried))]
        self._tried[identity] = digest
