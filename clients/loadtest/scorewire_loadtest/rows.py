"""Reads rows in schema order, from golden rows or from a CSV or Parquet file."""

from __future__ import annotations

import csv
import importlib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scorewire import FeatureKind, Schema
from scorewire_proto.v1 import prediction_pb2

# More rows would only take memory, since a run repeats its rows.
MAX_FILE_ROWS = 100_000
# The texts that mean a missing number in a CSV file, in lower case.
_MISSING = {"", "na", "n/a", "nan", "null", "none"}


@dataclass(frozen=True, slots=True)
class Table:
    """Rows in schema order.

    `numbers` has shape [rows, number features]; NaN is missing. `texts` has a tuple
    of the text features for each row; "" is missing.
    """

    numbers: NDArray[np.float64]
    texts: list[tuple[str, ...]]

    @property
    def row_count(self) -> int:
        """The number of rows."""
        return len(self.texts)

    @classmethod
    def of_rows(cls, rows: prediction_pb2.Rows, number_count: int, text_count: int) -> Table:
        """Convert the rows of a message.

        Args:
            rows: the message.
            number_count: how many numbers a row has.
            text_count: how many texts a row has.

        Raises:
            ValueError: the rows have other numbers of values.
        """
        width = text_count
        table = np.array(rows.numbers, dtype=np.float64).reshape(rows.row_count, number_count)
        if len(rows.texts) != rows.row_count * width:
            raise ValueError(f"{len(rows.texts)} texts are not {rows.row_count} rows of {width}")
        return cls(
            table, [tuple(rows.texts[row * width : (row + 1) * width]) for row in range(rows.row_count)]
        )


def read_table(path: Path, schema: Schema) -> Table:
    """Read at most the first 100,000 rows of a .csv or .parquet file, with columns by feature name.

    Raises:
        ValueError: the file has another suffix, lacks a column, has no rows, or has a value that is
            not a number in the column of a number feature.
        OSError: the file cannot be read.
    """
    numbers = [f.name for f in schema.features if f.kind is FeatureKind.NUMBER]
    texts = [f.name for f in schema.features if f.kind is FeatureKind.TEXT]
    suffix = path.suffix.lower()
    if suffix == ".csv":
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            try:
                _check_columns(path, reader.fieldnames or [], [*numbers, *texts])
                return _table(path, islice(_whole_rows(path, reader), MAX_FILE_ROWS), numbers, texts)
            except (csv.Error, UnicodeDecodeError) as error:
                raise ValueError(f"{path}, after line {reader.reader.line_num}: {error}") from None
    if suffix == ".parquet":
        return _read_parquet(path, numbers, texts)
    raise ValueError(f"{path} is neither .csv nor .parquet")


def _whole_rows(path: Path, reader: csv.DictReader[str]) -> Iterator[dict[str, Any]]:
    """The rows, after a check that each has a value for every column."""
    for row in reader:
        # DictReader uses None as the key of surplus values, and as the value of columns without one.
        if None in row or None in row.values():
            raise ValueError(f"{path}, line {reader.line_num}: not as many values as columns")
        yield row


def _read_parquet(path: Path, numbers: list[str], texts: list[str]) -> Table:
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise ValueError("Parquet files need pyarrow: pip install 'scorewire[pandas]'") from None
    try:
        file = parquet.ParquetFile(path)
    # The errors of pyarrow are subclasses of these two.
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} is not a Parquet file: {error}") from None
    with file:
        _check_columns(path, file.schema_arrow.names, [*numbers, *texts])
        batches = file.iter_batches(batch_size=10_000, columns=[*numbers, *texts])
        rows = (row for batch in batches for row in batch.to_pylist())
        return _table(path, islice(rows, MAX_FILE_ROWS), numbers, texts)


def _check_columns(path: Path, present: Iterable[str], wanted: list[str]) -> None:
    missing = sorted(set(wanted) - set(present))
    if missing:
        raise ValueError(f"{path} lacks the columns {', '.join(missing)}, which the model takes")


def _table(path: Path, rows: Iterable[Mapping[str, Any]], numbers: list[str], texts: list[str]) -> Table:
    table: list[list[float]] = []
    words: list[tuple[str, ...]] = []
    for index, row in enumerate(rows):
        try:
            table.append([_number(row[name]) for name in numbers])
        except (TypeError, ValueError):
            bad = next(name for name in numbers if not _is_number(row[name]))
            raise ValueError(f"{path}, row {index}: {bad} is {row[bad]!r}, which is not a number") from None
        words.append(tuple("" if row[name] is None else str(row[name]) for name in texts))
    if not words:
        raise ValueError(f"{path} has no rows")
    return Table(np.array(table, dtype=np.float64).reshape(len(words), len(numbers)), words)


def _number(value: Any) -> float:
    if value is None or (isinstance(value, str) and value.strip().lower() in _MISSING):
        return math.nan
    return float(value)


def _is_number(value: Any) -> bool:
    try:
        _number(value)
    except (TypeError, ValueError):
        return False
    return True
