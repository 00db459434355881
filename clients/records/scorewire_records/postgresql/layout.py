"""Tables of rows: which columns a source's rows have, and the rows of a block as these columns."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from scorewire_contract.records.identity import writer_uuid
from scorewire_contract.records.rows import KEPT, NO_WRITER, RowsBlock
from scorewire_contract.records.source import Source
from scorewire_contract.records.texts import Texts
from scorewire_records.postgresql.copying import (
    NUL_SYMBOL,
    Field,
    Fixed,
    NumberArray,
    TextArray,
    TextColumns,
    text_columns,
)
from scorewire_records.postgresql.identifiers import identifiers, table_name

# PostgreSQL counts times in microseconds since 2000.
_EPOCH_US = 946_684_800_000_000
DAY_US = 86_400_000_000
# A row must fit in a page of 8 KiB; only texts and arrays can be moved elsewhere, for a pointer. A table has
# 1,600 columns at most, of which some are ours.
_MAX_ROW_BYTES = 7000
_MAX_COLUMNS = 1500
_NUMBER_BYTES, _POINTER_BYTES = 8, 24
NUMBERS, TEXTS = "feature_numbers", "feature_texts"

_FIXED = (
    ("time", "timestamptz NOT NULL"),
    ("sequence", "bigint NOT NULL"),
    ("server_time_us", "bigint NOT NULL"),
    ("model_time_us", "bigint NOT NULL"),
    ("share", "double precision NOT NULL"),
    ("row", "integer NOT NULL"),
    ("source", "integer NOT NULL"),
    ("writer", "uuid NOT NULL"),
)
# Left out of COPY where no row has them.
_ERRORS = (("error_reason", "integer NOT NULL DEFAULT 0"), ("error_feature", "integer NOT NULL DEFAULT 0"))
_SHADOW = (("shadow_sequence", "bigint"), ("shadow_writer", "uuid"))
_CALLER = ("caller", "text NOT NULL")
_PRINCIPAL = ("principal", "text NOT NULL")
_ROUTING_KEY = ("routing_key", "text NOT NULL")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        name: the name in the table.
        type: the type, as SQL.
        full_name: the name before it was cut.
    """

    name: str
    type: str
    full_name: str


class Layout:
    """The table for the rows of a source.

    Sources of one model, schema and treatment of features share a table, and those that drop principals have
    another one than those that record them. So tables from before there were principals stay as they are.

    Attributes:
        table: the table's name.
        is_wide: whether the features are in two arrays, because they do not fit into a row as columns.
        has_principal: whether there is a column of principals: not if the policy drops them.
        columns: all columns, in the table's order.
        features: the column of each feature that is recorded, by its name; empty if `is_wide`.
        outputs: the column of each output, in their order.
    """

    def __init__(self, source: Source) -> None:
        names = [f"feature_{name}" for name in (*source.numbers, *source.texts)]
        outputs = [f"output_{output.name}" for output in source.outputs]
        short = dict(zip((*names, *outputs), identifiers([*names, *outputs]), strict=True))
        self._source = source
        self.table = table_name(source.model, _form(source))
        self.is_wide = _is_wide(source)
        self.has_principal = source.principal != "drop"
        self._named = (_CALLER, *([_PRINCIPAL] if self.has_principal else []), _ROUTING_KEY)
        self.outputs = [
            Column(short[name], _output_type(output.is_text, output.width), name)
            for name, output in zip(outputs, source.outputs, strict=True)
        ]
        number = len(source.numbers)
        types = ["double precision"] * number + ["text"] * len(source.texts)
        features = [Column(short[name], type_, name) for name, type_ in zip(names, types, strict=True)]
        recorded = (*source.numbers, *source.texts)
        self.features = {} if self.is_wide else dict(zip(recorded, features, strict=True))
        if self.is_wide:
            self._numbers = [Column(NUMBERS, "double precision[]", NUMBERS)] if source.numbers else []
            self._texts = [Column(TEXTS, "text[]", TEXTS)] if source.texts else []
        else:
            self._numbers, self._texts = features[:number], features[number:]
        is_text = [output.is_text for output in source.outputs]
        self._number_outputs = [each for each, text in zip(self.outputs, is_text, strict=True) if not text]
        self._text_outputs = [each for each, text in zip(self.outputs, is_text, strict=True) if text]
        self.columns = [
            *(Column(name, type_, name) for name, type_ in (*_FIXED, *_ERRORS, *_SHADOW)),
            *(Column(each.name, f"{each.type} NOT NULL", each.full_name) for each in self._numbers),
            *(Column(each.name, f"{each.type} NOT NULL", each.full_name) for each in self._number_outputs),
            *(Column(name, type_, name) for name, type_ in self._named),
            *(Column(each.name, f"{each.type} NOT NULL", each.full_name) for each in self._texts),
            *(Column(each.name, f"{each.type} NOT NULL", each.full_name) for each in self._text_outputs),
        ]

    def copied(self, block: RowsBlock) -> tuple[str, ...]:
        """The columns that COPY gets of a block, in the order of `fields`."""
        optional = [*(_ERRORS if len(block.error_rows) else ()), *(_SHADOW if self._source.is_shadow else ())]
        return (
            *(name for name, _ in (*_FIXED, *optional)),
            *(each.name for each in (*self._numbers, *self._number_outputs)),
            *(name for name, _ in self._named),
            *(each.name for each in (*self._texts, *self._text_outputs)),
        )

    def fields(self, start: UUID, source: Source, source_id: int, block: RowsBlock) -> Iterator[Field]:
        """The fields of a block's rows, for `copying.encode_rows`.

        Args:
            start: the start that the block is of.
            source: the block's source, which has this layout.
            source_id: the source's id in the database.
            block: the rows.
        """
        of_row = block.prediction_of_row
        # Most blocks have a row for each prediction.
        is_plain = len(of_row) == len(block)

        def by_row(values: NDArray[np.generic]) -> NDArray[np.generic]:
            return values if is_plain else values[of_row]

        yield Fixed(">i8", by_row(block.times_us - _EPOCH_US))
        yield Fixed(">i8", by_row(block.sequences))
        yield Fixed(">i8", by_row(block.server_us))
        yield Fixed(">i8", by_row(block.model_us))
        yield Fixed(">f8", by_row(np.where(block.flags & KEPT, 1.0, source.share)))
        yield Fixed(">i4", block.index_of_row)
        yield Fixed(">i4", np.array([source_id]))
        yield Fixed("V16", by_row(_uuids(start, block.writers)))
        if len(block.error_rows):
            yield Fixed(">i4", _errors(block.error_rows, block.error_reasons, len(of_row)))
            yield Fixed(">i4", _errors(block.error_rows, block.error_features, len(of_row)))
        if source.is_shadow:
            # -1: the original has no record.
            has_record = block.original_writers != NO_WRITER
            yield Fixed(">i8", by_row(np.where(has_record, block.original_sequences.astype(np.int64), -1)))
            yield Fixed("V16", by_row(_uuids(start, block.original_writers)))
        if source.numbers:
            yield NumberArray(block.numbers) if self.is_wide else Fixed(">f8", block.numbers)
        for output, values in zip(source.outputs, block.outputs, strict=True):
            if not isinstance(values, Texts):
                yield Fixed(">f8", values) if output.width == 1 else NumberArray(values)
        named = [block.callers, *([block.principals] if self.has_principal else []), block.routing_keys]
        yield from text_columns(*(named if is_plain else [each.take(of_row) for each in named]))
        if source.texts:
            width = len(source.texts)
            yield TextArray(block.texts, width) if self.is_wide else TextColumns(block.texts, width)
        for output, values in zip(source.outputs, block.outputs, strict=True):
            if isinstance(values, Texts):
                yield TextColumns(values) if output.width == 1 else TextArray(values, output.width)


def storable(source: Source) -> Source:
    """The source with names that PostgreSQL can store."""

    def names(given: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(each.replace("\0", NUL_SYMBOL).encode(errors="replace").decode() for each in given)

    return replace(
        source,
        features=names(source.features),
        numbers=names(source.numbers),
        texts=names(source.texts),
        hashed=names(source.hashed),
        dropped=names(source.dropped),
        outputs=tuple(replace(each, name=names((each.name,))[0]) for each in source.outputs),
    )


def _form(source: Source) -> str:
    """What makes two sources have different tables, as text."""
    outputs = [[output.name, output.width, output.is_text] for output in source.outputs]
    features = [source.features, source.numbers, source.texts, source.hashed, source.dropped]
    principal = [] if source.principal == "drop" else ["principal"]
    return json.dumps([source.fingerprint, *features, outputs, *principal])


def _is_wide(source: Source) -> bool:
    columns = len(source.numbers) + len(source.texts)
    size = _NUMBER_BYTES * len(source.numbers) + _POINTER_BYTES * len(source.texts)
    size += sum(_NUMBER_BYTES if output.width == 1 else _POINTER_BYTES for output in source.outputs)
    return columns + len(source.outputs) > _MAX_COLUMNS or size > _MAX_ROW_BYTES


def _output_type(is_text: bool, width: int) -> str:
    return ("text" if is_text else "double precision") + ("" if width == 1 else "[]")


def _uuids(start: UUID, writers: NDArray[np.uint16]) -> NDArray[np.void]:
    """The UUID of each writer: shape (n,), 16 bytes each."""
    result = np.tile(np.frombuffer(writer_uuid(start, 0).bytes, np.uint8), (len(writers), 1))
    result[:, 14:] = writers.astype(">u2").view(np.uint8).reshape(-1, 2)
    return result.view("V16")[:, 0]


def _errors(rows: NDArray[np.uint32], values: NDArray[np.uint16], count: int) -> NDArray[np.int32]:
    result = np.zeros(count, np.int32)
    # Where a row has several errors, its first one counts.
    result[rows[::-1]] = values[::-1]
    return result
