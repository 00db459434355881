"""Encodes the rows of a call, and decodes the response to them, for the schema of one model."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
from google.protobuf.message import Message

from scorewire._channels import DEFAULT_MAX_MESSAGE_BYTES
from scorewire._errors import InternalError, InvalidArgumentError, ResourceExhaustedError
from scorewire._models import Model, OutputKind
from scorewire._predictions import Predictions, ResponseDecoder, join
from scorewire._rows import EncodedRows, RowEncoder
from scorewire_proto.v1 import packed_pb2, prediction_pb2

# How grpc and both engines tell of a message beyond their limit, without a reason.
LARGER_THAN_MAX = "larger than max"
# The most bytes of a character in UTF-8.
_CHARACTER_BYTES = 4
# The most bytes of a field's tag and length.
_FIELD_BYTES = 8
# The most fields of a message besides those of its rows.
_FIELDS = 10
# The most bytes that a stream, and naming the version of the first part, add to a request.
_ENVELOPE_BYTES = 96
# What a response has for a row besides its numbers: the row's error, or texts.
_ROW_BYTES = 256
# What contributions have for each margin besides those of the rows: its base, and a label.
_MARGIN_BYTES = 512


@dataclass(slots=True, kw_only=True)
class Route:
    """The model and version that a call names, its routing key, and a digest of its own credential, if any.

    `explain` asks for contributions; None for none.

    Raises:
        InvalidArgumentError: a field is not a str, or not valid Unicode.
    """

    model: str
    version: str
    routing_key: str = ""
    caller: bytes = b""
    explain: prediction_pb2.Explain | None = None

    def __post_init__(self) -> None:
        model, version, routing_key = self.model, self.version, self.routing_key
        # Nearly always, and this is done for each call.
        if type(model) is type(version) is type(routing_key) is str and (
            model.isascii() and version.isascii() and routing_key.isascii()
        ):
            return
        for name, value in (("model", model), ("version", version), ("routing_key", routing_key)):
            if not isinstance(value, str):
                raise InvalidArgumentError(f"{name} must be a str, not {type(value).__name__}")
            try:
                value.encode()
            except UnicodeEncodeError:
                raise InvalidArgumentError(f"{name} is not valid Unicode") from None


class Codec:
    """Encodes requests and decodes responses for one schema; safe to share between threads.

    Args:
        model: the model, with its schema and the server's limits.
        max_message_bytes: the client's own limit; the server's counts if it is smaller.
    """

    def __init__(self, model: Model, max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES) -> None:
        self.created = time.monotonic()
        self.fingerprint = model.schema.fingerprint
        self.encoder = RowEncoder(model.schema)
        decoder = ResponseDecoder(model.schema)
        self.encode, self.decode, self.decode_row = self.encoder.encode, decoder.decode, decoder.decode_row
        self.limits = (model.max_rows, min(max_message_bytes, model.max_message_bytes or max_message_bytes))
        named = packed_pb2.PackedPredictRequest(model=model.name, schema_fingerprint=self.fingerprint)
        self._head = named.SerializeToString() + _tag(named, "rows")
        # A message of zeros ends in the zeros. Without them it is what comes before the numbers of a row.
        zeros = self.encoder.zeros()
        self._numbers_head = zeros.message().SerializeToString().removesuffix(zeros.numbers)
        outputs = model.schema.outputs
        widths = sum(output.width for output in outputs if output.kind is not OutputKind.TEXT)
        head = _head_bytes(model.name, model.version, *(output.name for output in outputs))
        # What a response without rows has, and what it has for each row.
        self._answer_bytes = head, 8 * widths + _ROW_BYTES
        self._margins = {output.name: max(output.width, len(output.class_labels), 1) for output in outputs}
        self._column_bytes = _head_bytes(*(feature.name for feature in model.schema.features))
        self._columns = len(model.schema.features)
        self._max_rows = self._most_rows(model.max_rows)

    def request(self, route: Route, rows: EncodedRows) -> packed_pb2.PackedPredictRequest:
        """The request that asks for predictions of the rows."""
        return packed_pb2.PackedPredictRequest(
            model=route.model,
            version=route.version,
            schema_fingerprint=self.fingerprint,
            routing_key=route.routing_key,
            rows=rows.message(),
            explain=route.explain,
        )

    def row_request(self, route: Route, row: EncodedRows) -> bytes:
        """As `request`, for one row, and serialized: messages cost more than half of the time for one row."""
        body = [self._numbers_head, row.numbers]
        for text in row.texts:
            data = text.encode()
            body += (_TEXTS_TAG, _varint(len(data)), data)
        rows = b"".join(body)
        if not (route.version or route.routing_key or route.explain):
            return b"".join((self._head, _varint(len(rows)), rows))
        # Fields may come in any order.
        named = packed_pb2.PackedPredictRequest(
            version=route.version, routing_key=route.routing_key, explain=route.explain
        )
        return b"".join((self._head, _varint(len(rows)), rows, named.SerializeToString()))

    def part_sizes(self, route: Route, rows: EncodedRows) -> list[int]:
        """How many rows each request takes, so that all are within the limits; a row is never divided.

        Raises:
            ResourceExhaustedError: one row alone is beyond the limits.
        """
        most_rows = (
            self._max_rows if route.explain is None else self._most_rows(self._max_rows, route.explain)
        )
        room = self.limits[1] - _head_bytes(route.model, route.version, route.routing_key, self.fingerprint)
        count = rows.row_count
        numbers = len(rows.numbers) // count
        texts = len(rows.texts) // count
        most = len(rows.numbers) + sum(map(len, rows.texts)) * _CHARACTER_BYTES
        most += len(rows.texts) * _FIELD_BYTES
        if count <= most_rows and most <= room:
            return [count]
        if texts:
            lengths = np.array([len(text.encode()) + _FIELD_BYTES for text in rows.texts])
            ends = np.cumsum(lengths.reshape(count, texts).sum(axis=1) + numbers)
        else:
            ends = np.arange(1, count + 1) * numbers
        sizes, start, before = [], 0, 0
        while start < count:
            fitting = int(np.searchsorted(ends, before + room, side="right"))
            if fitting == start:
                self._check_size(route, rows, start)
            stop = min(max(fitting, start + 1), start + most_rows, count)
            sizes.append(stop - start)
            start, before = stop, int(ends[stop - 1])
        return sizes

    def _most_rows(self, limit: int, explain: prediction_pb2.Explain | None = None) -> int:
        """How many rows the response has room for, and at most `limit` if that is not 0."""
        head, each = self._answer_bytes
        if explain is not None:
            # An output has at most one margin for each value or class. Which one is explained by default, the
            # schema does not tell.
            margins = self._margins.get(explain.output) or max(self._margins.values(), default=1)
            count = min(explain.top_k or self._columns, self._columns)
            place = len(_varint(self._columns)) if explain.top_k else 0
            each += margins * (8 + count * (8 + place))
            head += self._column_bytes + margins * _MARGIN_BYTES
        answered = max(1, (self.limits[1] - head) // each)
        return min(limit or answered, answered)

    def _check_size(self, route: Route, rows: EncodedRows, row: int) -> None:
        size = self.request(route, rows.part(row, row + 1)).ByteSize() + _ENVELOPE_BYTES
        if size > self.limits[1]:
            raise ResourceExhaustedError(
                f"rows[{row}] makes a message {LARGER_THAN_MAX}_message_bytes ({size} vs. {self.limits[1]})"
            )


def _tag(message: Message, field: str) -> bytes:
    """The tag of a field whose value has a length."""
    return _varint(message.DESCRIPTOR.fields_by_name[field].number << 3 | 2)


def _varint(number: int) -> bytes:
    if number < 0x80:
        return _BYTE[number]
    return _BYTE[number & 0x7F | 0x80] + _varint(number >> 7)


_BYTE = [bytes((value,)) for value in range(0x100)]
_TEXTS_TAG = _tag(packed_pb2.PackedRows(), "texts")


def _head_bytes(*names: str) -> int:
    """The most bytes of a message besides its rows; `names` are its texts."""
    return sum(map(len, names)) * _CHARACTER_BYTES + (_FIELDS + 2 * len(names)) * _FIELD_BYTES


class Exchange:
    """The requests for some rows, each within the limits, and the responses to them, one after the other.

    The version that answers the first request is named in the others, so that one
    version scores all rows.

    Attributes:
        codec: what encoded the rows.
        request: the next request to send.

    Raises:
        ResourceExhaustedError: one row alone is beyond the limits.
    """

    request: packed_pb2.PackedPredictRequest

    def __init__(self, codec: Codec, route: Route, rows: EncodedRows) -> None:
        self.codec, self._route, self._rows = codec, route, rows
        self._sizes = codec.part_sizes(route, rows)
        self._parts: list[Predictions] = []
        self._start = 0
        self._prepare()

    def take(self, response: packed_pb2.PackedPredictResponse) -> Predictions | None:
        """Take the response to `request`.

        Returns:
            The predictions of all rows after the last response. None before, and
            `request` is the next one.

        Raises:
            InternalError: the response does not fit the schema or the request.
            UnimplementedError: the server is older than contributions.
        """
        explained = None if self._route.explain is None else self._sent
        part = self.codec.decode(response, self._sizes[len(self._parts)], explained)
        if self._parts and part.version != self._parts[0].version:
            raise InternalError(f"{part.version} answered in place of {self._parts[0].version}")
        self._parts.append(part)
        if len(self._parts) == len(self._sizes):
            return join(self._parts)
        self._route = replace(self._route, version=part.version)
        self._prepare()
        return None

    def _prepare(self) -> None:
        stop = self._start + self._sizes[len(self._parts)]
        whole = len(self._sizes) == 1
        self._sent = self._rows if whole else self._rows.part(self._start, stop)
        self.request = self.codec.request(self._route, self._sent)
        self._start = stop
