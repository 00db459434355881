"""Says when the folder of bundles should be looked at anew."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import watchfiles

from scorewire_server.logs import logger

# Changes that come within this time are one: a bundle has several files.
_DEBOUNCE_MS = 400
_STEP_MS = 100
# Events can be lost, as when too much happens at once; then this finds what they would have told.
_RESCAN_SECONDS = 30.0


async def changes(models: Path, mode: str, poll_seconds: float) -> AsyncIterator[None]:
    """One item whenever something may have changed; none with mode "off".

    Args:
        models: the folder.
        mode: "auto" for the system's events, "poll" for a look at intervals, as
            network file systems need, or "off".
        poll_seconds: the interval.
    """
    if mode == "off":
        return
    if mode == "auto":
        try:
            watcher = watchfiles.awatch(
                models,
                watch_filter=_concerns_bundles,
                debounce=_DEBOUNCE_MS,
                step=_STEP_MS,
                rust_timeout=round(_RESCAN_SECONDS * 1000),
                yield_on_timeout=True,
            )
            async for _ in watcher:
                yield
        except (OSError, RuntimeError) as error:
            logger().warning("no events of the folder of bundles; polling", reason=str(error))
    while True:
        await asyncio.sleep(poll_seconds)
        yield


def _concerns_bundles(_: watchfiles.Change, path: str) -> bool:
    """Bundles in the making, and what the server itself keeps, have names that begin with a dot."""
    return not Path(path).name.startswith(".")
