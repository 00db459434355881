"""Limits of a call's metadata, and values of grpc-timeout, in raw header blocks."""

from __future__ import annotations

import struct

import pytest

from tests.conformance.wire import PREDICT, sum_request
from tests.http2 import DATA, SETTINGS, Connection, Frame, call

REQUEST = sum_request().SerializeToString()
# The default of --max-metadata-bytes.
MAX_METADATA_BYTES = 16384
# The overhead of each field in HTTP/2's count.
FIELD_BYTES = 32
INTERNAL, RESOURCE_EXHAUSTED = 13, 8
MAX_HEADER_LIST_SIZE = 6
# The fields of every call here.
FIELDS = {
    ":method": "POST",
    ":scheme": "http",
    ":path": PREDICT,
    ":authority": "h",
    "te": "trailers",
    "content-type": "application/grpc",
}


def answered(address: str, *fields: tuple[str, str]) -> list[Frame]:
    """The frames of the response to a call with further fields."""
    with Connection(address) as connection:
        connection.take_settings()
        connection.send(call(1, PREDICT, REQUEST, fields))
        return connection.until_end(1)


def refused(address: str, *fields: tuple[str, str]) -> int:
    """The status of a call with further fields; the response has no message."""
    (trailers,) = answered(address, *fields)
    return trailers.status


def filler(size: int) -> tuple[str, str]:
    """A field that brings the metadata of a call to a number of bytes."""
    counted = sum(len(name) + len(value) + FIELD_BYTES for name, value in FIELDS.items())
    return "x", "v" * (size - counted - FIELD_BYTES - len("x"))


@pytest.mark.parametrize("text", ["5x", "5s", "-5S", "+5S", "1.5S", "S", "5"])
def test_a_timeout_that_is_no_number_with_a_unit_is_an_internal_error(address: str, text: str) -> None:
    assert refused(address, ("grpc-timeout", text)) == INTERNAL


@pytest.mark.parametrize("text", ["20S", "99999999H", "123456789S", "00000000020S", "20 S"])
def test_a_timeout_may_be_written_in_more_ways_than_one(address: str, text: str) -> None:
    assert [one.kind for one in answered(address, ("grpc-timeout", text))].count(DATA) == 1


def test_metadata_up_to_the_limit_is_taken(address: str, engine: str) -> None:
    # grpc's server announces the same limit, but also refuses metadata of exactly that size.
    most = MAX_METADATA_BYTES - (engine == "reference")
    for size in (most - 1, most):
        assert [one.kind for one in answered(address, filler(size))].count(DATA) == 1


def test_metadata_beyond_the_limit_is_a_failure_of_its_call_alone(address: str) -> None:
    for size in (MAX_METADATA_BYTES + 1, 2 * MAX_METADATA_BYTES):
        assert refused(address, filler(size)) == RESOURCE_EXHAUSTED
    with Connection(address) as connection:
        connection.take_settings()
        connection.send(call(1, PREDICT, REQUEST, [filler(2 * MAX_METADATA_BYTES)]))
        connection.send(call(3, PREDICT, REQUEST))
        assert [one.kind for one in connection.until_end(3)].count(DATA) == 1


def test_the_limit_is_told_to_clients(address: str) -> None:
    with Connection(address) as connection:
        settings = next(one for one in connection.frames() if one.kind == SETTINGS)
    told = {struct.unpack(">HI", settings.payload[at : at + 6]) for at in range(0, len(settings.payload), 6)}
    assert (MAX_HEADER_LIST_SIZE, MAX_METADATA_BYTES) in told
