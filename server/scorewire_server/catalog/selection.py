"""What the repository has, and which of that is to be loaded unless operators say otherwise."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from pathlib import Path

from scorewire_server.catalog.repository import BundleFolder, Key, scan
from scorewire_server.catalog.version_policy import VersionPolicy


class Selection:
    """The folders of the last look; `selected` are those that the version policy asks for."""

    def __init__(self, models: Path, policy: VersionPolicy) -> None:
        self.folders: dict[Key, BundleFolder] = {}
        self.selected: set[Key] = set()
        self._models = models
        self._policy = policy
        self._one_look = asyncio.Lock()

    async def look(self) -> None:
        """Take in what the repository has; one look after the other, so that the last one counts.

        Raises:
            StartError: the repository cannot be read.
        """
        async with self._one_look:
            found = await asyncio.to_thread(scan, self._models)
            self.folders = {Key(each.model, each.version): each for each in found}
            versions: defaultdict[str, list[str]] = defaultdict(list)
            for each in found:
                versions[each.model].append(each.version)
            self.selected = {
                Key(model, version)
                for model, folders in versions.items()
                for version in self._policy.select(model, folders)
            }
