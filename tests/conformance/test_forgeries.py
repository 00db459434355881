"""Forged credentials over the wire: each one is refused, and every refusal has the same bytes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest

from tests.bundles import write_sum_bundle
from tests.conformance.forged_headers import MALFORMED, Fields, on_the_wire
from tests.conformance.wire import PREDICT, PREDICT_STREAM, sum_request
from tests.forgeries.cases import forgeries, honest
from tests.forgeries.world import API_KEY, SHOP, Token, honest_token, keys, write_world
from tests.http2 import DATA, HEADERS, RST_STREAM, Connection, Frame, call
from tests.processes import ServerProcess, serving

REQUEST = sum_request().SerializeToString()
# Connections at one time.
THREADS = 8
PERMISSION_DENIED, UNAUTHENTICATED = 7, 16
LEAST_FORGERIES = 300


@dataclass(frozen=True, slots=True)
class Asked:
    """A server that asks for credentials, and a valid key and a valid token."""

    server: ServerProcess
    key: str = field(repr=False)
    token: str = field(repr=False)


@pytest.fixture(scope="module")
def asked(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    """A server whose limit of failures no test here reaches."""
    folder = tmp_path_factory.mktemp("forgeries")
    write_sum_bundle(folder / "models")
    file = write_world(folder)
    with file.open("a", encoding="utf-8") as access:
        access.write("[failures]\nper_second = 1e6\nburst = 1e6\n")
    with serving(folder, folder / "models", "--engine", engine, "--access", file) as server:
        yield Asked(server, API_KEY, honest_token(time.time(), keys()["rsa"]).decode())


def answered(address: str, fields: Fields, path: str = PREDICT) -> list[Frame]:
    """The frames of the answer to a call on a connection of its own, so that nothing is indexed before."""
    with Connection(address) as connection:
        connection.take_settings()
        connection.send(call(1, path, REQUEST, fields))
        return connection.until_end(1)


def test_valid_keys_and_tokens_are_taken_and_the_case_of_the_scheme_does_not_matter(asked: Asked) -> None:
    for credential in (asked.key, asked.token):
        for scheme in ("Bearer", "bearer", "BEARER", "bEaReR"):
            frames = answered(asked.server.address, (("authorization", f"{scheme} {credential}"),))
            assert [one.kind for one in frames] == [HEADERS, DATA, HEADERS]


@pytest.mark.parametrize(("case", "principal"), honest(), ids=lambda case: ascii(getattr(case, "name", case)))
def test_an_honest_token_is_taken(asked: Asked, case: Token, principal: str) -> None:
    frames = answered(asked.server.address, shown(case.make(time.time())))
    if principal == SHOP:
        assert [one.kind for one in frames] == [HEADERS, DATA, HEADERS]
    else:
        assert frames[-1].status == PERMISSION_DENIED


def shown(token: bytes) -> Fields:
    """The fields of a call with a token."""
    return (("authorization", b"Bearer " + token),)


def test_every_forged_token_is_refused_with_the_same_bytes(asked: Asked) -> None:
    now = time.time()
    tokens = {case.name: case.make(now) for case in forgeries()}
    cases = {name: shown(token) for name, token in tokens.items() if not is_malformed(token)}
    assert len(cases) >= LEAST_FORGERIES
    assert_same(asked, cases)


def test_every_credential_in_another_place_or_form_is_refused_with_the_same_bytes(asked: Asked) -> None:
    assert_same(asked, on_the_wire(asked.key, asked.token))


def assert_same(asked: Asked, cases: Mapping[str, Fields]) -> None:
    """Check that the answers to calls have the very bytes of the answer to a call without any credential."""
    (expected,) = answered(asked.server.address, ())
    assert expected.status == UNAUTHENTICATED
    refused = refusals(asked.server.address, cases)
    assert {name: frames for name, frames in refused.items() if frames != [expected]} == {}


def refusals(address: str, cases: Mapping[str, Fields], path: str = PREDICT) -> dict[str, list[Frame]]:
    """The answers to calls, each on a connection of its own."""
    with ThreadPoolExecutor(THREADS) as pool:
        found = pool.map(lambda fields: answered(address, fields, path), cases.values())
        return dict(zip(cases, found, strict=True))


def is_malformed(value: bytes) -> bool:
    """Whether HTTP/2 forbids a value: an engine may then reset the stream, but not answer the call."""
    return value != value.strip(b" \t") or not value or any(each in value for each in b"\0\r\n")


def test_values_that_http2_forbids_are_not_answered(asked: Asked) -> None:
    values = {name: value.replace(b"KEY", asked.key.encode()) for name, value in MALFORMED.items()}
    tokens = {case.name: case.make(time.time()) for case in forgeries()}
    values |= {name: b"Bearer " + token for name, token in tokens.items() if is_malformed(token)}
    ended = refusals(
        asked.server.address, {name: (("authorization", value),) for name, value in values.items()}
    )
    assert {name: frames for name, frames in ended.items() if not is_refused(frames)} == {}


def is_refused(frames: list[Frame]) -> bool:
    """Whether a call was reset, or ended as UNAUTHENTICATED."""
    (last,) = frames
    return last.kind == RST_STREAM or last.status == UNAUTHENTICATED


@pytest.mark.parametrize(
    "path",
    [
        PREDICT_STREAM,
        "/scorewire.v1.ModelService/ListModels",
        "/scorewire.v1.ModelService/LoadVersion",
        "/scorewire.v1.ModelService/Missing",
        "/scorewire.v1.PredictionService/predict",
        "/inference.GRPCInferenceService/ModelInfer",
        "/missing.Service/Missing",
        f"{PREDICT}?access_token=KEY",
        "/",
    ],
)
def test_every_path_refuses_with_the_same_bytes(asked: Asked, path: str) -> None:
    path = path.replace("KEY", asked.key)
    good = shown(asked.key.encode())
    cases: dict[str, Fields] = {
        "no credential": (),
        "an unknown key": shown(asked.key[:-1].encode() + b"0"),
        "a forged token": shown(forgeries()[0].make(time.time())),
        "two entries": good * 2,
        "another scheme": (("authorization", f"Basic {asked.key}"),),
    }
    (expected,) = answered(asked.server.address, ())
    found = refusals(asked.server.address, cases, path)
    assert {name: frames for name, frames in found.items() if frames != [expected]} == {}


def test_a_name_in_capitals_which_http2_forbids_is_not_answered(asked: Asked) -> None:
    with Connection(asked.server.address) as connection:
        connection.take_settings()
        connection.send(call(1, PREDICT, REQUEST, (("Authorization", f"Bearer {asked.key}"),)))
        # A server may also close the connection.
        for frame in connection.frames():
            assert frame.kind != DATA
            if frame.stream == 1 and frame.ends:
                break
