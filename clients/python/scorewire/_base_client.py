"""The settings, channels and life cycle that `Client` and `AsyncClient` share."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from google.protobuf.message import Message

from scorewire._attempts import FailurePolicy
from scorewire._breaker import CircuitBreaker
from scorewire._channels import DEFAULT_MAX_MESSAGE_BYTES, TLS, ChannelSettings
from scorewire._credentials import Credentials, Token, of_call, warn_of_plaintext
from scorewire._diagnosis import explained
from scorewire._errors import ScorewireError
from scorewire._flows import DEFAULT_TIMEOUT, Call, Flows
from scorewire._hedging import Hedging
from scorewire._metadata import Metadata, Pairs, check_metadata
from scorewire._methods import PREDICT_STREAM, UNARY_METHODS, Method
from scorewire._retries import Retries
from scorewire.addresses import Address


class ClientBase:
    """A client's settings and its channels; the first call opens the channels."""

    def __init__(
        self,
        address: str | Sequence[str],
        *,
        timeout: float = DEFAULT_TIMEOUT,
        channels: int = 1,
        tls: TLS | bool | None = None,
        api_key: str | None = None,
        token: Token | None = None,
        max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES,
        retries: Retries | None = None,
        breaker: CircuitBreaker | None = None,
        hedging: Hedging | None = None,
    ) -> None:
        if tls is True:
            tls = TLS()
        self._settings = ChannelSettings(
            address=Address(address), count=channels, tls=tls or None, max_message_bytes=max_message_bytes
        )
        self._credentials = Credentials(api_key, token)
        if self._credentials and self._settings.tls is None:
            warn_of_plaintext(self._settings.address, stacklevel=2)
        self._flows = Flows(timeout, max_message_bytes)
        self._policy = FailurePolicy(breaker, retries, hedging)
        self._lock = threading.Lock()
        self._channels: list[Any] = []
        self._stubs: Iterator[dict[Method, Any]] | None = None
        self._pid = 0
        self._closed = False

    @property
    def breaker(self) -> CircuitBreaker | None:
        """The circuit breaker that the client was made with; its `state` tells whether calls are made."""
        return self._policy.breaker

    def _checked(self, metadata: Metadata | None) -> tuple[Pairs, bytes]:
        """The metadata of a method's calls, and a digest of the credential that the caller put there.

        The caller's credential takes the place of the client's. The digest is empty without one.

        Raises:
            ValueError: the metadata is not valid.
        """
        if metadata is None:
            return self._credentials.pairs, b""
        pairs = check_metadata(metadata)
        caller = of_call(pairs)
        return (pairs if caller else pairs + self._credentials.pairs), caller

    def _explained(self, error: ScorewireError, call: Call) -> ScorewireError:
        """The error of a call that failed, where TLS is the cause in other words; this may ask the server."""
        return explained(error, secure=self._settings.tls is not None, timeout=call.timeout)

    def _make_channel(self) -> Any:
        """Open a channel, of grpc or of grpc.aio."""
        raise NotImplementedError

    def _stub(self, method: Method) -> Any:
        """The callable of a method, on the channels in turn.

        Raises:
            RuntimeError: the client is closed, or was used before this process forked.
        """
        stubs = self._stubs
        if stubs is None:
            stubs = self._open()
        if self._closed:
            raise RuntimeError("this client is closed")
        if self._pid != os.getpid():
            raise RuntimeError("a client does not survive a fork: make one in each process")
        # `next` of an itertools.cycle is atomic, so threads need no lock here.
        return next(stubs)[method]

    def _open(self) -> Iterator[dict[Method, Any]]:
        with self._lock:
            if self._closed:
                raise RuntimeError("this client is closed")
            if self._stubs is None:
                self._pid = os.getpid()
                self._channels = [self._make_channel() for _ in range(self._settings.count)]
                self._stubs = itertools.cycle([_stubs(channel) for channel in self._channels])
            return self._stubs

    def _close(self) -> list[Any]:
        """Refuse further calls, and return the channels for the caller to close."""
        with self._lock:
            self._closed = True
            channels, self._channels = self._channels, []
            return channels


def _serialize(request: Message | bytes) -> bytes:
    return request if isinstance(request, bytes) else request.SerializeToString()


def _stubs(channel: Any) -> dict[Method, Any]:
    stubs = {
        method: channel.unary_unary(
            method.path,
            request_serializer=_serialize,
            response_deserializer=method.response.FromString,
        )
        for method in UNARY_METHODS
    }
    stubs[PREDICT_STREAM] = channel.stream_stream(
        PREDICT_STREAM.path,
        request_serializer=PREDICT_STREAM.request.SerializeToString,
        response_deserializer=PREDICT_STREAM.response.FromString,
    )
    return stubs
