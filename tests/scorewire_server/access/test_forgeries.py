"""Every forgery is refused, and every honest token is accepted, by the verifier that engines ask."""

from __future__ import annotations

import time

import pytest
from structlog.testing import capture_logs

from scorewire_server.access import verifier
from scorewire_server.access.access import Access
from scorewire_server.engine.access import Credential
from scorewire_server.engine.peer import Peer
from scorewire_server.settings import Settings
from tests.forgeries.cases import forgeries, honest
from tests.forgeries.world import API_KEY, SHOP, Token, write_world
from tests.scorewire_server.access.issuing import grant_of_key

PEER = Peer("192.0.2.7:4711")


@pytest.fixture(scope="module")
def access(tmp_path_factory: pytest.TempPathFactory) -> Access:
    return Access(Settings(access=write_world(tmp_path_factory.mktemp("access"))), lambda _: None)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refusals come at once."""
    monkeypatch.setattr(verifier, "REFUSAL_SECONDS", 0)


def _credential(token: bytes) -> Credential:
    return Credential("token", token, PEER)


def test_there_are_enough_forgeries_with_names_of_their_own() -> None:
    cases = forgeries()
    assert len({case.name for case in cases}) == len(cases)
    assert len({case.make(1e9) for case in cases}) >= 600
    assert sum(case.sendable(1e9) for case in cases) >= 550


@pytest.mark.parametrize("case", forgeries(), ids=lambda case: ascii(case.name))
async def test_a_forgery_is_refused(access: Access, case: Token) -> None:
    token = case.make(time.time())
    with capture_logs() as logs:
        assert await access.verify(_credential(token)) is None
    assert grant_of_key(access.table, token) is None
    # Neither a fault, nor silence beyond the limit of lines.
    assert {line["log_level"] for line in logs} <= {"info"}
    assert access.refused == 0


@pytest.mark.parametrize(("case", "principal"), honest(), ids=lambda case: ascii(getattr(case, "name", case)))
async def test_an_honest_token_is_accepted(access: Access, case: Token, principal: str) -> None:
    now = time.time()
    grant = await access.verify(_credential(case.make(now)))
    assert grant is not None
    assert grant.principal is access.table.principals[principal]
    assert grant.expires is not None
    assert grant.expires > now


def test_an_api_key_is_found_by_its_hash(access: Access) -> None:
    grant = grant_of_key(access.table, API_KEY.encode())
    assert grant is not None
    assert grant.principal.name == SHOP
