"""Loads hostile bundles: each must be refused with a reason, or serve next to a healthy bundle."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from scorewire_contract.bundle import read_bundle
from scorewire_proto.v1 import models_pb2
from scorewire_server.catalog.repository import BundleFolder
from scorewire_server.engine.factory import choose_engine
from scorewire_server.engine.snapshot_builder import build_snapshot
from scorewire_server.loading.loader import load
from scorewire_server.settings import Settings
from tests import bundles
from tests.hostile import hostile_bundles


async def load_hostile(folder: Path, engine: str, *, every: int = 1) -> tuple[int, int]:
    """Load every `every`-th hostile bundle; returns how many were refused, and how many serve."""
    kind = choose_engine(engine)
    running = kind.make(Settings(), ())
    open_graph = partial(kind.open_session, threads=1)
    sound = bundles.write_sum_bundle(folder / "sound", model="healthy")
    healthy = load(BundleFolder(sound, "healthy", "1.0.0"), open_graph, running.prepare)
    assert healthy.loaded is not None
    refused = served = 0
    for number, hostile in enumerate(hostile_bundles(folder / "bundles")):
        if number % every:
            continue
        path = hostile.write(folder / "hostile" / str(number))
        record = load(
            BundleFolder(path, str(hostile.model), str(hostile.version)), open_graph, running.prepare
        )
        if record.loaded is None:
            refused += 1
            assert record.reason, hostile.what
            assert record.reason.isprintable(), hostile.what
        else:
            served += 1
            assert record.loaded.digest == read_bundle(path).digest
        running.publish(build_snapshot([healthy, record]))
        told = models_pb2.VersionStatus(version=record.version, reason=record.reason)
        assert told.SerializeToString()
    await running.stop(0)
    return refused, served
