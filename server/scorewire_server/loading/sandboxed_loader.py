"""Loads a version in the sandbox first, and then, in the server, the very bytes that passed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeAlias

from scorewire_server.catalog.records import refuse
from scorewire_server.catalog.repository import BundleFolder, Identity
from scorewire_server.engine.snapshot import VersionRecord
from scorewire_server.loading.sandbox import Sandbox

# Loads the version in a folder; a digest that is not "" must be the bundle's.
LoadBundle: TypeAlias = Callable[[BundleFolder, str], VersionRecord]
# A bundle that passed the sandbox is not loaded there again, unless this many others have passed since.
_MAX_PASSED = 1000


class SandboxedLoader:
    """Loads versions; to be used from one event loop.

    Args:
        sandbox: where each bundle is loaded first; None loads bundles in the server only.
        load: loads a bundle in the server. Runs in a thread, one load at a time, since it measures the
            cost of a row.
    """

    def __init__(self, sandbox: Sandbox | None, load: LoadBundle) -> None:
        self._sandbox = sandbox
        self._load = load
        # The digest of each bundle that passed, by the identity that its files had before.
        self._passed: dict[Identity, str] = {}
        self._one_load = asyncio.Lock()

    async def load(self, folder: BundleFolder, identity: Identity) -> VersionRecord:
        """Load a version, or find the reason to refuse it.

        The server loads only a bundle with the digest that passed the sandbox. So a
        folder that is exchanged in between is refused. The new files have another
        identity, and the next look at the repository loads them through the sandbox.
        """
        digest = self._passed.get(identity, "")
        if self._sandbox is not None and not digest:
            result = await self._sandbox.try_load(folder)
            if result.reason:
                return refuse(folder, result.reason)
            digest = result.digest
            self._remember(identity, digest)
        async with self._one_load:
            record = await asyncio.to_thread(self._load, folder, digest)
        if record.loaded is None:
            self._passed.pop(identity, None)
        return record

    def _remember(self, identity: Identity, digest: str) -> None:
        if len(self._passed) >= _MAX_PASSED:
            del self._passed[next(iter(self._passed))]
        self._passed[identity] = digest
