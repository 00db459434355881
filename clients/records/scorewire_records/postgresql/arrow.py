"""Results of PostgreSQL as Arrow."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pyarrow as pa

from scorewire_records.postgresql.connection import Connection

_FLOATS = pa.list_(pa.float64())
# Types of PostgreSQL by name; what is not here becomes a text.
_TYPES = {
    "bool": pa.bool_(),
    "int2": pa.int16(),
    "int4": pa.int32(),
    "int8": pa.int64(),
    "float4": pa.float32(),
    "float8": pa.float64(),
    # Sums and means of integers.
    "numeric": pa.float64(),
    "text": pa.string(),
    "date": pa.date32(),
    "timestamptz": pa.timestamp("us", tz="UTC"),
    "timestamp": pa.timestamp("us"),
}
_LISTS = {"float8": _FLOATS, "numeric": _FLOATS, "int8": pa.list_(pa.int64()), "text": pa.list_(pa.string())}


def arrow_schema(connection: Connection, cursor: psycopg.Cursor[Any]) -> pa.Schema:
    """The columns of a result; a type that is not known here becomes a text."""
    fields = []
    for column in cursor.description or ():
        info = connection.adapters.types.get(column.type_code)
        is_list = info is not None and column.type_code == info.array_oid
        known = (_LISTS if is_list else _TYPES).get(info.name) if info is not None else None
        fields.append(pa.field(column.name, known or pa.string()))
    return pa.schema(fields)


def arrow_batches(
    cursor: psycopg.Cursor[Any], schema: pa.Schema, fetch: Callable[[], psycopg.Cursor[Any]]
) -> Iterator[pa.RecordBatch]:
    """The rows of a cursor, then those of the cursors that `fetch` gives, up to one without rows."""
    while rows := cursor.fetchall():
        yield arrow_batch(rows, schema)
        cursor = fetch()


def arrow_batch(rows: list[Any], schema: pa.Schema) -> pa.RecordBatch:
    """Rows as columns."""
    columns = zip(*rows, strict=True) if rows else [()] * len(schema)
    arrays = [
        pa.array([_value(each, kind.type) for each in column], kind.type)
        for column, kind in zip(columns, schema, strict=True)
    ]
    return pa.record_batch(arrays, schema=schema)


def _value(value: Any, kind: pa.DataType) -> Any:
    """A value of psycopg as Arrow takes it."""
    if value is None:
        return None
    if pa.types.is_list(kind):
        return [_value(each, kind.value_type) for each in value]
    if pa.types.is_string(kind):
        if isinstance(value, dict | list):
            return json.dumps(value, default=str)
        return str(value)
    return float(value) if pa.types.is_floating(kind) else value
