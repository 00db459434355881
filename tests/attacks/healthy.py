"""A healthy client that makes calls while other clients misbehave."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from tests.conformance.wire import PREDICT, failure_of, sum_request
from tests.processes import wait_until

_CALL_SECONDS = 30
_CALLS_IN_PEACE = 20


class Healthy:
    """Makes calls one by one, and counts them by status code."""

    def __init__(self) -> None:
        self.codes: Counter[str] = Counter()

    @property
    def answered(self) -> int:
        """The number of calls that ended with OK."""
        return self.codes["OK"]

    def goes_on(self) -> None:
        """Wait until further calls have been answered."""
        before = self.answered
        wait_until(lambda: self.answered >= before + _CALLS_IN_PEACE, "answers to a healthy client")


@contextmanager
def healthy(
    address: str, authority: bytes | None = None, metadata: tuple[tuple[str, str], ...] = ()
) -> Iterator[Healthy]:
    """A healthy client on a connection of its own; each of its calls must end with OK.

    Args:
        address: HOST:PORT.
        authority: the PEM of the authority that it trusts; None for a connection without TLS.
        metadata: what goes with each call, such as a credential.
    """
    told, over = Healthy(), threading.Event()
    request = sum_request().SerializeToString()

    def call() -> None:
        with _channel(address, authority) as channel:
            predict = channel.unary_unary(PREDICT)
            while not over.is_set():
                try:
                    predict(request, timeout=_CALL_SECONDS, metadata=metadata)
                except grpc.RpcError as error:
                    told.codes[failure_of(error).code.name] += 1
                else:
                    told.codes["OK"] += 1

    thread = threading.Thread(target=call)
    thread.start()
    try:
        told.goes_on()
        yield told
        told.goes_on()
    finally:
        over.set()
        thread.join()
    assert set(told.codes) == {"OK"}, told.codes


def _channel(address: str, authority: bytes | None) -> grpc.Channel:
    if authority is None:
        return grpc.insecure_channel(address)
    return grpc.secure_channel(address, grpc.ssl_channel_credentials(authority))
