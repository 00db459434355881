"""The context of a call: what an engine knows of the call before its first message."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from time import monotonic, perf_counter_ns

from scorewire_server.engine.access import Principal
from scorewire_server.engine.peer import Peer
from scorewire_server.engine.tracer import CallTrace

_UNKNOWN_PEER = Peer()


@dataclass(frozen=True, slots=True)
class CallContext:
    """One call. The engine makes one context for each call, and hands it to whatever answers the call.

    Attributes:
        method: the path, like /scorewire.v1.PredictionService/Predict.
        metadata: names and values as received; `--max-metadata-bytes` bounds their size. Empty for messages
            that the native engine forwards: it keeps no metadata of predictions once they are admitted.
        peer: the other end of the connection.
        deadline: a time of `time.monotonic`; None if the caller set no deadline.
        received_ns: a time of `time.perf_counter_ns`: when the call arrived, as far as the engine knows.
        trace: of a prediction: its trace; None if the call is not traced.
        principal: who calls; None without --access, and for methods that need no credential.
    """

    method: str
    metadata: Sequence[tuple[str, str | bytes]] = ()
    peer: Peer = _UNKNOWN_PEER
    deadline: float | None = None
    received_ns: int = field(default_factory=perf_counter_ns)
    trace: CallTrace | None = None
    principal: Principal | None = None

    def identified(self, principal: Principal) -> CallContext:
        """The context of the same call, now that it is known who calls. Its trace tells it as well."""
        if self.trace is not None:
            self.trace.principal = principal.name
        return replace(self, principal=principal)

    @property
    def principal_name(self) -> str:
        """The name of the principal that calls; "" if there is none."""
        return "" if self.principal is None else self.principal.name

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the deadline, 0 or less once it has passed; None without a deadline."""
        return None if self.deadline is None else self.deadline - monotonic()

    @property
    def expired(self) -> bool:
        """Whether the deadline has passed."""
        return self.deadline is not None and monotonic() >= self.deadline


def deadline_in(seconds: float | None) -> float | None:
    """The deadline that is `seconds` from now; None for None."""
    return None if seconds is None else monotonic() + seconds
