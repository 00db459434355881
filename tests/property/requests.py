"""Strategies for requests of every kind, good and bad, for the models of `oracle.write_models`.

Half of the mutations change fields (wrong counts, unknown names, odd numbers and
texts). The other half change bytes (other encodings of the same message, flipped bits,
missing or repeated pieces, noise).
"""

from __future__ import annotations

import math

from hypothesis import strategies as st

from scorewire_proto.v1 import prediction_pb2
from tests.bundles import COUNTRIES, GREETINGS
from tests.property import encoding
from tests.property.oracle import MAX_ROWS, MODELS

LONGEST_TEXT = 20_000
_TOO_MANY = (MAX_ROWS + 1, 2**31, 2**32 - 1)
_ROW_COUNT, _NUMBERS, _TEXTS = (
    prediction_pb2.Rows.DESCRIPTOR.fields_by_name[name].number for name in ("row_count", "numbers", "texts")
)
_MODEL, _VERSION, _FINGERPRINT, _ROUTING_KEY, _ROWS = (
    prediction_pb2.PredictRequest.DESCRIPTOR.fields_by_name[name].number
    for name in ("model", "version", "schema_fingerprint", "routing_key", "rows")
)
_CORRELATION_ID, _REQUEST = (
    prediction_pb2.PredictStreamRequest.DESCRIPTOR.fields_by_name[name].number
    for name in ("correlation_id", "request")
)

numbers = st.one_of(
    st.floats(-100, 100),
    st.floats(),
    st.sampled_from(
        [
            *(math.nan, math.inf, -math.inf, 0.0, -0.0, 5e-324, 2.0**24 + 1, 2.0**53),
            *(1e30, -1e30, math.nextafter(1e30, math.inf), 1e31, 1e308, -1e308),
        ]
    ),
)
_odd_texts = st.sampled_from(
    [
        "\x00",
        "de\x00",
        "\u202ede",
        "\ufeff",
        "é",
        "e\u0301",
        "日本",
        "𝒹𝑒",
        "\U0010ffff",
        "\u00a0de",
        "DE\u2003",
    ]
)
_long_texts = st.builds(
    lambda character, count: character * count,
    st.sampled_from(["x", " ", "é", "\U0001f600", "\n"]),
    st.integers(100, LONGEST_TEXT),
)
texts = st.one_of(
    st.sampled_from([*COUNTRIES, *GREETINGS, " DE\t", "Pe"]), st.text(max_size=12), _odd_texts, _long_texts
)
_names = st.one_of(st.sampled_from([*MODELS, "", "SUM", "nobody"]), texts)


@st.composite
def _good(draw: st.DrawFn) -> prediction_pb2.PredictRequest:
    """A request that is answered; its rows may have errors."""
    name = draw(st.sampled_from(list(MODELS)))
    model = MODELS[name]
    count = draw(st.integers(1, 4))
    rows = prediction_pb2.Rows(
        row_count=count,
        numbers=[draw(numbers) for _ in range(count * model.number_count)],
        texts=[draw(texts) for _ in range(count * model.text_count)],
    )
    version = draw(st.sampled_from(["", *model.offsets]))
    return prediction_pb2.PredictRequest(model=name, version=version, rows=rows)


@st.composite
def _odd_fields(draw: st.DrawFn) -> prediction_pb2.PredictRequest:
    """A request with one or two fields that may be wrong."""
    request = draw(_good())
    fields = st.sampled_from(
        ["model", "version", "schema_fingerprint", "routing_key", "row_count", "numbers", "texts", "rows"]
    )
    for field in draw(st.lists(fields, min_size=1, max_size=2)):
        if field == "model":
            request.model = draw(_names)
        elif field == "version":
            request.version = draw(st.one_of(st.sampled_from(["1.0.0", "1.0", "v1.0.0", "latest"]), texts))
        elif field == "schema_fingerprint":
            request.schema_fingerprint = draw(
                st.one_of(st.sampled_from([model.fingerprint for model in MODELS.values()]), texts)
            )
        elif field == "routing_key":
            request.routing_key = draw(texts)
        elif field == "row_count":
            request.rows.row_count = draw(
                st.one_of(
                    st.integers(0, 8), st.sampled_from([MAX_ROWS, *_TOO_MANY]), st.sampled_from(_TOO_MANY)
                )
            )
        elif field == "numbers":
            request.rows.numbers[:] = draw(st.lists(numbers, max_size=10))
        elif field == "texts":
            request.rows.texts[:] = draw(st.lists(texts, max_size=10))
        else:
            request.ClearField("rows")
    return request


@st.composite
def _unknown_field(draw: st.DrawFn, numbers_taken: int = 8) -> bytes:
    """An unknown field, or a known field with another wire type."""
    number = draw(st.one_of(st.integers(1, numbers_taken), st.integers(9, 2**29 - 1)))
    content = draw(st.binary(max_size=8))
    return draw(
        st.sampled_from(
            [
                encoding.varint_field(number, int.from_bytes(content, "little")),
                encoding.tag(number, encoding.FIXED64) + content.ljust(8, b"\x00"),
                encoding.tag(number, encoding.FIXED32) + content[:4].ljust(4, b"\x00"),
                encoding.bytes_field(number, content),
                encoding.group(number, encoding.varint_field(number, 1)),
                encoding.group(number, content),
                encoding.tag(number, encoding.GROUP_START),
            ]
        )
    )


@st.composite
def _numbers_in_pieces(draw: st.DrawFn, values: list[float]) -> list[bytes]:
    """Doubles that are packed, not packed, or a mix of both."""
    pieces = []
    while values:
        size = draw(st.integers(0, len(values)))
        write = draw(st.sampled_from([encoding.packed, encoding.unpacked]))
        pieces.append(write(_NUMBERS, values[:size]))
        values = values[size:] if size else values[1:] if draw(st.booleans()) else values
    return pieces


@st.composite
def _encoded_by_hand(draw: st.DrawFn) -> bytes:
    """A request in an encoding that no library writes, with the same meaning or nearly the same."""
    request = draw(_good() if draw(st.booleans()) else _odd_fields())
    rows = [
        *draw(_numbers_in_pieces(list(request.rows.numbers))),
        *(encoding.bytes_field(_TEXTS, text.encode()) for text in request.rows.texts),
        encoding.varint_field(_ROW_COUNT, request.rows.row_count, draw(st.integers(0, 5))),
    ]
    rows = draw(_with_oddities(rows))
    cut = draw(st.integers(0, len(rows)))
    fields = [
        encoding.bytes_field(_MODEL, request.model.encode()),
        encoding.bytes_field(_VERSION, request.version.encode()),
        encoding.bytes_field(_FINGERPRINT, request.schema_fingerprint.encode()),
        encoding.bytes_field(_ROUTING_KEY, request.routing_key.encode()),
        # Two pieces of a message field are merged into one message.
        encoding.bytes_field(_ROWS, b"".join(rows[:cut])),
        encoding.bytes_field(_ROWS, b"".join(rows[cut:])),
    ]
    return b"".join(draw(_with_oddities(fields)))


@st.composite
def _with_oddities(draw: st.DrawFn, fields: list[bytes]) -> list[bytes]:
    """The fields, possibly in another order, with unknown fields between them or one field repeated."""
    if draw(st.booleans()):
        fields = draw(st.permutations(fields))
    for _ in range(draw(st.integers(0, 2))):
        extra = draw(st.one_of(_unknown_field(), st.sampled_from(fields))) if fields else b""
        place = draw(st.integers(0, len(fields)))
        fields = [*fields[:place], extra, *fields[place:]]
    return fields


@st.composite
def _flip_bits(draw: st.DrawFn, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        changed[draw(st.integers(0, len(data) - 1))] ^= 1 << draw(st.integers(0, 7))
    return bytes(changed)


@st.composite
def _change_a_slice(draw: st.DrawFn, data: bytes) -> bytes:
    """The bytes with one slice removed, repeated, or replaced by noise."""
    begin = draw(st.integers(0, len(data) - 1))
    end = min(len(data), begin + draw(st.integers(1, 16)))
    middle = draw(st.sampled_from([b"", data[begin:end] * 2, b"\xff" * (end - begin), None]))
    return data[:begin] + (draw(st.binary(max_size=16)) if middle is None else middle) + data[end:]


@st.composite
def _truncate(draw: st.DrawFn, data: bytes) -> bytes:
    return data[: draw(st.integers(0, len(data) - 1))]


def _damaged(messages: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Messages with changed bytes."""
    some = messages.filter(bool)
    return st.one_of(
        some.flatmap(_flip_bits),
        some.flatmap(_change_a_slice),
        some.flatmap(_truncate),
        some.map(lambda data: data + data),
        st.builds(lambda data, extra: data + extra, some, _unknown_field()),
        # A text that is not UTF-8.
        st.builds(
            lambda data, field, text: data + encoding.bytes_field(field, text),
            some,
            st.sampled_from([_MODEL, _VERSION, _FINGERPRINT, _ROUTING_KEY]),
            st.sampled_from([b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"sum\xe2\x82"]),
        ),
    )


def _write(request: prediction_pb2.PredictRequest) -> bytes:
    return request.SerializeToString(deterministic=True)


def _weighted(*strategies: tuple[int, st.SearchStrategy[bytes]]) -> st.SearchStrategy[bytes]:
    """As one_of, but with weights; one_of gives nested strategies equal shares."""
    choices = [strategy for weight, strategy in strategies for _ in range(weight)]
    return st.integers(0, len(choices) - 1).flatmap(choices.__getitem__)


# Bytes for Predict.
unary_messages = _weighted(
    (4, _good().map(_write)),
    (6, _odd_fields().map(_write)),
    (6, _encoded_by_hand()),
    (5, _damaged(st.one_of(_good().map(_write), _encoded_by_hand()))),
    (1, st.binary(max_size=64)),
)

_correlation_ids = st.one_of(st.integers(0, 100), st.sampled_from([2**31, 2**63, 2**64 - 1]))
_framed = st.builds(
    lambda correlation_id, data: (
        encoding.varint_field(_CORRELATION_ID, correlation_id) + encoding.bytes_field(_REQUEST, data)
    ),
    _correlation_ids,
    unary_messages,
)

# Bytes for PredictStream.
stream_messages = _weighted((15, _framed), (4, _damaged(_framed)), (1, st.binary(max_size=64)))
