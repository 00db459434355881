"""Encodes the rows of a call, and decodes the response to them, for the schema of one model."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from scorewire._errors import InvalidArgumentError
from scorewire._models import Model
from scorewire._predictions import Prediction, Predictions, ResponseDecoder
from scorewire._rows import RowEncoder, Rows
from scorewire_proto.v1 import packed_pb2


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """The model and version that a call names, and its routing key.

    Raises:
        InvalidArgumentError: a field is not a str, or not valid Unicode.
    """

    model: str
    version: str
    routing_key: str = ""

    def __post_init__(self) -> None:
        for name in ("model", "version", "routing_key"):
            value = getattr(self, name)
            if not isinstance(value, str):
                raise InvalidArgumentError(f"{name} must be a str, not {type(value).__name__}")
            try:
                value.encode()
            except UnicodeEncodeError:
                raise InvalidArgumentError(f"{name} is not valid Unicode") from None


class Codec:
    """Encodes requests and decodes responses for one schema; safe to share between threads."""

    def __init__(self, model: Model) -> None:
        self.created = time.monotonic()
        self.fingerprint = model.schema.fingerprint
        self._encoder = RowEncoder(model.schema)
        self._decoder = ResponseDecoder(model.schema)

    def encode(self, route: Route, rows: Rows) -> packed_pb2.PackedPredictRequest:
        """The request that asks for predictions of the rows.

        Raises:
            InvalidRowsError: the rows do not fit the schema.
        """
        return packed_pb2.PackedPredictRequest(
            model=route.model,
            version=route.version,
            schema_fingerprint=self.fingerprint,
            routing_key=route.routing_key,
            rows=self._encoder.encode(rows),
        )

    def decode(
        self,
        rows: Rows,
        request: packed_pb2.PackedPredictRequest,
        response: packed_pb2.PackedPredictResponse,
    ) -> Prediction | Predictions:
        """The predictions in a response.

        Args:
            rows: what the caller passed.
            request: the rows, encoded.
            response: the server's response to the request.

        Returns:
            A `Prediction` where the caller passed one row as a mapping; else the `Predictions`.

        Raises:
            InternalError: the response does not fit the schema or the request.
        """
        predictions = self._decoder.decode(response, request.rows.row_count)
        return predictions[0] if isinstance(rows, Mapping) else predictions
