"""Floods of credentials that are wrong, and issuers whose keys cannot be had."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests import http2, jwks_server
from tests.access_files import Issuer, Key, bearer, write_access
from tests.attacks.forging import Fields, flood, forged_tokens
from tests.attacks.healthy import healthy
from tests.attacks.held import Held
from tests.bundles import write_sum_bundle
from tests.conformance.engines import NATIVE_MISSING
from tests.conformance.wire import PREDICT, PREDICT_STREAM, sum_request
from tests.jwks_server import Answer, JwksServer, answer_json, answer_text, serving_jwks
from tests.processes import ServerProcess, serving, wait_until

pytestmark = pytest.mark.skipif(bool(NATIVE_MISSING), reason=NATIVE_MISSING)

CALLS = 10_000
KINDS = (
    "API keys",
    "unknown keys of the issuer",
    "wrong signatures",
    "expired tokens",
    "tokens of the greatest length",
    "tokens beyond the greatest length",
)
SUBJECT = "service-shop"
CHANGING = "/scorewire.v1.ModelService/LoadVersion"
# Lines of the log that a flood may cause, whatever its length.
MOST_LINES = 200
MOST_QUESTIONS = 256
COOLDOWN_SECONDS = 1.0
REQUEST = sum_request().SerializeToString()
AMPLE = {"per_second": 1e6, "burst": 1e6}
UNAUTHENTICATED, RESOURCE_EXHAUSTED = 16, 8


@dataclass(frozen=True, slots=True)
class Asking:
    """A server that asks for credentials, a valid key, and the issuer whose keys it fetches."""

    server: ServerProcess
    key: Key
    issuer: Issuer
    endpoint: JwksServer

    def ends(self, token: str) -> int | None:
        """The status of a call with a token; None if it was answered."""
        with http2.Connection(self.server.address) as connection:
            connection.take_settings()
            connection.send(http2.call(1, PREDICT, REQUEST, bearer(token)))
            frames = connection.until_end(1)
        return None if any(one.kind == http2.DATA for one in frames) else frames[-1].status


@contextmanager
def asking(
    folder: Path, first: Answer | None = None, *, other: Issuer | None = None, **more: Any
) -> Iterator[Asking]:
    """A server whose issuer's endpoint begins with an answer, and perhaps with another issuer."""
    write_sum_bundle(folder / "models")
    key, issuer = Key.make(), Issuer.make(algorithm="EdDSA")
    with serving_jwks(issuer.jwks()) as endpoint:
        endpoint.answer = first or endpoint.answer
        principals: dict[str, dict[str, Any]] = {
            "by-key": {"predict": ["*"], "control": ["*"], "keys": [key.entry()]},
            "by-token": {"predict": ["*"], "tokens": [{"issuer": issuer.name, "subject": SUBJECT}]},
        }
        issuers = [issuer.entry(endpoint.url, cooldown_seconds=COOLDOWN_SECONDS)]
        if other is not None:
            rule = {"issuer": other.name, "subject": "service-other"}
            principals["by-other"] = {"predict": ["*"], "tokens": [rule]}
            issuers.append(other.entry("other.json"))
        opened = {"metrics": True}
        file = write_access(folder / "access.toml", principals, issuers=issuers, open=opened, **more)
        flags = ("--engine", "native", "--access", file)
        with serving(folder, folder / "models", *flags) as server:
            yield Asking(server, key, issuer, endpoint)


@pytest.fixture(scope="module", params=["limited", "unlimited"])
def asked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asking]:
    """A server with the default limit of failures of an address, or with one that no flood here reaches."""
    more: dict[str, Any] = {} if request.param == "limited" else {"failures": AMPLE}
    with asking(tmp_path_factory.mktemp("asking"), **more) as found:
        yield found


@pytest.mark.parametrize("kind", KINDS)
def test_forged_credentials_hold_nobody_up_and_leave_nothing(asked: Asking, kind: str) -> None:
    held, server = Held(asked.server), asked.server
    lines = len(server.log())
    with healthy(server.address, metadata=asked.key.metadata):
        ended = flood(server.address, map(bearer, forged_tokens(asked.issuer, kind, CALLS)))
    assert ended == {"refused": CALLS}
    held.comes_back()
    assert len(server.log()) - lines < MOST_LINES


def test_a_token_that_was_verified_goes_on_beside_a_flood(asked: Asking) -> None:
    token = asked.issuer.token(SUBJECT)
    # The address may be over its limit because of another test.
    wait_until(lambda: asked.ends(token) is None, "the token to be verified")
    with healthy(asked.server.address, metadata=bearer(token)):
        flood(asked.server.address, map(bearer, forged_tokens(asked.issuer, "wrong signatures", CALLS)))


def test_calls_that_change_something_are_refused_with_few_lines(asked: Asking) -> None:
    lines = len(asked.server.log())
    with healthy(asked.server.address, metadata=asked.key.metadata):
        ended = flood(
            asked.server.address, ((("authorization", "Bearer x"),) for _ in range(CALLS)), CHANGING
        )
    assert ended == {"refused": CALLS}
    assert len(asked.server.log()) - lines < MOST_LINES


def test_streams_without_credentials_end_at_once(asked: Asking) -> None:
    held = Held(asked.server)
    none: Fields = ()
    with healthy(asked.server.address, metadata=asked.key.metadata):
        assert flood(asked.server.address, (none for _ in range(CALLS)), PREDICT_STREAM) == {"refused": CALLS}
    held.comes_back()


def test_many_connections_of_one_forged_call_each_leave_nothing(asked: Asking) -> None:
    held = Held(asked.server)
    with healthy(asked.server.address, metadata=asked.key.metadata):
        for token in forged_tokens(asked.issuer, "unknown keys of the issuer", 500):
            assert flood(asked.server.address, [bearer(token)]) == {"refused": 1}
    held.comes_back()


def test_a_flood_of_unknown_keys_asks_the_issuer_once_a_cooldown(tmp_path: Path) -> None:
    with asking(tmp_path, failures=AMPLE) as asked:
        tokens = forged_tokens(asked.issuer, "unknown keys of the issuer", 20 * CALLS)
        before = len(asked.endpoint.asked_at)
        with healthy(asked.server.address, metadata=asked.key.metadata):
            while len(asked.endpoint.asked_at) < before + 3:
                flood(asked.server.address, (bearer(next(tokens)) for _ in range(100)))
        times = asked.endpoint.asked_at
        gaps = [after - before for before, after in pairwise(times)]
        # The two processes read one clock at different moments.
        assert min(gaps) > 0.9 * COOLDOWN_SECONDS


def test_open_questions_have_a_limit_and_end(tmp_path: Path) -> None:
    with asking(tmp_path, jwks_server.hang, failures=AMPLE) as asked, ExitStack() as open_:
        held = Held(asked.server)
        tokens = list(forged_tokens(asked.issuer, "unknown keys of the issuer", 2 * MOST_QUESTIONS))
        connections = [open_.enter_context(http2.Connection(asked.server.address)) for _ in tokens]
        with healthy(asked.server.address, metadata=asked.key.metadata) as client:
            for connection, token in zip(connections, tokens, strict=True):
                connection.take_settings()
                connection.send(http2.call(1, PREDICT, REQUEST, bearer(token)))
            client.goes_on()
            ends = [connection.until_end(1)[-1].status for connection in connections]
        assert set(ends) <= {UNAUTHENTICATED, RESOURCE_EXHAUSTED}
        open_.close()
        held.comes_back()


def test_questions_of_callers_that_go_away_leave_nothing(tmp_path: Path) -> None:
    with asking(tmp_path, jwks_server.hang, failures=AMPLE) as asked:
        held = Held(asked.server)
        with healthy(asked.server.address, metadata=asked.key.metadata):
            for token in forged_tokens(asked.issuer, "unknown keys of the issuer", 1000):
                with http2.Connection(asked.server.address) as connection:
                    connection.send(http2.call(1, PREDICT, REQUEST, bearer(token)))
        held.comes_back()


def _many_keys() -> bytes:
    key = Issuer.make(algorithm="EdDSA").jwks()["keys"][0]
    return json.dumps({"keys": [{**key, "kid": secrets.token_hex(8)} for _ in range(20_000)]}).encode()


MISBEHAVIOURS: dict[str, Answer] = {
    "hangs": jwks_server.hang,
    "trickles": jwks_server.trickle,
    "answers a gigabyte": jwks_server.flood,
    "answers without end": jwks_server.flood_unannounced,
    "fails": jwks_server.fail,
    "answers nothing": answer_text(b""),
    "answers no JSON": answer_text(b"<html>"),
    "answers a number": answer_text(b"1"),
    "answers deep lists": answer_text(b"[" * 100_000),
    "answers deep keys": answer_text(b'{"keys":' * 50_000),
    "answers a long number": answer_text(b'{"keys":' + b"1" * 200_000 + b"}"),
    "answers no keys": answer_text(b'{"keys":[]}'),
    "answers keys that are none": answer_text(b'{"keys":[1,null,"a",{},[]]}'),
    "answers too many keys": answer_text(_many_keys()),
}


@pytest.mark.parametrize("name", MISBEHAVIOURS)
def test_an_issuer_that_misbehaves_harms_its_own_tokens_only(tmp_path: Path, name: str) -> None:
    with asking(tmp_path, MISBEHAVIOURS[name]) as asked:
        held = Held(asked.server)
        with healthy(asked.server.address, metadata=asked.key.metadata) as client:
            assert asked.ends(asked.issuer.token(SUBJECT)) == UNAUTHENTICATED
            client.goes_on()
            asked.endpoint.answer = answer_json(asked.issuer.jwks())
            token = asked.issuer.token(SUBJECT)
            wait_until(lambda: asked.ends(token) is None, "the token to be taken")
        held.comes_back()


def test_a_redirection_is_not_followed(tmp_path: Path) -> None:
    with asking(tmp_path, jwks_server.fail) as asked, serving_jwks(asked.issuer.jwks()) as elsewhere:
        asked.endpoint.answer = jwks_server.redirect(elsewhere.url)
        before = len(asked.endpoint.asked_at)
        wait_until(
            lambda: (
                asked.ends(asked.issuer.token(SUBJECT)) == UNAUTHENTICATED
                and len(asked.endpoint.asked_at) > before
            ),
            "the endpoint to be asked",
        )
        assert not elsewhere.asked_at


def test_an_issuer_that_changes_its_key_is_followed_and_the_old_key_ends(tmp_path: Path) -> None:
    with asking(tmp_path) as asked:
        old = asked.issuer
        assert asked.ends(old.token(SUBJECT)) is None
        new = Issuer.make(old.name, "EdDSA")
        asked.endpoint.answer = answer_json(new.jwks())
        token = new.token(SUBJECT)
        wait_until(lambda: asked.ends(token) is None, "the new key to be fetched")
        wait_until(lambda: asked.ends(old.token(SUBJECT)) == UNAUTHENTICATED, "the old key to end")


def test_an_issuer_that_hangs_does_not_hold_up_tokens_of_another_one(tmp_path: Path) -> None:
    other = Issuer.make("https://other.example/", "ES256")
    (tmp_path / "other.json").write_text(other.jwks_text(), encoding="utf-8")
    with asking(tmp_path, jwks_server.hang, failures=AMPLE, other=other) as asked, ExitStack() as open_:
        for token in forged_tokens(asked.issuer, "unknown keys of the issuer", 2 * MOST_QUESTIONS):
            connection = open_.enter_context(http2.Connection(asked.server.address))
            connection.take_settings()
            connection.send(http2.call(1, PREDICT, REQUEST, bearer(token)))
        for number in range(20):
            assert asked.ends(other.token("service-other", jti=number)) is None
