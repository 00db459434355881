"""The encodings of the typed services: Predict, PredictBatch and PredictStream of each model.

Only the version that answers knows the fields of its rows, so the rows are parsed
once that version is known. A version or an alias, and a routing key, come in the
call's metadata.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from scorewire_server.engine.encodings.encoding import (
    Answer,
    CallFails,
    DecodedCall,
    EncodedVersion,
    Request,
    VersionName,
)

VERSION_METADATA, ROUTING_KEY_METADATA = "scorewire-version", "scorewire-routing-key"


@dataclass(frozen=True, slots=True)
class _TypedCall:
    data: bytes
    target: VersionName
    routing_key: str

    def request(self, version: EncodedVersion, max_rows: int) -> Request:  # noqa: ARG002 - it has one row
        row_count, numbers, texts = version.typed.read_row(self.data)
        return Request(version.model, version.version, "", "", row_count, numbers, texts)


@dataclass(frozen=True, slots=True)
class _TypedBatchCall(_TypedCall):
    def request(self, version: EncodedVersion, max_rows: int) -> Request:
        row_count, numbers, texts = version.typed.read_rows(self.data, max_rows)
        return Request(version.model, version.version, "", "", row_count, numbers, texts)


@dataclass(frozen=True, slots=True)
class TypedEncoding(CallFails):
    """The encoding of Predict, for one call: an error of the row ends the call."""

    target: VersionName
    routing_key: str = ""

    def decode(self, data: bytes) -> DecodedCall:
        """Keep the bytes for the version that answers."""
        return _TypedCall(data, self.target, self.routing_key)

    def encode(self, call: DecodedCall, answer: Answer) -> bytes:  # noqa: ARG002 - the encodings share a signature
        """Write the prediction of the row."""
        if answer.scores.errors:
            raise answer.version.typed.refusal(answer.scores.errors[0])
        return answer.version.typed.write_prediction(answer.scores, answer.prediction_id)


class TypedStreamEncoding(TypedEncoding):
    """The encoding of PredictStream: a row's error is in its prediction; other failures end the stream."""

    __slots__ = ()

    def encode(self, call: DecodedCall, answer: Answer) -> bytes:  # noqa: ARG002 - as above
        """Write the prediction of the row, or its error."""
        return answer.version.typed.write_prediction(answer.scores, answer.prediction_id)


class TypedBatchEncoding(TypedEncoding):
    """The encoding of PredictBatch: an error of a row is in its prediction."""

    __slots__ = ()

    def decode(self, data: bytes) -> DecodedCall:
        """Keep the bytes for the version that answers."""
        return _TypedBatchCall(data, self.target, self.routing_key)

    def encode(self, call: DecodedCall, answer: Answer) -> bytes:  # noqa: ARG002 - as above
        """Write the predictions of all rows."""
        return answer.version.typed.write_predictions(answer.row_count, answer.scores, answer.prediction_id)


def read_metadata(metadata: Iterable[tuple[str, str | bytes]]) -> tuple[str, str]:
    """The version or alias and the routing key in a typed call's metadata; "" for one that is not there."""
    values = {key: str(value) for key, value in metadata if key in (VERSION_METADATA, ROUTING_KEY_METADATA)}
    return values.get(VERSION_METADATA, ""), values.get(ROUTING_KEY_METADATA, "")
