"""Versions whose graph is a function of the test's own."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scorewire_contract.bundle import Bundle
from scorewire_contract.scoring import RunGraph, Scorer
from scorewire_proto.v1 import models_pb2
from scorewire_server.engine.snapshot import LoadedVersion, Snapshot, VersionRecord, build_snapshot


class Gate:
    """A graph that waits until it is let go, and then answers zeros."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.open = threading.Event()
        self.runs = 0

    def run(self, names: list[str], feeds: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        self.runs += 1
        self.entered.release()
        assert self.open.wait(20)
        return [np.zeros((len(next(iter(feeds.values()))), 1)) for _ in names]


def zeros(names: list[str], feeds: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
    return [np.zeros((len(next(iter(feeds.values()))), 1)) for _ in names]


def loaded_version(bundle: Bundle, run: RunGraph, *, row_ns: float = 1.0) -> LoadedVersion:
    """The bundle's version, with another graph and another cost of a row."""
    return LoadedVersion(
        model=bundle.model,
        version=bundle.version.text,
        fingerprint=bundle.manifest.schema.fingerprint,
        output_names=tuple(output.name for output in bundle.manifest.schema.outputs),
        manifest=bundle.manifest,
        scorer=Scorer(bundle.manifest.schema, bundle.manifest.coding, run),
        row_ns=row_ns,
    )


def snapshot_of(*versions: LoadedVersion) -> Snapshot:
    """A snapshot in which these serve."""
    return build_snapshot(
        VersionRecord(
            model=version.model,
            version=version.version,
            state=models_pb2.VERSION_STATE_SERVING,
            loaded=version,
        )
        for version in versions
    )
