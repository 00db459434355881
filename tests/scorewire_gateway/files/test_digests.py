from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from pathlib import Path

import pytest
from scorewire_gateway.files import digests as module
from scorewire_gateway.files.digests import Digests
from scorewire_gateway.files.folder import Folder, OpenFile

CONTENT = b"x" * 3_000_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file that was written long ago."""
    path = tmp_path / "a.bin"
    path.write_bytes(CONTENT)
    os.utime(path, (1_700_000_000, 1_700_000_000))
    return path


@pytest.fixture(autouse=True)
def old(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as old at once, since the time of a change of their status cannot be set."""
    monkeypatch.setattr(module, "_FRESH_NS", -1)


def opened(path: Path) -> OpenFile:
    found = Folder(path.parent).open([path.name])
    assert isinstance(found, OpenFile)
    return found


def test_a_digest_is_computed_once_for_each_version(path: Path) -> None:
    async def ask(digests: Digests, count: int) -> set[bytes | None]:
        files = [opened(path) for _ in range(count)]
        found = await asyncio.gather(*map(digests.of, files))
        for file in files:
            file.close()
        return set(found)

    def change() -> None:
        path.write_bytes(b"other")

    async def talk() -> None:
        digests = Digests()
        assert await ask(digests, 5) == {hashlib.sha256(CONTENT).digest()}
        assert await ask(digests, 5) == {hashlib.sha256(CONTENT).digest()}
        assert digests.computed == 1
        change()
        assert await ask(digests, 2) == {hashlib.sha256(b"other").digest()}
        assert digests.computed == 2

    asyncio.run(talk())


def test_a_fresh_file_is_not_remembered(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FRESH_NS", 10**12)

    async def talk() -> None:
        digests = Digests()
        with opened(path) as file:
            assert await digests.of(file) == await digests.of(file) == hashlib.sha256(CONTENT).digest()
        assert digests.computed == 2

    asyncio.run(talk())


def test_a_file_that_changes_meanwhile_has_no_digest(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = module._sha256

    def slow(file: OpenFile) -> bytes:
        with path.open("ab") as appended:
            appended.write(b"y")
        return real(file)

    monkeypatch.setattr(module, "_sha256", slow)

    async def talk() -> None:
        with opened(path) as file:
            assert await Digests().of(file) is None

    asyncio.run(talk())


def test_who_gives_up_does_not_take_the_digest_from_others(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, goes_on = module._sha256, threading.Event()

    def slow(file: OpenFile) -> bytes:
        goes_on.wait(60)
        return real(file)

    monkeypatch.setattr(module, "_sha256", slow)

    async def talk() -> None:
        digests = Digests()
        with opened(path) as file, opened(path) as other:
            first, second = asyncio.create_task(digests.of(file)), asyncio.create_task(digests.of(other))
            await asyncio.sleep(0)
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
            goes_on.set()
            assert await second == hashlib.sha256(CONTENT).digest()
        assert (first.cancelled(), digests.computed) == (True, 1)

    asyncio.run(talk())


def test_what_is_remembered_has_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_REMEMBERED", 3)

    async def talk() -> None:
        digests = Digests()
        for i in range(10):
            (tmp_path / f"{i}").write_bytes(b"x")
            with opened(tmp_path / f"{i}") as file:
                await digests.of(file)
        assert len(digests._known) == 3
        assert digests._running == {}

    asyncio.run(talk())
