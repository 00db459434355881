"""A client that makes calls with credentials that it made up, and counts how they end."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice

from tests import http2
from tests.access_files import Issuer, Key
from tests.conformance.wire import PREDICT

Fields = tuple[tuple[str, str | bytes], ...]
# Calls that are open at one time.
IN_FLIGHT = 100
# The longest token that is looked at.
MAX_TOKEN_BYTES = 8192


def forged_tokens(issuer: Issuer, kind: str, count: int) -> Iterator[str]:
    """Tokens that all differ, none of which is valid."""
    head, claims, signature = issuer.token("service-shop").split(".")
    for number in range(count):
        if kind == "API keys":
            yield Key.make().text
        elif kind == "unknown keys of the issuer":
            yield f"{issuer.head(secrets.token_hex(8))}.{claims}.{signature}"
        elif kind == "wrong signatures":
            yield f"{head}.{claims}.{secrets.token_urlsafe(256)}"
        elif kind == "expired tokens":
            yield issuer.token("service-shop", seconds=-3600, jti=number)
        elif kind == "tokens of the greatest length":
            filler = secrets.token_urlsafe(6144)
            yield f"{head}.{filler}.{signature}"[:MAX_TOKEN_BYTES]
        else:
            assert kind == "tokens beyond the greatest length"
            yield f"{head}.{secrets.token_urlsafe(6144)}.{signature}{'A' * 600}"


def flood(address: str, calls: Iterable[Fields], path: str = PREDICT) -> Counter[str]:
    """Make calls on one connection, in batches; how many were refused, answered and reset."""
    ended: Counter[str] = Counter()
    with http2.Connection(address) as connection:
        connection.take_settings()
        stream, frames = 1, connection.frames()
        left = iter(calls)
        while batch := list(islice(left, IN_FLIGHT)):
            connection.send(
                b"".join(http2.call(stream + 2 * i, path, b"", fields) for i, fields in enumerate(batch))
            )
            stream += 2 * len(batch)
            wanted = ended.total() + len(batch)
            while ended.total() < wanted:
                _count(next(frames), ended)
    return ended


def _count(frame: http2.Frame, ended: Counter[str]) -> None:
    if frame.kind == http2.RST_STREAM:
        ended["reset"] += 1
    elif frame.kind == http2.HEADERS and frame.flags & http2.END_STREAM:
        ended["refused"] += 1
    assert frame.kind not in (http2.DATA, http2.GOAWAY), frame
