"""What an encoding is: how the calls of one prediction method are read and written.

An encoding knows bytes and the tables of a version, and neither routes nor
snapshots: it says which model and version a call names, and the predictor finds
the version that answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from scorewire_contract.scoring import Scorer, Scores
from scorewire_server.engine.encodings.tensor_codec import TensorCodec
from scorewire_server.engine.encodings.typed_codec import TypedCodec
from scorewire_server.engine.explaining import Explain, Explained


class VersionName(NamedTuple):
    """The model that a caller names, and a version or an alias of it.

    Attributes:
        model: the model's name.
        version: a version, an alias, or "" for the default route.
        major: the major version, for a caller that knows versions of one major only; else None.
    """

    model: str
    version: str = ""
    major: int | None = None


class EncodedVersion(Protocol):
    """What encodings need of a loaded version."""

    @property
    def model(self) -> str: ...  # noqa: D102 - as the class says

    @property
    def version(self) -> str: ...  # noqa: D102

    @property
    def scorer(self) -> Scorer: ...  # noqa: D102

    @property
    def typed(self) -> TypedCodec: ...  # noqa: D102

    @property
    def tensors(self) -> TensorCodec: ...  # noqa: D102


@dataclass(slots=True, eq=False)  # not frozen: that would cost a microsecond a call
class Request:
    """The rows of a call, as every encoding gives them; `numbers` and `texts` are row-major and read-only."""

    model: str
    version: str
    schema_fingerprint: str
    routing_key: str
    row_count: int
    numbers: NDArray[np.float64]
    texts: Sequence[str]
    correlation_id: int = 0
    explain: Explain | None = None

    @property
    def target(self) -> VersionName:
        """The model and the version that the caller names."""
        return VersionName(self.model, self.version)

    def request(self, version: EncodedVersion, max_rows: int) -> Request:  # noqa: ARG002 - the rows are read already
        """This request itself, since its rows are read already."""
        return self


class DecodedCall(Protocol):
    """A call of which the names are read. Its rows may be read later, by the version that answers."""

    @property
    def routing_key(self) -> str:
        """Calls with the same key stay on the same side of a split."""
        ...

    @property
    def target(self) -> VersionName:
        """The model and the version that the caller names."""
        ...

    def request(self, version: EncodedVersion, max_rows: int) -> Request:
        """The rows, as the version takes them; of more than `max_rows` only their number.

        Raises:
            CallError: the rows do not parse, or do not fit the version.
        """
        ...


class Answer(NamedTuple):
    """The content of an answer.

    Attributes:
        version: the version that answered.
        row_count: rows of the request.
        scores: the outputs and the errors of these rows.
        server_ns: nanoseconds from the decoded request to the scores.
        prediction_id: the id of the record; "" for a prediction that is not recorded.
        explained: the contributions to an output, if the caller wants them.
    """

    version: EncodedVersion
    row_count: int
    scores: Scores
    server_ns: int
    prediction_id: str = ""
    explained: Explained | None = None


class CallFails:
    """A base of encodings without an answer for failures: a failure ends the call."""

    __slots__ = ()

    def encode_error(self, call: DecodedCall | None, error: Exception) -> bytes | None:  # noqa: ARG002 - of the protocol
        """None, since the call itself fails."""
        return None


class Encoding(Protocol):
    """How the calls of one method are read and written."""

    def decode(self, data: bytes) -> DecodedCall:
        """Read a call.

        Raises:
            CallError: the bytes are not the message that the method takes.
        """
        ...

    def encode(self, call: DecodedCall, answer: Answer) -> bytes:
        """Write an answer.

        Raises:
            CallError: a row is bad, and the encoding has no errors by row.
        """
        ...

    def encode_error(self, call: DecodedCall | None, error: Exception) -> bytes | None:
        """Write an answer that tells of a failure; None if the call itself is to fail.

        Args:
            call: the call; None if it could not be decoded.
            error: the failure.
        """
        ...
