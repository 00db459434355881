from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from scorewire_server.catalog import watch


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_DEBOUNCE_MS", 50)
    monkeypatch.setattr(watch, "_STEP_MS", 10)


async def _next(changes: AsyncIterator[None]) -> None:
    async with asyncio.timeout(60):
        await anext(changes)


async def test_a_bundle_that_appears_is_a_change(models: Path) -> None:
    changes = watch.changes(models, "auto", 60)
    coming = asyncio.ensure_future(_next(changes))
    number = 0
    # Events begin once the watcher is up, and nothing tells when that is.
    while not coming.done():
        (models / "sum" / f"1.{number}.0").mkdir(parents=True)
        number += 1
        await asyncio.sleep(0.05)
    await coming
    await changes.aclose()


async def test_files_in_the_making_are_no_change_for_a_while(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A look at an interval shows that the watcher was up the whole time.
    monkeypatch.setattr(watch, "_RESCAN_SECONDS", 0.5)
    seen: list[set[object]] = []

    async def spy(*_: object, **arguments: object) -> AsyncIterator[set[object]]:
        async for each in real(*_, **arguments):
            seen.append(each)
            yield each

    real = watch.watchfiles.awatch
    monkeypatch.setattr(watch.watchfiles, "awatch", spy)
    changes = watch.changes(models, "auto", 60)
    await _next(changes)
    (models / ".scorewire-state.json").write_text("{}", encoding="utf-8")
    await _next(changes)
    await changes.aclose()
    assert seen == [set(), set()]


async def test_a_folder_without_events_is_polled(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no inotify here")

    monkeypatch.setattr(watch.watchfiles, "awatch", fail)
    changes = watch.changes(models, "auto", 0.01)
    with capture_logs() as logs:
        await _next(changes)
        await _next(changes)
    await changes.aclose()
    assert [entry["reason"] for entry in logs] == ["no inotify here"]


async def test_polling_looks_at_intervals_and_off_never(models: Path) -> None:
    changes = watch.changes(models, "poll", 0.01)
    await _next(changes)
    await _next(changes)
    await changes.aclose()
    assert [each async for each in watch.changes(models, "off", 0.01)] == []
