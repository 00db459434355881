"""Scores a table of rows through a server, in chunks.

A row with a value that cannot be converted is not sent. It keeps its place in
the output, with an error and without a score.
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scorewire._cli.table_files import Chunk, FileError, TableReader
from scorewire._client import Client
from scorewire._models import FeatureKind, Model, OutputKind, Schema
from scorewire._predictions import RECORD_ID, Predictions, has_labels, is_named, output_columns
from scorewire._values import MAX_EXACT_INTEGER, Faults, to_doubles, to_texts
from scorewire_contract.spelling import meant

# The texts that mean a missing number in a file, in lower case; capitals count as well.
MISSING_NUMBERS = frozenset(("", "na", "n/a", "nan", "-nan", "+nan", "null", "none"))
_NUMBER = re.compile(
    r"[+-]?(?:\d+\.?\d*(?:e[+-]?\d+)?|\.\d+(?:e[+-]?\d+)?|inf(?:inity)?)", re.ASCII | re.IGNORECASE
)
_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)

# The most chunks in a row that have no row to send. They wait in memory for the next response.
_MAX_UNSENT = 32


def added_columns(source: TableReader, model: Model, *, ids: bool) -> dict[str, type[float] | type[str]]:
    """The columns that the output has besides those of the input: float or str by name.

    Args:
        source: the input.
        model: the model that scores it.
        ids: whether the output has the rows' ids.

    Raises:
        FileError: the input has no column for a feature, or has a column with the name of an added one.
    """
    absent = [feature.name for feature in model.schema.features if feature.name not in source.names]
    if absent:
        near = meant(absent[0], source.names)
        hint = f" (its column {near!r} looks like it)" if near else ""
        others = f", nor {len(absent) - 1} more that it needs" if len(absent) > 1 else ""
        raise FileError(f"the input has no column {absent[0]!r}, which {model.name} takes{hint}{others}")
    outputs = model.schema.outputs
    added: dict[str, type[float] | type[str]] = {"score": float}
    if has_labels(outputs):
        added["label"] = str
    for name, output, _ in output_columns(outputs, ids=ids):
        added[name] = str if output.kind is OutputKind.TEXT or is_named(output) else float
    added["error"] = str
    if ids:
        added[RECORD_ID] = str
    taken = [name for name in source.names if name in added]
    if taken:
        raise FileError(f"the input has a column {taken[0]!r}, which the output needs: rename it")
    return added


@dataclass(frozen=True, slots=True, eq=False)
class _Batch:
    """A chunk, the indices of its rows to send, and the faults of its other rows."""

    chunk: Chunk
    kept: NDArray[np.intp]
    faults: Faults


def score_table(
    client: Client, model: Model, source: TableReader, batch_rows: int, added: Sequence[str]
) -> Iterator[tuple[Chunk, dict[str, list[Any]]]]:
    """Score the source, and give each chunk with its added columns.

    Args:
        client: the client of the server.
        model: the model.
        source: the rows.
        batch_rows: rows in one request.
        added: the names of `added_columns`.
    """
    import pandas as pd  # noqa: PLC0415 - needs an extra of the SDK

    waiting: deque[_Batch] = deque()
    chunks = source.chunks(batch_rows)

    def frames() -> Iterator[pd.DataFrame]:
        unsent = 0
        while unsent < _MAX_UNSENT and (chunk := next(chunks, None)) is not None:
            columns, faults = _features(chunk, model.schema)
            kept = np.array([row for row in range(chunk.row_count) if row not in faults], dtype=np.intp)
            waiting.append(_Batch(chunk, kept, faults))
            if len(kept):
                unsent = 0
                yield pd.DataFrame(columns).iloc[kept]
            else:
                unsent += 1

    # A chunk without a row to send is given out with the next response. After too many of such chunks,
    # `frames` ends the stream, so that they are given out without one.
    while True:
        for predictions in client.predict_stream(model.name, frames(), version=model.version):
            while not len(waiting[0].kept):
                yield _merge(waiting.popleft(), None, added)
            yield _merge(waiting.popleft(), predictions, added)
        if not waiting:
            return
        while waiting:
            yield _merge(waiting.popleft(), None, added)


def _features(chunk: Chunk, schema: Schema) -> tuple[dict[str, Any], Faults]:
    """The columns that the model takes, and the first fault of each row that has one."""
    columns: dict[str, Any] = {}
    found: Faults = {}
    for feature in schema.features:
        values = chunk.values(feature.name)
        converted, faults = parse_numbers(values) if feature.kind is FeatureKind.NUMBER else to_texts(values)
        columns[feature.name] = converted
        for row, fault in faults.items():
            found.setdefault(row, f"{feature.name}: {fault}")
    return columns, found


def _merge(
    batch: _Batch, predictions: Predictions | None, added: Sequence[str]
) -> tuple[Chunk, dict[str, list[Any]]]:
    """The batch's chunk with its added columns; None for a row without a value."""
    rows = batch.chunk.row_count
    columns: dict[str, list[Any]] = {name: [None] * rows for name in added}
    for row, fault in batch.faults.items():
        columns["error"][row] = fault
    if predictions is not None:
        refused = {error.row for error in predictions.errors}
        for name, values in predictions.columns(ids=RECORD_ID in added).items():
            cells = values.tolist() if isinstance(values, np.ndarray) else values
            for position, row in enumerate(batch.kept.tolist()):
                if position not in refused or name in {"error", RECORD_ID}:
                    columns[name][row] = cells[position]
    return batch.chunk, columns


def parse_numbers(values: Sequence[object]) -> tuple[NDArray[np.float64], Faults]:
    """Parse a column of a file as doubles; NaN for a missing value and for a fault.

    A text is parsed as a decimal number.
    """
    if not values or not set(map(type, values)) <= {str}:
        return to_doubles([_parse(value) if isinstance(value, str) else value for value in values])
    texts: list[str] = list(values)  # type: ignore[arg-type]  # all are str, as the line above found
    joined = "".join(texts)
    # float() also takes 1_000 and digits of other scripts, which are faults in a table.
    if "_" not in joined and joined.isascii():
        try:
            numbers = np.array([float(text) if text else math.nan for text in texts])
        except ValueError:
            pass
        else:
            if not (np.abs(numbers) >= MAX_EXACT_INTEGER).any():
                return numbers, {}
    return to_doubles([_parse(text) for text in texts])


def _parse(text: str) -> object:
    """The number in a text; None if it means a missing number, the text itself if it is not a number."""
    stripped = text.strip()
    if stripped.lower() in MISSING_NUMBERS:
        return None
    if _INTEGER.fullmatch(stripped):
        return int(stripped) if len(stripped) < 400 else text
    return float(stripped) if _NUMBER.fullmatch(stripped) else text
