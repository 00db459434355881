from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from scorewire_server.catalog.repository import BundleFolder, identify, scan
from scorewire_server.engine.reference.session import open_session
from scorewire_server.engine.snapshot import VersionRecord
from scorewire_server.loading.loader import load
from scorewire_server.loading.sandbox import Sandbox, SandboxResult
from scorewire_server.loading.sandboxed_loader import SandboxedLoader
from tests import bundles


class FakeSandbox(Sandbox):
    """Passes every valid bundle; calls `then` between the sandbox and the load."""

    def __init__(self) -> None:
        self.tried: list[str] = []
        self.then: Callable[[], object] = lambda: None

    async def try_load(self, folder: BundleFolder) -> SandboxResult:
        record = _load(folder, "")
        self.tried.append(folder.version)
        self.then()
        return SandboxResult(record.reason, record.loaded.digest if record.loaded is not None else "")


def _load(folder: BundleFolder, digest: str) -> VersionRecord:
    return load(folder, partial(open_session, threads=1), digest=digest)


def _value(record: VersionRecord) -> float:
    assert record.loaded is not None, record.reason
    graph = record.loaded.scorer.run
    return float(graph(["value"], {"features": np.zeros((1, 3))})[0][0, 0])


@pytest.fixture
def sandbox() -> FakeSandbox:
    return FakeSandbox()


@pytest.fixture
def loader(sandbox: FakeSandbox) -> SandboxedLoader:
    return SandboxedLoader(sandbox, _load)


async def _load_in(loader: SandboxedLoader, models: Path) -> VersionRecord:
    (folder,) = scan(models)
    return await loader.load(folder, identify(folder.path))


async def test_what_passed_the_sandbox_is_loaded_again_without_one(
    models: Path, loader: SandboxedLoader, sandbox: FakeSandbox
) -> None:
    bundles.write_sum_bundle(models)
    for _ in range(2):
        assert _value(await _load_in(loader, models)) == 0.0
    assert sandbox.tried == ["1.0.0"]


async def test_a_folder_exchanged_between_the_sandbox_and_its_load_is_refused_and_tried_anew(
    models: Path, tmp_path: Path, loader: SandboxedLoader, sandbox: FakeSandbox
) -> None:
    path = bundles.write_sum_bundle(models)
    other = bundles.write_sum_bundle(tmp_path / "other", offset=7.0)

    def exchange() -> None:
        path.rename(tmp_path / "away")
        other.rename(path)
        sandbox.then = lambda: None

    sandbox.then = exchange
    record = await _load_in(loader, models)
    assert record.loaded is None
    assert "its files have changed meanwhile" in record.reason
    assert _value(await _load_in(loader, models)) == 7.0
    assert sandbox.tried == ["1.0.0", "1.0.0"]


async def test_files_of_equal_size_and_restored_times_are_tried_anew(
    models: Path, loader: SandboxedLoader, sandbox: FakeSandbox
) -> None:
    manifest = bundles.write_sum_bundle(models) / "manifest.json"
    await _load_in(loader, models)
    before, status = identify(manifest.parent), manifest.stat()
    content = manifest.read_bytes().replace(b"Adds its features.", b"Hides its changes.")
    with manifest.open("r+b") as same:
        same.write(content)
    os.utime(manifest, ns=(status.st_atime_ns, status.st_mtime_ns))
    after = identify(manifest.parent)
    # Everything but the time of change, which cannot be set back, is the same.
    assert [each[:4] for each in after] == [each[:4] for each in before]
    assert after != before
    record = await _load_in(loader, models)
    assert record.loaded is not None
    assert record.loaded.manifest.description == "Hides its changes."
    assert sandbox.tried == ["1.0.0", "1.0.0"]


async def test_bytes_that_were_not_tried_are_not_loaded_even_if_their_files_look_the_same(
    models: Path, tmp_path: Path, loader: SandboxedLoader, sandbox: FakeSandbox
) -> None:
    bundles.write_sum_bundle(models)
    (folder,) = scan(models)
    identity = identify(folder.path)
    await loader.load(folder, identity)
    folder.path.rename(tmp_path / "away")
    bundles.write_sum_bundle(models, offset=2.0)
    record = await loader.load(folder, identity)
    assert "its files have changed meanwhile" in record.reason
    assert _value(await loader.load(folder, identity)) == 2.0
    assert sandbox.tried == ["1.0.0", "1.0.0"]


async def test_loads_in_the_server_follow_each_other(models: Path, sandbox: FakeSandbox) -> None:
    for version in ("1.0.0", "1.1.0", "1.2.0"):
        bundles.write_sum_bundle(models, version=version)
    running = most = 0

    def one(folder: BundleFolder, digest: str) -> VersionRecord:
        nonlocal running, most
        running += 1
        most = max(most, running)
        record = _load(folder, digest)
        running -= 1
        return record

    loader = SandboxedLoader(sandbox, one)
    await asyncio.gather(*(loader.load(each, identify(each.path)) for each in scan(models)))
    assert most == 1
