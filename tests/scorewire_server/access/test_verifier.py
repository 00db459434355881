from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from scorewire_server.access import verifier as verifier_module
from scorewire_server.access.access_file import parse_access_file
from scorewire_server.access.jwks import VerificationKey
from scorewire_server.access.key_sets import FileKeys
from scorewire_server.access.refusal import RefusedError
from scorewire_server.access.verifier import LINES_PER_SECOND, REFUSAL_SECONDS, Rules, Verifier
from scorewire_server.engine.access import Credential
from scorewire_server.engine.peer import Peer
from scorewire_server.engine.revocations import Revocations
from tests.forgeries.cases import forgeries
from tests.forgeries.world import (
    ISSUER,
    LEEWAY,
    Make,
    honest_token,
    keys,
    with_claims,
    with_header,
    write_world,
)

PEER = Peer("192.0.2.7:4711")
NOW = 1_900_000_000.0


class _World:
    """A verifier with a clock."""

    def __init__(self, folder: Path) -> None:
        path = write_world(folder)
        file = parse_access_file(path.read_bytes(), path)
        sets = {}
        for name, issuer in file.issuers.items():
            assert isinstance(issuer.keys, Path)
            sets[name] = FileKeys(issuer, issuer.keys, lambda: None)
            sets[name].file.start()
        self.now = NOW
        self.rules = Rules(file=file, key_sets=sets, revocations=Revocations())
        self.verifier = Verifier(lambda: self.rules, lambda: self.now)

    async def expires(self, token: bytes) -> float | None:
        grant = await self.verifier.verify(Credential("token", token, PEER))
        return None if grant is None else grant.expires


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("access")
    write_world(folder)
    return folder


@pytest.fixture
def world(folder: Path) -> _World:
    return _World(folder)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits of the verifier, which end at once."""
    waited: list[float] = []
    sleep = asyncio.sleep

    async def wait(seconds: float) -> None:
        waited.append(seconds)
        await sleep(0)

    monkeypatch.setattr(verifier_module.asyncio, "sleep", wait)
    return waited


@pytest.mark.parametrize("key_id", ["rsa", "ec", "ed"])
@pytest.mark.parametrize(
    ("make", "valid"),
    [
        (with_claims(exp=lambda now: now - LEEWAY + 1), True),
        (with_claims(exp=lambda now: now - LEEWAY), False),
        (with_claims(nbf=lambda now: now + LEEWAY), True),
        (with_claims(nbf=lambda now: now + LEEWAY + 1), False),
        (with_claims(iat=lambda now: now + LEEWAY), True),
        (with_claims(iat=lambda now: now + LEEWAY + 1), False),
        (with_claims(nbf=lambda now: now + 1e9, exp=lambda now: now + 2e9), False),
    ],
)
async def test_the_clock_decides_to_the_second(
    world: _World, waits: list[float], key_id: str, make: Make, *, valid: bool
) -> None:
    assert (await world.expires(make(NOW)) is not None) is valid


async def test_a_grant_ends_with_the_leeway_and_not_earlier(world: _World, waits: list[float]) -> None:
    token = with_claims(exp=int(NOW) + 100)(NOW)
    assert await world.expires(token) == NOW + 100 + LEEWAY
    world.now = NOW + 100 + LEEWAY - 0.001
    assert await world.expires(token) == NOW + 100 + LEEWAY
    world.now = NOW + 100 + LEEWAY
    assert await world.expires(token) is None


async def test_all_refusals_come_after_the_same_time(world: _World, waits: list[float]) -> None:
    cases = forgeries()
    loop = asyncio.get_running_loop()
    for case in cases:
        token = case.make(NOW)
        begun = loop.time()
        assert await world.expires(token) is None
        # What is left of the time, however long the check took.
        assert REFUSAL_SECONDS - (loop.time() - begun) <= waits[-1] <= REFUSAL_SECONDS
    assert len(waits) == len(cases)
    assert await world.expires(honest_token(NOW)) is not None
    assert len(waits) == len(cases)


async def test_a_fault_is_a_refusal_and_goes_to_the_log(
    world: _World, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(verifier_module, "verify_token", fail)
    with capture_logs() as logs:
        assert await world.expires(honest_token(NOW)) is None
    assert [line["log_level"] for line in logs] == ["error"]
    assert len(waits) == 1


async def test_the_log_tells_the_cause_and_the_address_and_nothing_secret(
    world: _World, waits: list[float]
) -> None:
    token = with_header(kid="k" * 200)(NOW)
    with capture_logs() as logs:
        await world.expires(token)
    (line,) = logs
    assert (line["event"], line["log_level"], line["address"]) == ("token refused", "info", "192.0.2.7")
    assert line["reason"].startswith("its issuer has no such key; iss 'https://login.example/', kid 'kkk")
    assert len(line["reason"]) < 250
    for segment in token.split(b"."):
        assert segment.decode() not in str(line)


async def test_no_forgery_shows_more_than_its_issuer_and_key_id(world: _World, waits: list[float]) -> None:
    with capture_logs() as logs:
        for case in forgeries():
            world.verifier._log._lines = 0
            await world.expires(case.make(NOW))
    assert len(logs) >= len(forgeries()) - 1
    for line in logs:
        assert len(str(line)) < 600
        assert str(line["reason"]).isprintable()
        assert "5e5e5e" not in str(line)
        assert "service-" not in str(line)


async def test_refusals_write_a_bounded_number_of_lines(
    world: _World, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = 100.0
    monkeypatch.setattr(verifier_module.time, "monotonic", lambda: seconds)
    with capture_logs() as logs:
        for number in range(500):
            await world.expires(b"%d" % number)
    assert len(logs) == LINES_PER_SECOND
    seconds = 101.0
    with capture_logs() as logs:
        await world.expires(b"")
    assert [line["left_out"] for line in logs] == [500 - LINES_PER_SECOND]


async def test_the_rules_of_the_end_of_the_wait_for_a_key_count(world: _World, waits: list[float]) -> None:
    class _Slow(FileKeys):
        async def find(self, key_id: str) -> VerificationKey:
            found = await super().find(key_id)
            world.rules = Rules(file=without_rules, key_sets={}, revocations=Revocations())
            return found

    path = Path("access.toml")
    issuer = world.rules.file.issuers[ISSUER]
    without_rules = parse_access_file(b"", path)
    slow = _Slow(issuer, issuer.keys, lambda: None)
    slow.file.start()
    world.rules = Rules(file=world.rules.file, key_sets={ISSUER: slow}, revocations=Revocations())
    assert await world.expires(honest_token(NOW)) is None


async def test_a_certificate_that_is_none_is_refused(world: _World, waits: list[float]) -> None:
    with capture_logs() as logs:
        assert await world.verifier.verify(Credential("certificate", b"0\x03\x02\x01\x01", PEER)) is None
    assert [line["event"] for line in logs] == ["certificate refused"]
    assert len(waits) == 1


async def test_a_key_set_that_refuses_is_a_refusal(world: _World, waits: list[float]) -> None:
    class _Stale(FileKeys):
        async def find(self, key_id: str) -> VerificationKey:
            raise RefusedError(f"{key_id} is stale")

    issuer = world.rules.file.issuers[ISSUER]
    stale = _Stale(issuer, Path("none"), lambda: None)
    world.rules = Rules(file=world.rules.file, key_sets={ISSUER: stale}, revocations=Revocations())
    assert await world.expires(honest_token(NOW, keys()["ed"])) is None
