"""How long refusals take by their cause, and how soon a revoked key is refused."""

from __future__ import annotations

import base64
import random
import statistics
import time
from collections.abc import Mapping
from typing import Any

import click
import numpy as np

from tests import http2
from tests.access_files import Issuer, Key, write_access
from tests.bench.access.callers import SUBJECT, Bench
from tests.bench.scored_model import NAME
from tests.bench.servers import Server
from tests.bench.tables import Bar
from tests.conformance.wire import PREDICT, PREDICT_STREAM

Fields = tuple[tuple[str, str | bytes], ...]
MOST_SECONDS = 1.0
# A revocation that takes longer than this is a failure of the server, not a figure.
_PATIENCE_SECONDS = 60.0
_AMPLE_FAILURES = {"per_second": 1e6, "burst": 1e6}


def measure(bench: Bench) -> list[Bar]:
    """Print the times of refusals, and of revocations."""
    key, issuer = Key.make(), Issuer.make()
    folder = bench.folder / "refusals"
    folder.mkdir()
    (folder / "jwks.json").write_text(issuer.jwks_text(), encoding="utf-8")
    file = folder / "access.toml"
    principals: dict[str, dict[str, Any]] = {
        "by-key": {"predict": ["shop-*"], "keys": [key.entry()]},
        "by-token": {"predict": ["*"], "tokens": [{"issuer": issuer.name, "subject": SUBJECT}]},
    }
    more = {"issuers": [issuer.entry("jwks.json")], "failures": _AMPLE_FAILURES}
    write_access(file, principals, **more)
    with bench.server("refusals", "--access", file) as server:
        _times(bench, server, key, issuer)
        return [_revocations(bench, server, file, principals, more)]


def _times(bench: Bench, server: Server, key: Key, issuer: Issuer) -> None:
    token = issuer.token(SUBJECT)
    head, claims, signature = token.split(".")
    of_another = Issuer.make(issuer.name)
    forged = base64.urlsafe_b64encode(bytes(256)).rstrip(b"=").decode()
    causes: Mapping[str, tuple[Fields, bytes]] = {
        "no credential": ((), _request(bench)),
        "two credentials": (key.metadata * 2, _request(bench)),
        "another scheme": ((("authorization", f"Basic {key.text}"),), _request(bench)),
        "an unknown API key": (Key.make().metadata, _request(bench)),
        "a JWT with another signature": (_bearer(f"{head}.{claims}.{forged}"), _request(bench)),
        "a JWT without a signature": (_bearer(f"{head}.{claims}."), _request(bench)),
        "a JWT with other claims": (_bearer(f"{head}.{claims[:-4]}AAAA.{signature}"), _request(bench)),
        "a JWT of an unknown key": (_bearer(of_another.token(SUBJECT)), _request(bench)),
        "an expired JWT": (_bearer(issuer.token(SUBJECT, seconds=-3600)), _request(bench)),
        "a JWT for another audience": (_bearer(issuer.token(SUBJECT, aud="other")), _request(bench)),
        "a JWT of another subject": (_bearer(issuer.token("service-other")), _request(bench)),
        "no right to a model that exists": (key.metadata, _request(bench)),
        "no right to a model that does not exist": (key.metadata, _request(bench, "missing")),
    }
    times: dict[str, list[float]] = {name: [] for name in causes}
    with http2.Connection(server.address) as connection:
        connection.take_settings()
        stream = 1
        for number in range(2 if bench.quick else 20 * bench.rounds):
            # In another order each time: a call after a long wait takes somewhat longer.
            for name, (fields, data) in random.Random(number).sample(list(causes.items()), len(causes)):
                frames = http2.call(stream, PREDICT, data, fields)
                begin = time.perf_counter_ns()
                connection.send(frames)
                ended = connection.until_end(stream)
                took = (time.perf_counter_ns() - begin) / 1e3
                # The first one warms up.
                if number:
                    times[name].append(took)
                assert [one.kind for one in ended] == [http2.HEADERS], name
                stream += 2
    click.echo("\n| refused for | median µs | p90 |\n|---|---|---|")
    for name, took in times.items():
        click.echo(f"| {name} | {statistics.median(took):,.0f} | {np.quantile(took, 0.9):,.0f} |")


def _bearer(token: str) -> Fields:
    return (("authorization", f"Bearer {token}"),)


def _request(bench: Bench, model: str = NAME) -> bytes:
    """A valid request for a model; one byte longer than the length of its name."""
    message = bench.calls[0].request
    name = NAME.encode()
    assert message[: 2 + len(name)] == b"\x0a" + bytes([len(name)]) + name
    return b"\x0a" + bytes([len(model)]) + model.encode() + message[2 + len(name) :]


def _revocations(
    bench: Bench, server: Server, file: Any, principals: Mapping[str, Any], more: Mapping[str, Any]
) -> Bar:
    """Take a key away again and again, and print how soon a call and an open stream are refused."""
    calls, streams = [], []
    for _ in range(2 if bench.quick else bench.rounds):
        key = Key.make()
        with_key = {**principals, "revoked": {"predict": [NAME], "keys": [key.entry()]}}
        write_access(file, with_key, **more)
        with http2.Connection(server.address) as connection, http2.Connection(server.address) as streaming:
            connection.take_settings()
            streaming.take_settings()
            stream = _until(bench, connection, key, 1, answered=True)
            streaming.send(http2.head(1, http2.grpc_head(PREDICT_STREAM, key.metadata)))
            begin = time.monotonic()
            write_access(file, principals, **more)
            _until(bench, connection, key, stream, answered=False)
            calls.append(time.monotonic() - begin)
            streaming.until_end(1)
            streams.append(time.monotonic() - begin)
    for name, took in (("a call", calls), ("an open stream", streams)):
        click.echo(
            f"{name} is refused {statistics.median(took):.2f} s after its key was taken away,"
            f" at most {max(took):.2f} s ({len(took)} times)"
        )
    return Bar(
        name="s until a revoked key is refused, longest", values=[max(*calls, *streams)], at_most=MOST_SECONDS
    )


def _until(bench: Bench, connection: http2.Connection, key: Key, stream: int, *, answered: bool) -> int:
    """Make calls until one is answered, or refused; returns the next stream."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        connection.send(http2.call(stream, PREDICT, bench.calls[0].request, key.metadata))
        frames = connection.until_end(stream)
        stream += 2
        if any(one.kind == http2.DATA for one in frames) == answered:
            return stream
        time.sleep(0.001)
    raise AssertionError("the access file was not read again")
