"""The encodings of the typed services: Predict, PredictBatch and PredictStream of each model.

Only the version that answers knows the fields of its rows, so the rows are parsed
once that version is known. A version or an alias, and a routing key, come in the
call's metadata.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scorewire_server.engine.encodings.encoding import (
    Answer,
    CallFails,
    DecodedCall,
    EncodedVersion,
    Request,
    VersionName,
)
from scorewire_server.engine.explaining import Explain

VERSION_METADATA, ROUTING_KEY_METADATA = "scorewire-version", "scorewire-routing-key"
# How many columns are to be explained: a number, or any other text for all; and of which output.
EXPLAIN_METADATA, EXPLAIN_OUTPUT_METADATA = "scorewire-explain", "scorewire-explain-output"
_KEYS = frozenset({VERSION_METADATA, ROUTING_KEY_METADATA, EXPLAIN_METADATA, EXPLAIN_OUTPUT_METADATA})
_MOST_COLUMNS, _MOST_DIGITS = (1 << 32) - 1, 18


@dataclass(frozen=True, slots=True)
class _TypedCall:
    data: bytes
    target: VersionName
    routing_key: str
    explain: Explain | None

    def request(self, version: EncodedVersion, max_rows: int) -> Request:  # noqa: ARG002 - it has one row
        row_count, numbers, texts = version.typed.read_row(self.data)
        return self._request(version, row_count, numbers, texts)

    def _request(
        self, version: EncodedVersion, row_count: int, numbers: NDArray[np.float64], texts: list[str]
    ) -> Request:
        return Request(
            version.model, version.version, "", "", row_count, numbers, texts, explain=self.explain
        )


@dataclass(frozen=True, slots=True)
class _TypedBatchCall(_TypedCall):
    def request(self, version: EncodedVersion, max_rows: int) -> Request:
        row_count, numbers, texts = version.typed.read_rows(self.data, max_rows)
        return self._request(version, row_count, numbers, texts)


@dataclass(frozen=True, slots=True)
class TypedEncoding(CallFails):
    """The encoding of Predict, for one call: an error of the row ends the call."""

    target: VersionName
    routing_key: str = ""
    explain: Explain | None = None

    def decode(self, data: bytes) -> DecodedCall:
        """Keep the bytes for the version that answers."""
        return _TypedCall(data, self.target, self.routing_key, self.explain)

    def encode(self, call: DecodedCall, answer: Answer) -> bytes:  # noqa: ARG002 - the encodings share a signature
        """Write the prediction of the row."""
        if answer.scores.errors:
            raise answer.version.typed.refusal(answer.scores.errors[0])
        return answer.version.typed.write_prediction(answer.scores, answer.prediction_id, answer.explained)


class TypedStreamEncoding(TypedEncoding):
    """The encoding of PredictStream: a row's error is in its prediction; other failures end the stream."""

    __slots__ = ()

    def encode(self, call: DecodedCall, answer: Answer) -> bytes:  # noqa: ARG002 - as above
        """Write the prediction of the row, or its error."""
        return answer.version.typed.write_prediction(answer.scores, answer.prediction_id, answer.explained)


class TypedBatchEncoding(TypedEncoding):
    """The encoding of PredictBatch: an error of a row is in its prediction."""

    __slots__ = ()

    def decode(self, data: bytes) -> DecodedCall:
        """Keep the bytes for the version that answers."""
        return _TypedBatchCall(data, self.target, self.routing_key, self.explain)

    def encode(self, call: DecodedCall, answer: Answer) -> bytes:  # noqa: ARG002 - as above
        """Write the predictions of all rows."""
        return answer.version.typed.write_predictions(
            answer.row_count, answer.scores, answer.prediction_id, answer.explained
        )


class TypedMetadata(NamedTuple):
    """What the metadata of a typed call says.

    Attributes:
        version: a version or an alias; "" for none.
        routing_key: the routing key; "" for none.
        explain: what is to be explained.
    """

    version: str
    routing_key: str
    explain: Explain | None


def read_metadata(metadata: Iterable[tuple[str, str | bytes]]) -> TypedMetadata:
    """What a typed call's metadata says; of several entries with one key the last counts."""
    values = {key: str(value) for key, value in metadata if key in _KEYS}
    count = values.get(EXPLAIN_METADATA)
    explain = None
    if count is not None:
        top_k = min(int(count), _MOST_COLUMNS) if _is_number(count) else 0
        explain = Explain(top_k, values.get(EXPLAIN_OUTPUT_METADATA, ""))
    return TypedMetadata(values.get(VERSION_METADATA, ""), values.get(ROUTING_KEY_METADATA, ""), explain)


def _is_number(text: str) -> bool:
    """Whether a text has digits only, and so few that it may be turned into a number at once."""
    return text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS
