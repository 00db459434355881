"""Tells when the repository may have changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import watchfiles

from scorewire_contract.service.logs import logger

# Events within this time count as one change, since a bundle has several files.
_DEBOUNCE_MS = 400
_STEP_MS = 100
# The system drops events when too many come at once, so a look is due at intervals in any case.
_RESCAN_SECONDS = 30.0


async def changes(models: Path, mode: str, poll_seconds: float) -> AsyncIterator[None]:
    """Yields whenever the repository may have changed; with mode "off" never.

    Args:
        models: the repository.
        mode: "auto" waits for events of the file system; "poll" looks at intervals, since network
            file systems send no events; or "off".
        poll_seconds: the interval of "poll".
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
    """Skips names that begin with a dot: bundles that are being written, and the server's own files."""
    return not Path(path).name.startswith(".")
