"""Makes blocks of rows from records, and applies the policy of each feature before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scorewire_contract.records.hashing import hash_number, hash_text
from scorewire_contract.records.rows import NO_WRITER, OutputColumn, RowsBlock
from scorewire_contract.records.source import Output, Source
from scorewire_contract.records.texts import Texts
from scorewire_server.engine.interpreted.recording import Record
from scorewire_server.engine.recording import RecordedSource, Treatment

# Predictions with many rows are cut into parts of about this size.
_PART_BYTES = 256 << 10


class Part(NamedTuple):
    """Some rows of a prediction, all of them for most predictions.

    Attributes:
        writer: the number of the writer.
        sequence: the sequence number of the prediction.
        record: the prediction.
        first_row: the index of the first row.
        row_count: rows.
        size: about the memory of these rows, in bytes.
    """

    writer: int
    sequence: int
    record: Record
    first_row: int
    row_count: int
    size: int

    @property
    def predictions(self) -> int:
        """How many predictions begin here: 1, or 0 for a part that is not the first."""
        return int(self.first_row == 0)

    def of(self, values: NDArray[np.float64] | NDArray[np.object_]) -> NDArray[np.generic]:
        """The rows of this part among those of the record."""
        return values[self.first_row : self.first_row + self.row_count]


def parts_of(writer: int, sequence: int, record: Record, size: int) -> list[Part]:
    """The parts of a prediction.

    Args:
        writer: the number of the writer.
        sequence: the sequence number.
        record: the prediction.
        size: about the memory of the record, in bytes.
    """
    if size <= _PART_BYTES or record.row_count <= 1:
        return [Part(writer, sequence, record, 0, record.row_count, size)]
    all_rows = record.row_count
    rows = -(-all_rows // -(-size // _PART_BYTES))
    return [
        Part(writer, sequence, record, first, count, size * count // all_rows)
        for first in range(0, all_rows, rows)
        for count in (min(rows, all_rows - first),)
    ]


class SourceColumns:
    """The columns of a source's blocks.

    Args:
        source: what is recorded.

    Attributes:
        source: what is recorded.
        description: the same for readers.

    Raises:
        BlockError: the description of the source cannot be read.
    """

    def __init__(self, source: RecordedSource) -> None:
        self.source = source
        self.description = Source.decode(source.description)
        self._features = {name: index for index, name in enumerate(self.description.features)}
        self._plain = {*source.numbers, *source.texts} <= {"keep"}

    def block(self, parts: Sequence[Part], since_1970_us: int) -> RowsBlock:
        """The block with these parts.

        Args:
            parts: parts of records of this source.
            since_1970_us: microseconds between 1970 and the begin of `perf_counter_ns`.
        """
        records = [part.record for part in parts]
        numbers, texts = self._rows(parts)
        originals = [each.original for each in records] if self.description.is_shadow else []
        rows, reasons, features = self._errors(parts)
        return RowsBlock(
            sequences=np.array([part.sequence for part in parts], "<u8"),
            times_us=np.array([each.began_ns // 1000 + since_1970_us for each in records], "<i8"),
            server_us=np.array([each.server_us for each in records], "<u4"),
            model_us=np.array([each.model_us for each in records], "<u4"),
            first_rows=np.array([part.first_row for part in parts], "<u4"),
            row_counts=np.array([part.row_count for part in parts], "<u4"),
            writers=np.array([part.writer for part in parts], "<u2"),
            flags=np.array([each.flags for each in records], "<u2"),
            original_sequences=np.array([each.sequence if each else 0 for each in originals], "<u8"),
            original_writers=np.array([each.writer if each else NO_WRITER for each in originals], "<u2"),
            callers=Texts.of(self._treat(each.caller, self.source.caller) for each in records),
            routing_keys=Texts.of(self._treat(each.routing_key, self.source.routing_key) for each in records),
            principals=Texts.of(self._treat(each.principal, self.source.principal) for each in records),
            numbers=numbers,
            texts=texts,
            error_rows=np.array(rows, "<u4"),
            error_reasons=np.array(reasons, "<u2"),
            error_features=np.array(features, "<u2"),
            outputs=tuple(
                _output(output, [part.of(part.record.scores.outputs[index]) for part in parts])
                for index, output in enumerate(self.description.outputs)
            ),
        )

    def _treat(self, text: str, treatment: Treatment) -> str:
        if treatment == "drop":
            return ""
        return hash_text(text, self.source.hash_key) if treatment == "hash" else text

    def _rows(self, parts: Sequence[Part]) -> tuple[NDArray[np.float64], Texts]:
        source, key = self.source, self.source.hash_key
        row_count, width = sum(part.row_count for part in parts), len(source.texts)
        numbers = np.concatenate(
            [part.of(part.record.numbers.reshape(-1, len(source.numbers))) for part in parts]
            if source.numbers
            else [np.empty((row_count, 0))]
        ).astype("<f8", copy=False)
        texts = [
            text
            for part in parts
            for text in part.record.texts[part.first_row * width : (part.first_row + part.row_count) * width]
        ]
        if self._plain:
            return numbers, Texts.of(texts)
        columns = [texts[place::width] for place in _places(source.texts, "keep")]
        columns += [
            [hash_number(value, key) for value in numbers[:, place].tolist()]
            for place in _places(source.numbers, "hash")
        ]
        columns += [
            [hash_text(text, key) for text in texts[place::width]] for place in _places(source.texts, "hash")
        ]
        row_by_row = chain.from_iterable(zip(*columns, strict=True))
        return numbers[:, _places(source.numbers, "keep")], Texts.of(row_by_row)

    def _errors(self, parts: Sequence[Part]) -> tuple[list[int], list[int], list[int]]:
        rows: list[int] = []
        reasons: list[int] = []
        features: list[int] = []
        begin = 0
        for part in parts:
            for error in part.record.scores.errors:
                row = error.row - part.first_row
                if 0 <= row < part.row_count:
                    rows.append(begin + row)
                    reasons.append(error.reason)
                    features.append(self._features[error.feature])
            begin += part.row_count
        return rows, reasons, features


def _places(treatments: Sequence[Treatment], wanted: Treatment) -> list[int]:
    return [place for place, treatment in enumerate(treatments) if treatment == wanted]


def _output(output: Output, values: Sequence[NDArray[np.generic]]) -> OutputColumn:
    whole = np.concatenate(values)
    if output.is_text:
        # A graph may make texts that are no UTF-8.
        return Texts.of_bytes([text.encode(errors="replace") for text in whole.ravel().tolist()])
    return whole.astype("<f8", copy=False)
