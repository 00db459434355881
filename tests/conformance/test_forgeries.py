"""Forged credentials over the wire: each one is refused, and every refusal has the same bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from tests.access_files import Issuer, Key, bearer, write_access
from tests.bundles import write_sum_bundle
from tests.conformance.forged_headers import MALFORMED, Fields, on_the_wire
from tests.conformance.wire import PREDICT, PREDICT_STREAM, sum_request
from tests.http2 import DATA, HEADERS, RST_STREAM, Connection, Frame, call, literal
from tests.processes import ServerProcess, serving

REQUEST = sum_request().SerializeToString()
SUBJECT = "service-shop"
# Connections at one time.
THREADS = 8
GRPC_UNAUTHENTICATED = 16


@dataclass(frozen=True, slots=True)
class Asked:
    """A server that asks for credentials, and the valid ones."""

    server: ServerProcess
    key: Key
    issuer: Issuer


@pytest.fixture(scope="module")
def asked(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    """A server whose limit of failures no test here reaches."""
    folder = tmp_path_factory.mktemp("forgeries")
    write_sum_bundle(folder / "models")
    key, issuer = Key.make(), Issuer.make()
    (folder / "jwks.json").write_text(issuer.jwks_text(), encoding="utf-8")
    principals: dict[str, dict[str, Any]] = {
        "by-key": {"predict": ["*"], "keys": [key.entry()]},
        "by-token": {"predict": ["*"], "tokens": [{"issuer": issuer.name, "subject": SUBJECT}]},
    }
    ample = {"per_second": 1e6, "burst": 1e6}
    file = write_access(
        folder / "access.toml", principals, issuers=[issuer.entry("jwks.json")], failures=ample
    )
    with serving(folder, folder / "models", "--engine", engine, "--access", file) as server:
        yield Asked(server, key, issuer)


def answered(address: str, fields: Fields, path: str = PREDICT) -> list[Frame]:
    """The frames of the answer to a call on a connection of its own, so that nothing is indexed before."""
    with Connection(address) as connection:
        connection.take_settings()
        connection.send(call(1, path, REQUEST, fields))
        return connection.until_end(1)


def test_a_valid_key_and_a_valid_token_are_taken(asked: Asked) -> None:
    token = asked.issuer.token(SUBJECT)
    for credential in (asked.key.text, token):
        for scheme in ("Bearer", "bearer", "BEARER", "bEaReR"):
            frames = answered(asked.server.address, (("authorization", f"{scheme} {credential}"),))
            assert [one.kind for one in frames] == [HEADERS, DATA, HEADERS]


def test_every_forgery_is_refused_with_the_same_bytes(asked: Asked) -> None:
    cases = dict(on_the_wire(asked.key.text, asked.issuer.token(SUBJECT)))
    refused = refusals(asked.server.address, cases)
    (expected,) = refused.pop("no credential")
    assert expected.status == GRPC_UNAUTHENTICATED
    assert {name: frames for name, frames in refused.items() if frames != [expected]} == {}


def refusals(address: str, cases: Mapping[str, Fields], path: str = PREDICT) -> dict[str, list[Frame]]:
    """The answers to calls, each on a connection of its own."""
    with ThreadPoolExecutor(THREADS) as pool:
        found = pool.map(lambda fields: answered(address, fields, path), cases.values())
        return dict(zip(cases, found, strict=True))


@pytest.mark.parametrize("name", MALFORMED)
def test_a_value_that_http2_forbids_is_not_answered(asked: Asked, name: str) -> None:
    value = MALFORMED[name].replace(b"KEY", asked.key.text.encode())
    (last,) = answered(asked.server.address, (("authorization", value),))
    assert last.kind == RST_STREAM or last.status == GRPC_UNAUTHENTICATED


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
    path = path.replace("KEY", asked.key.text)
    cases: dict[str, Fields] = {
        "no credential": (),
        "an unknown key": bearer(Key.make().text),
        "an unknown token": bearer(Issuer.make(algorithm="EdDSA").token(SUBJECT)),
        "two entries": asked.key.metadata * 2,
        "another scheme": (("authorization", f"Basic {asked.key.text}"),),
    }
    (expected,) = answered(asked.server.address, ())
    found = refusals(asked.server.address, cases, path)
    assert {name: frames for name, frames in found.items() if frames != [expected]} == {}


def test_an_upper_case_name_is_not_answered(asked: Asked) -> None:
    field = literal("Authorization", f"Bearer {asked.key.text}")
    assert field.startswith(b"\0\x0dAuth")
    (last,) = answered(asked.server.address, (("Authorization", f"Bearer {asked.key.text}"),))
    assert last.kind == RST_STREAM or last.status == GRPC_UNAUTHENTICATED
