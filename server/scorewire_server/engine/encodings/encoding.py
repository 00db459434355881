"""What every encoding of a prediction call is decoded to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from scorewire_contract.scoring import Scores
from scorewire_server.engine.snapshot import LoadedVersion, Route, Snapshot
from scorewire_server.engine.validation import find_route


@dataclass(slots=True, eq=False)  # not frozen: that would cost a microsecond a call
class Request:
    """Rows for a model; `numbers` is flat and read-only, as `texts` is."""

    model: str
    version: str
    schema_fingerprint: str
    routing_key: str
    row_count: int
    numbers: NDArray[np.float64]
    texts: Sequence[str]
    correlation_id: int = 0

    def route(self, snapshot: Snapshot) -> Route:
        """What its names lead to."""
        return find_route(snapshot, self.model, self.version)

    def request(self, version: LoadedVersion, max_rows: int) -> Request:  # noqa: ARG002 - rows are positional already
        """Itself."""
        return self


class Asked(Protocol):
    """What is known of a call before the version that answers it."""

    @property
    def routing_key(self) -> str:
        """Calls with the same key stay on the same side of a split."""
        ...

    def route(self, snapshot: Snapshot) -> Route:
        """What its names lead to.

        Raises:
            CallError: nothing.
        """
        ...

    def request(self, version: LoadedVersion, max_rows: int) -> Request:
        """Its rows, as the version takes them; of more than `max_rows` only their number.

        Raises:
            CallError: they are none.
        """
        ...


class Encoding(Protocol):
    """How calls of one method are written.

    `method` is what they are counted as.
    """

    @property
    def method(self) -> str:
        """Its name in statistics."""
        ...

    @property
    def streams(self) -> bool:
        """Whether its calls are streams."""
        ...

    def decode(self, data: bytes) -> Asked:
        """Read a call.

        Raises:
            CallError: the bytes are none.
        """
        ...

    def encode(
        self, asked: Asked, version: LoadedVersion, row_count: int, scores: Scores, server_ns: int
    ) -> bytes:
        """Write the answer.

        Raises:
            CallError: there is none, since a row is bad and the encoding has no errors by row.
        """
        ...

    def encode_error(self, asked: Asked | None, error: Exception) -> bytes | None:
        """Write an answer that tells of a failure; None where the call itself is to fail."""
        ...
