"""Whatever a manifest says, the bundle is refused with a reason or serves, and others serve on."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from scorewire_contract.bundle import read_bundle
from scorewire_proto.v1 import models_pb2
from scorewire_server.engine.choice import choose
from scorewire_server.engine.snapshot import build_snapshot
from scorewire_server.loader import load
from scorewire_server.repository import Candidate
from scorewire_server.settings import Settings
from tests import bundles
from tests.conformance.engines import ENGINES
from tests.hostile import hostile_bundles


@pytest.mark.parametrize("engine", ENGINES)
async def test_every_hostile_bundle_is_refused_with_a_reason_or_can_be_published(
    tmp_path: Path, engine: str
) -> None:
    kind = choose(engine)
    running = kind.make(Settings(), ())
    open_graph = partial(kind.open_session, threads=1)
    sound = bundles.write_sum_bundle(tmp_path / "sound", model="healthy")
    healthy = load(Candidate(sound, "healthy", "1.0.0"), open_graph, running.prepare)
    assert healthy.loaded is not None
    refused = served = 0
    for number, hostile in enumerate(hostile_bundles(tmp_path / "bundles")):
        path = hostile.write(tmp_path / "hostile" / str(number))
        candidate = Candidate(path, str(hostile.model), str(hostile.version))
        record = load(candidate, open_graph, running.prepare)
        if record.loaded is None:
            refused += 1
            assert record.reason, hostile.what
            assert record.reason.isprintable(), hostile.what
        else:
            served += 1
            assert record.loaded.digest == read_bundle(path).digest
        snapshot = build_snapshot([healthy, record])
        running.publish(snapshot)
        for each in (healthy, record):
            told = models_pb2.VersionStatus(version=each.version, state=each.state, reason=each.reason)
            assert told.SerializeToString() or each.loaded is None
    assert refused > 500
    assert served > 100
    await running.stop(0)
