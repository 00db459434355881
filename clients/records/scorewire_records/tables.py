"""Blocks of rows as Arrow tables: the columns that records have in every store."""

from __future__ import annotations

from itertools import pairwise
from typing import TypeAlias
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from scorewire_contract.records.identity import writer_uuid
from scorewire_contract.records.rows import KEPT, NO_WRITER, OutputColumn, RowsBlock
from scorewire_contract.records.source import Output, Source
from scorewire_contract.records.texts import Texts
from scorewire_proto.v1.errors_pb2 import ErrorReason

_Mask: TypeAlias = "NDArray[np.bool_]"
_TIME = pa.timestamp("us", tz="UTC")
# The columns before those of features and outputs.
FIXED = pa.schema(
    [
        pa.field("prediction_id", pa.string(), nullable=False),
        pa.field("row", pa.int32(), nullable=False),
        pa.field("time", _TIME, nullable=False),
        pa.field("model", pa.string(), nullable=False),
        pa.field("version", pa.string(), nullable=False),
        pa.field("route", pa.string(), nullable=False),
        pa.field("route_kind", pa.string(), nullable=False),
        pa.field("share", pa.float64(), nullable=False),
        pa.field("caller", pa.string()),
        pa.field("principal", pa.string()),
        pa.field("routing_key", pa.string()),
        pa.field("shadow_of", pa.string()),
        pa.field("server_time_us", pa.int64(), nullable=False),
        pa.field("model_time_us", pa.int64(), nullable=False),
        pa.field("error_reason", pa.string()),
        pa.field("error_feature", pa.string()),
    ]
)
_REASON_PREFIX = "ERROR_REASON_"


def schema_of(source: Source) -> pa.Schema:
    """The columns of a source's records: the fixed ones, the features in the schema's order, the outputs."""
    numbers, texts = set(source.numbers), set(source.texts)
    features = [
        pa.field(f"feature_{name}", pa.float64() if name in numbers else pa.string())
        for name in source.features
        if name in numbers or name in texts
    ]
    outputs = [pa.field(f"output_{output.name}", _output_type(output)) for output in source.outputs]
    return pa.schema([*FIXED, *features, *outputs])


def to_table(start: UUID, source: Source, rows: RowsBlock) -> pa.Table:
    """The rows of a block as a table with the columns of `schema_of(source)`, one row per scored row.

    Missing values of features are null, and so are the outputs of rows with an error, and a caller, a
    principal or a routing key that is empty. Bytes that are not UTF-8 are replaced.
    """
    of_row = pa.array(rows.prediction_of_row)
    columns = {
        "prediction_id": _ids(start, rows.writers, rows.sequences).take(of_row),
        "row": pa.array(rows.index_of_row.astype(np.int32)),
        "time": pa.array(rows.times_us, pa.int64()).cast(_TIME).take(of_row),
        **{
            name: pa.repeat(value, len(of_row))
            for name, value in (
                ("model", source.model),
                ("version", source.version),
                ("route", source.route),
                ("route_kind", source.kind),
            )
        },
        "share": pa.array(np.where(rows.flags & KEPT, 1.0, source.share)).take(of_row),
        "caller": _texts(rows.callers).take(of_row),
        "principal": _texts(rows.principals).take(of_row),
        "routing_key": _texts(rows.routing_keys).take(of_row),
        "shadow_of": _originals(start, source, rows).take(of_row),
        "server_time_us": pa.array(rows.server_us, pa.int64()).take(of_row),
        "model_time_us": pa.array(rows.model_us, pa.int64()).take(of_row),
    }
    failed = np.zeros(len(of_row), bool)
    failed[rows.error_rows] = True
    reasons = {int(number): _reason(int(number)) for number in np.unique(rows.error_reasons)}
    columns["error_reason"] = _named(rows.error_rows, rows.error_reasons, reasons, len(failed))
    features = dict(enumerate(source.features))
    columns["error_feature"] = _named(rows.error_rows, rows.error_features, features, len(failed))
    for index, name in enumerate(source.numbers):
        column = np.ascontiguousarray(rows.numbers[:, index])
        columns[f"feature_{name}"] = pa.array(column, from_pandas=True)
    width = len(source.texts)
    texts = _texts(rows.texts)
    for index, name in enumerate(source.texts):
        columns[f"feature_{name}"] = texts.take(pa.array(np.arange(index, len(texts), width)))
    for output, values in zip(source.outputs, rows.outputs, strict=True):
        columns[f"output_{output.name}"] = _output(output, values, failed)
    schema = schema_of(source)
    return pa.table([columns[name] for name in schema.names], schema=schema)


def _ids(start: UUID, writers: NDArray[np.uint16], sequences: NDArray[np.uint64]) -> pa.Array:
    """The text of each prediction_id; null for the writer `NO_WRITER`."""
    numbers, of_number = np.unique(writers, return_inverse=True)
    known = [None if number == NO_WRITER else str(writer_uuid(start, number)) for number in numbers.tolist()]
    texts = pa.array(known, pa.string()).take(pa.array(of_number))
    return pc.binary_join_element_wise(texts, pa.array(sequences).cast(pa.string()), "-")


def _originals(start: UUID, source: Source, rows: RowsBlock) -> pa.Array:
    if not source.is_shadow:
        return pa.nulls(len(rows), pa.string())
    return _ids(start, rows.original_writers, rows.original_sequences)


def _reason(number: int) -> str:
    """The name of a reason without its prefix; the number of one that this version does not know."""
    known = {value: name.removeprefix(_REASON_PREFIX) for name, value in ErrorReason.items()}
    return known.get(ErrorReason.ValueType(number), str(number))


def _named(
    rows: NDArray[np.uint32], numbers: NDArray[np.uint16], names: dict[int, str], count: int
) -> pa.Array:
    """A column of `count` texts, null but for some rows, which have the name of a number."""
    if not len(rows):
        return pa.nulls(count, pa.string())
    places = {number: place for place, number in enumerate(names)}
    chosen = np.zeros(count, np.int32)
    chosen[rows] = [places[number] for number in numbers.tolist()]
    is_null = np.ones(count, bool)
    is_null[rows] = False
    return pa.array(list(names.values()), pa.string()).take(pa.array(chosen, mask=is_null))


def _texts(texts: Texts) -> pa.Array:
    """A column of texts, null where a text is empty."""
    array = _string_array(texts, valid=np.diff(texts.offsets) != 0)
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        data, ends = texts.data.tobytes(), texts.offsets.tolist()
        repaired = [data[begin:end].decode(errors="replace") for begin, end in pairwise(ends)]
        return pa.array([text or None for text in repaired], pa.string())
    return array


def _string_array(texts: Texts, *, valid: _Mask) -> pa.Array:
    buffers = [_bitmap(valid), pa.py_buffer(texts.offsets.view("<i4")), pa.py_buffer(texts.data)]
    return pa.StringArray.from_buffers(len(texts), buffers[1], buffers[2], buffers[0])


def _bitmap(valid: _Mask) -> pa.Buffer:
    return pa.py_buffer(np.packbits(valid, bitorder="little"))


def _output_type(output: Output) -> pa.DataType:
    value = pa.string() if output.is_text else pa.float64()
    return value if output.width == 1 else pa.list_(value)


def _output(output: Output, values: OutputColumn, failed: _Mask) -> pa.Array:
    """The column of an output; null for rows that failed. An empty text that was answered stays one."""
    flat = pc.fill_null(_texts(values), "") if isinstance(values, Texts) else pa.array(values.reshape(-1))
    is_null = pa.array(failed)
    if output.width == 1:
        return pc.if_else(is_null, pa.scalar(None, flat.type), flat)
    offsets = pa.array(np.arange(len(failed) + 1, dtype=np.int32) * output.width)
    return pa.ListArray.from_arrays(offsets, flat, mask=is_null)
