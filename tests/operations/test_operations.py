"""Operations under load; `python -m tests.operations` runs them at full size."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench import h2load
from tests.conformance.engines import ENGINES
from tests.operations.scenarios import contend, corrupt, kill, publish, serve, swap
from tests.operations.soak import soak

RATE = 60.0


@pytest.mark.parametrize("engine", ENGINES)
async def test_swaps_and_rollbacks_hurt_no_call(tmp_path: Path, engine: str) -> None:
    models = tmp_path / "models"
    publish(models, "1.0.0")
    with serve(tmp_path, models, engine) as server:
        await swap(server, models, swaps=12, rollbacks=4, rate=RATE)


@pytest.mark.parametrize("engine", ENGINES)
async def test_damaged_bundles_are_refused_and_the_old_version_answers(tmp_path: Path, engine: str) -> None:
    models = tmp_path / "models"
    publish(models, "1.0.0")
    with serve(tmp_path, models, engine) as server:
        reasons = await corrupt(server, models, rate=RATE)
    assert len(reasons) >= 50


@pytest.mark.parametrize("engine", ENGINES)
async def test_the_last_of_many_loads_and_unloads_decides(tmp_path: Path, engine: str) -> None:
    models = tmp_path / "models"
    for version in ("1.0.0", "1.1.0", "1.2.0", "1.3.0", "1.4.0"):
        publish(models, version)
    with serve(tmp_path, models, engine) as server:
        ended = await contend(server, callers=8, calls=20, versions=["1.1.0", "1.2.0", "1.3.0"], seed=1)
    assert ended["OK"] == 160


@pytest.mark.skipif(h2load.missing(), reason=h2load.HOW_TO_INSTALL)
@pytest.mark.parametrize("engine", ENGINES)
async def test_a_server_under_calls_and_releases_does_not_grow(tmp_path: Path, engine: str) -> None:
    models = tmp_path / "models"
    publish(models, "1.0.0")
    with serve(tmp_path, models, engine) as server:
        soaked = await soak(server, models, tmp_path, rounds=4, calls=2000, cancels=200)
    assert len(soaked.seen.versions) >= 2


@pytest.mark.parametrize("engine", ENGINES)
def test_no_change_that_was_acknowledged_is_lost_when_the_server_is_killed(
    tmp_path: Path, engine: str
) -> None:
    models = tmp_path / "models"
    for version in ("1.0.0", "1.1.0"):
        publish(models, version)
    assert kill(tmp_path, models, engine, kills=3, seed=1) > 0
