"""What is known of a call before its first message is read."""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of a call's connection.

    Attributes:
        address: HOST:PORT or [IPv6]:PORT; "" where the engine does not tell.
        certificate: what the client showed under TLS, in DER; None where the server asks for none.
    """

    address: str = ""
    certificate: bytes | None = None


_UNKNOWN_PEER = Peer()


@dataclass(frozen=True, slots=True)
class CallContext:
    """One call. The engine makes a context for each call and hands the same one to all that answer it.

    Attributes:
        method: the path, like /scorewire.v1.PredictionService/Predict.
        metadata: names and values as received; `--max-metadata-bytes` bounds their size.
        peer: who is at the other end of the connection.
        deadline: a time of `time.monotonic`; None where the caller set no deadline.
    """

    method: str
    metadata: tuple[tuple[str, str | bytes], ...] = ()
    peer: Peer = _UNKNOWN_PEER
    deadline: float | None = None

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the deadline, 0 or less once it has passed; None where there is none."""
        return None if self.deadline is None else self.deadline - monotonic()

    @property
    def expired(self) -> bool:
        """Whether the deadline has passed."""
        return self.deadline is not None and monotonic() >= self.deadline


def deadline_in(seconds: float | None) -> float | None:
    """The deadline that is `seconds` from now; None for None."""
    return None if seconds is None else monotonic() + seconds
