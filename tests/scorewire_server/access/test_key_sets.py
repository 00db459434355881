from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from scorewire_server.access.fetching import FetchError
from scorewire_server.access.issuers import KeysUrl
from scorewire_server.access.key_sets import FileKeys, RemoteKeys
from scorewire_server.access.refusal import RefusedError
from tests.forgeries.world import ISSUER
from tests.scorewire_server.access.issuing import COOLDOWN, STALE, URL, Clock, key_set_of, make_issuer

REFRESH = 300.0


class _Server:
    """Gives an answer to each fetch, and counts them."""

    def __init__(self, answer: bytes | Exception) -> None:
        self.answer = answer
        self.fetches = 0
        self.answers = asyncio.Event()
        self.answers.set()

    async def get(self, url: KeysUrl, max_bytes: int) -> bytes:
        assert url == URL
        assert max_bytes <= 1 << 20
        self.fetches += 1
        await self.answers.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class _Keys:
    """Keys of a server, with a clock; and how many times keys were lost."""

    def __init__(self, answer: bytes | Exception) -> None:
        self.clock = Clock()
        self.server = _Server(answer)
        self.lost = 0
        self.keys = RemoteKeys(make_issuer(), URL, self._lose, get=self.server.get, clock=self.clock)

    def _lose(self) -> None:
        self.lost += 1

    async def knows(self, key_id: str) -> bool:
        try:
            return (await self.keys.find(key_id)).key_id == key_id
        except RefusedError:
            return False

    async def tick(self) -> None:
        """A tick, and what it has begun."""
        self.keys.tick()
        await until(lambda: self.keys._fetching is None)


async def until(true: Callable[[], bool]) -> None:
    while not true():  # noqa: ASYNC110 - of many conditions
        await asyncio.sleep(0.001)


async def test_the_first_token_has_the_keys_fetched_and_the_next_one_finds_them() -> None:
    world = _Keys(key_set_of("ec"))
    assert await world.knows("ec")
    assert await world.knows("ec")
    assert world.server.fetches == 1
    assert (world.keys.fetched, world.keys.failed) == (1, 0)


async def test_tokens_that_come_together_share_one_fetch() -> None:
    world = _Keys(key_set_of("ec"))
    world.server.answers.clear()
    asked = [asyncio.create_task(world.knows("ec")) for _ in range(50)]
    await until(lambda: world.server.fetches == 1)
    world.server.answers.set()
    assert all(await asyncio.gather(*asked))
    assert world.server.fetches == 1


async def test_a_flood_of_unknown_keys_causes_one_fetch_in_each_cooldown() -> None:
    world = _Keys(key_set_of("ec"))
    assert await world.knows("ec")
    begun = world.clock.now
    for number in range(100_000):
        world.clock.now = begun + number / 1000  # 100 seconds in all
        assert not await world.knows(secrets.token_hex(8))
    seconds = world.clock.now - begun
    assert world.server.fetches == 1 + int(seconds / COOLDOWN)
    assert await world.knows("ec")


async def test_a_flood_during_a_fetch_leaves_a_bounded_number_waiting() -> None:
    world = _Keys(key_set_of("ec"))
    world.server.answers.clear()
    asked = [asyncio.create_task(world.knows(secrets.token_hex(8))) for _ in range(1000)]
    await until(lambda: sum(task.done() for task in asked) == 1000 - 64)
    world.server.answers.set()
    assert not any(await asyncio.gather(*asked))
    assert world.server.fetches == 1


async def test_known_keys_are_found_while_a_fetch_hangs() -> None:
    world = _Keys(key_set_of("ec"))
    assert await world.knows("ec")
    world.server.answers.clear()
    world.clock.now += COOLDOWN
    waiting = asyncio.create_task(world.knows("unknown"))
    await until(lambda: world.server.fetches == 2)
    assert await world.knows("ec")
    world.keys.close()
    assert not await waiting


async def test_a_caller_that_gives_up_does_not_end_the_fetch_of_others() -> None:
    world = _Keys(key_set_of("ec"))
    world.server.answers.clear()
    first, second = (asyncio.create_task(world.knows("ec")) for _ in range(2))
    await until(lambda: world.server.fetches == 1)
    first.cancel()
    await asyncio.sleep(0)
    world.server.answers.set()
    assert await second


async def test_a_new_key_is_found_after_the_cooldown() -> None:
    world = _Keys(key_set_of("ec"))
    assert await world.knows("ec")
    world.server.answer = key_set_of("ec", "ed")
    world.clock.now += COOLDOWN - 1
    assert not await world.knows("ed")
    world.clock.now += 1
    assert await world.knows("ed")
    assert world.lost == 0


async def test_keys_are_fetched_at_intervals_without_a_token() -> None:
    world = _Keys(key_set_of("ec"))
    await world.tick()
    assert world.server.fetches == 1
    world.clock.now += REFRESH - 1
    await world.tick()
    assert world.server.fetches == 1
    world.clock.now += 1
    await world.tick()
    assert world.server.fetches == 2


@pytest.mark.parametrize("answer", [key_set_of("ed"), key_set_of("rsa", "ed")])
async def test_a_key_that_is_gone_is_refused_and_remembered_tokens_are_verified_again(answer: bytes) -> None:
    world = _Keys(key_set_of("ec", "ed"))
    await world.tick()
    assert world.lost == 0
    world.server.answer = answer
    world.clock.now += REFRESH
    await world.tick()
    assert world.lost == 1
    assert not await world.knows("ec")
    assert await world.knows("ed")


@pytest.mark.parametrize(
    "failure", [FetchError("the server answers 500"), b"<html>", b'{"keys": []}', RuntimeError("fault")]
)
async def test_a_failed_fetch_leaves_the_keys_and_is_tried_again_after_the_cooldown(
    failure: bytes | Exception,
) -> None:
    world = _Keys(key_set_of("ec"))
    await world.tick()
    world.server.answer = failure
    world.clock.now += REFRESH
    with capture_logs() as logs:
        for _ in range(10):
            await world.tick()
            assert await world.knows("ec")
            world.clock.now += COOLDOWN / 2
    assert world.server.fetches == 1 + 5
    assert (world.keys.fetched, world.keys.failed) == (1, 5)
    assert sum("cannot be fetched" in line["event"] for line in logs) == 1
    world.server.answer = key_set_of("ec")
    world.clock.now += COOLDOWN
    with capture_logs() as logs:
        await world.tick()
    assert [line["event"] for line in logs] == ["keys of an issuer fetched"]


async def test_stale_keys_are_refused_until_they_are_fetched_again() -> None:
    world = _Keys(key_set_of("ec"))
    await world.tick()
    world.server.answer = FetchError("the server answers 500")
    world.clock.now += STALE
    assert await world.knows("ec")
    await world.tick()
    assert world.lost == 0
    world.clock.now += 1
    with capture_logs() as logs:
        await world.tick()
        await world.tick()
        assert not await world.knows("ec")
    stale = "the keys of an issuer are stale, its tokens are refused"
    assert [line["issuer"] for line in logs if line["event"] == stale] == [ISSUER]
    assert world.lost == 1
    world.server.answer = key_set_of("ec")
    world.clock.now += COOLDOWN
    assert await world.knows("ec")


async def test_keys_that_were_never_fetched_refuse_all_tokens() -> None:
    world = _Keys(FetchError("the server answers 500"))
    for _ in range(3):
        assert not await world.knows("ec")
    assert world.server.fetches == 1
    world.server.answer = key_set_of("ec")
    world.clock.now += COOLDOWN
    assert await world.knows("ec")


async def test_keys_of_a_file_are_refused_once_it_was_unreadable_for_too_long(tmp_path: Path) -> None:
    path, clock = tmp_path / "keys.json", Clock()
    path.write_bytes(key_set_of("ec"))
    lost = []
    keys = FileKeys(make_issuer(path), path, lambda: lost.append(1), clock=clock)
    keys.file.start()
    path.write_text("no keys")
    for _ in range(2):
        keys.file.look()
    assert keys.file.problem.startswith(f"{path}: this is no key set")
    clock.now += STALE
    keys.tick()
    assert (await keys.find("ec")).key_id == "ec"
    assert not lost
    clock.now += 1
    keys.tick()
    keys.tick()
    assert len(lost) == 1
    with pytest.raises(RefusedError, match="too long"):
        await keys.find("ec")
