"""How candidates come to serve: by a trial, and then a load of the very bytes that were tried."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeAlias

from scorewire_server.engine.snapshot import VersionRecord
from scorewire_server.loader import refuse
from scorewire_server.repository import Candidate, Identity
from scorewire_server.trial import Trials

# Loads a candidate, if its digest is this one or none is given.
Load: TypeAlias = Callable[[Candidate, str], VersionRecord]
# Bundles that passed their trial need none when they are loaded again; older ones do.
_MAX_TRIED = 1000


class Admission:
    """Admits candidates; to be used from one event loop.

    Args:
        trials: where each is tried first; None loads them untried.
        load: runs in a thread, one at a time, since it measures what a row costs.
    """

    def __init__(self, trials: Trials | None, load: Load) -> None:
        self._trials = trials
        self._load = load
        # The digest of what was tried, by the identity that its files had before.
        self._tried: dict[Identity, str] = {}
        self._one_load = asyncio.Lock()

    async def admit(self, candidate: Candidate, identity: Identity) -> VersionRecord:
        """Load a candidate, or find the reason to refuse it.

        The server reads the files once and parses nothing but what was tried, so
        that a folder that is exchanged meanwhile is refused; as its identity is
        another then, it is tried anew at the next look.
        """
        digest = self._tried.get(identity, "")
        if self._trials is not None and not digest:
            tried = await self._trials.try_out(candidate)
            if tried.reason:
                return refuse(candidate, tried.reason)
            digest = tried.digest
            self._remember(identity, digest)
        async with self._one_load:
            record = await asyncio.to_thread(self._load, candidate, digest)
        if record.loaded is None:
            self._tried.pop(identity, None)
        return record

    def _remember(self, identity: Identity, digest: str) -> None:
        if len(self._tried) >= _MAX_TRIED:
            del self._tried[next(iter(self._tried))]
        self._tried[identity] = digest
