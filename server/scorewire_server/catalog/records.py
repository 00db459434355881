"""The record of each version that is known: its state, and why it does not serve."""

from __future__ import annotations

from dataclasses import replace

from scorewire_contract.service.printable import printable
from scorewire_proto.v1 import models_pb2
from scorewire_server.catalog.repository import BundleFolder, Key
from scorewire_server.engine.snapshot import VersionRecord, state_name
from scorewire_server.errors import clip

_MAX_REASON = 1000


class Records(dict[Key, VersionRecord]):
    """The records of all versions, by key."""

    def serves(self, key: Key) -> bool:
        """Whether a version is loaded and answers calls."""
        record = self.get(key)
        return record is not None and record.loaded is not None

    def describe(self, key: Key) -> str:
        """The state of a version, as words for people."""
        record, state = self.get(key), "not in the repository"
        if record is not None:
            state = state_name(record.state).lower()
            state += f" ({record.reason})" if record.reason else ""
        return f"version {clip(key.version)!r} of model {clip(key.model)!r} is {state}"


def announce(folder: BundleFolder) -> VersionRecord:
    """The record of a version that is about to be loaded."""
    return VersionRecord(model=folder.model, version=folder.version, state=models_pb2.VERSION_STATE_LOADING)


def refuse(folder: BundleFolder, reason: str) -> VersionRecord:
    """The record of a version that must not serve."""
    # The reason may quote names of files and texts of the graph.
    reason = printable(reason[:_MAX_REASON])
    return replace(announce(folder), state=models_pb2.VERSION_STATE_REFUSED, reason=reason)
