"""The folders of the repository, and the versions among them that the version policy selects."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from pathlib import Path

from scorewire_server.catalog.repository import BundleFolder, Key, scan
from scorewire_server.catalog.version_policy import VersionPolicy


class Selection:
    """The result of the last look at the repository.

    Attributes:
        folders: every folder of a version.
        selected: the versions that the version policy selects.
    """

    def __init__(self, models: Path, policy: VersionPolicy) -> None:
        self.folders: dict[Key, BundleFolder] = {}
        self.selected: set[Key] = set()
        self._models = models
        self._policy = policy
        self._one_look = asyncio.Lock()

    async def look(self) -> None:
        """List the folders of the repository anew.

        Looks run one after the other, so that the latest result stays.

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
