"""What an engine is to the control plane.

An engine owns the socket and answers predictions from the snapshot that it was
last given. Every other call is handed, as bytes, to a control method, which is
written once for all engines.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, TypeAlias

from scorewire_server.engine.context import CallContext
from scorewire_server.engine.snapshot import LoadedVersion, Snapshot
from scorewire_server.engine.statistics import Statistics


@dataclass(frozen=True, slots=True)
class UnaryMethod:
    """A control call with one request and one answer; failures are `CallError`s."""

    path: str
    handler: Callable[[bytes, CallContext], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class StreamMethod:
    """A control call of many requests or many answers.

    An engine that stops ends the handler's iteration; the caller then sees the
    call end well.
    """

    path: str
    handler: Callable[[AsyncIterator[bytes], CallContext], AsyncIterator[bytes]]


ControlMethod: TypeAlias = UnaryMethod | StreamMethod


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate chain and its private key as PEM; the times are those of its first certificate."""

    chain: bytes
    key: bytes = field(repr=False)
    not_before: datetime
    not_after: datetime


class Engine(Protocol):
    """What answers calls."""

    @property
    def statistics(self) -> Statistics:
        """What was answered so far; other threads may ask."""
        ...

    async def start(self) -> str:
        """Bind and answer calls; returns the real address as HOST:PORT.

        Raises:
            StartError: the address or the certificate cannot be used.
        """
        ...

    def prepare(self, version: LoadedVersion) -> None:
        """Make of a version what `publish` needs of it; other threads may ask.

        Raises:
            Exception: this engine cannot hold the version.
        """
        ...

    def publish(self, snapshot: Snapshot, *, loading: bool = False) -> None:
        """Answer the calls that come from now on from this snapshot.

        What versions that it does not have have counted is forgotten.

        Args:
            snapshot: the new one.
            loading: the first bundles are being loaded; predictions wait, within
                their deadlines, until a snapshot comes without it.
        """
        ...

    def use_certificate(self, certificate: Certificate) -> None:
        """Show a certificate to clients that connect from now on; connections that are open go on.

        Raises:
            StartError: this engine cannot use it; clients see the one before.
        """
        ...

    def in_use(self, version: LoadedVersion) -> bool:
        """Whether a call or a copy that began before the last `publish` still runs on a version."""
        ...

    async def stop(self, grace_seconds: float) -> None:
        """Have clients begin no more calls, answer those that come nevertheless, then close.

        Calls that are still open when the grace is over end as DRAINING.
        """
        ...
