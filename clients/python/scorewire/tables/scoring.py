"""Scores a table of rows through a server, in chunks.

A row with a value that cannot be converted is not sent. It keeps its place in
the output, with an error and without a score.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from scorewire._async_client import AsyncClient
from scorewire._client import Client
from scorewire._models import FeatureKind, Model, OutputKind, Schema
from scorewire._predictions import RECORD_ID, Predictions, has_labels, is_named, output_columns
from scorewire._values import MAX_EXACT_INTEGER, Faults, to_doubles, to_texts
from scorewire.tables.explaining import ExplainedColumns
from scorewire.tables.reading import Chunk, FileError, TableReader
from scorewire_contract.spelling import meant

# The texts that mean a missing number in a file, in lower case; capitals count as well.
MISSING_NUMBERS = frozenset(("", "na", "n/a", "nan", "-nan", "+nan", "null", "none"))
_NUMBER = re.compile(
    r"[+-]?(?:\d+\.?\d*(?:e[+-]?\d+)?|\.\d+(?:e[+-]?\d+)?|inf(?:inity)?)", re.ASCII | re.IGNORECASE
)
_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)

# A chunk and its added columns, by name; None for a row without a value.
Scored: TypeAlias = tuple[Chunk, dict[str, list[Any]]]
_T = TypeVar("_T")

# What separates columns in files that are nearly CSV.
_SEPARATORS = frozenset(";\t|")
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
        if len(source.names) == 1 and (found := _SEPARATORS & set(source.names[0])):
            hint = f" (a comma separates columns, and not {min(found)!r})"
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


class _Scoring:
    """The chunks of a table that wait for their predictions, oldest first.

    One thread may take chunks while another one gives them out.
    """

    def __init__(
        self,
        model: Model,
        source: TableReader,
        batch_rows: int,
        added: Sequence[str],
        explained: ExplainedColumns | None,
    ) -> None:
        self._schema = model.schema
        self._added = [*added, *(explained.kinds if explained else ())]
        self._explained = explained
        self._chunks = source.chunks(batch_rows)
        self._waiting: deque[_Batch] = deque()

    def take(self) -> NDArray[Any] | None:
        """The rows of the next chunk that has any to send; None at the end, or after many without any."""
        for _ in range(_MAX_UNSENT):
            chunk = next(self._chunks, None)
            if chunk is None:
                return None
            rows, faults = _features(chunk, self._schema)
            kept = np.array([row for row in range(chunk.row_count) if row not in faults], dtype=np.intp)
            self._waiting.append(_Batch(chunk, kept, faults))
            if len(kept):
                return rows[kept]
        return None

    def batches(self) -> Iterator[NDArray[Any]]:
        """What `take` gives, up to None."""
        while (rows := self.take()) is not None:
            yield rows

    def give(self, predictions: Predictions) -> Iterator[Scored]:
        """The chunk of these predictions, and those before it that sent no rows."""
        while not len(self._waiting[0].kept):
            yield _merge(self._waiting.popleft(), None, self._added)
        yield _merge(self._waiting.popleft(), predictions, self._added, explained=self._explained)

    def give_unsent(self) -> list[Scored]:
        """The chunks that sent no rows, after a stream; the table has ended if there are none."""
        given = [_merge(batch, None, self._added) for batch in self._waiting]
        self._waiting.clear()
        return given


def score_table(
    client: Client,
    model: Model,
    source: TableReader,
    batch_rows: int,
    added: Sequence[str],
    *,
    explained: ExplainedColumns | None = None,
) -> Iterator[Scored]:
    """Score the source, and give each chunk with its added columns.

    Args:
        client: the client of the server.
        model: the model.
        source: the rows.
        batch_rows: the most rows in one request.
        added: the names of `added_columns`.
        explained: the columns after those, which explain the scores; None for none.

    Raises:
        FileError: the source cannot be read any further.
        ScorewireError: the stream failed.
    """
    scoring = _Scoring(model, source, batch_rows, added, explained)
    explain = False if explained is None else explained.explain
    # A chunk without a row to send is given out with the next response. After too many of such chunks the
    # stream ends, so that they are given out without one.
    while True:
        for predictions in client.predict_stream(
            model.name, scoring.batches(), version=model.version, explain=explain
        ):
            yield from scoring.give(predictions)
        unsent = scoring.give_unsent()
        if not unsent:
            return
        yield from unsent


async def score_table_async(
    client: AsyncClient,
    model: Model,
    source: TableReader,
    batch_rows: int,
    added: Sequence[str],
    *,
    explained: ExplainedColumns | None = None,
    **options: Any,
) -> AsyncGenerator[list[Scored], None]:
    """As `score_table`, with chunks in lists; threads of the event loop's executor read and merge them.

    Close the generator with `contextlib.aclosing`, and only then the source.

    Args:
        client: as in `score_table`.
        model: as in `score_table`.
        source: as in `score_table`.
        batch_rows: as in `score_table`.
        added: as in `score_table`.
        explained: as in `score_table`.
        options: further arguments of `AsyncClient.predict_stream`, such as its timeout.
    """
    scoring = _Scoring(model, source, batch_rows, added, explained)
    explain = False if explained is None else explained.explain

    async def batches() -> AsyncGenerator[NDArray[Any], None]:
        while (rows := await in_thread(scoring.take)) is not None:
            yield rows

    while True:
        stream = client.predict_stream(
            model.name, batches(), version=model.version, explain=explain, **options
        )
        async with contextlib.aclosing(stream) as results:
            async for predictions in results:
                yield await in_thread(list, scoring.give(predictions))
        unsent = scoring.give_unsent()
        if not unsent:
            return
        yield unsent


async def in_thread(
    function: Callable[..., _T], *arguments: Any, discard: Callable[[_T], object] | None = None
) -> _T:
    """Run a function in a thread, and wait for its end even if this task is cancelled meanwhile.

    Otherwise the thread could still read a file that the caller closes.

    Args:
        function: the function.
        arguments: its arguments.
        discard: gets the result if the task was cancelled, so that no one else gets it; closes it, say.
    """
    work = asyncio.ensure_future(asyncio.to_thread(function, *arguments))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        while not work.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait((work,))
        if discard is not None and not work.cancelled() and work.exception() is None:
            discard(work.result())
        raise


def _features(chunk: Chunk, schema: Schema) -> tuple[NDArray[Any], Faults]:
    """The rows as the model takes them, and the first fault of each row that has one."""
    is_numeric = all(feature.kind is FeatureKind.NUMBER for feature in schema.features)
    rows = np.empty((chunk.row_count, len(schema.features)), dtype=np.float64 if is_numeric else object)
    found: Faults = {}
    for column, feature in enumerate(schema.features):
        values = chunk.values(feature.name)
        converted, faults = parse_numbers(values) if feature.kind is FeatureKind.NUMBER else to_texts(values)
        rows[:, column] = converted
        for row, fault in faults.items():
            found.setdefault(row, f"{feature.name}: {fault}")
    return rows, found


def _merge(
    batch: _Batch,
    predictions: Predictions | None,
    added: Sequence[str],
    *,
    explained: ExplainedColumns | None = None,
) -> Scored:
    """The batch's chunk with its added columns; None for a row without a value."""
    rows = batch.chunk.row_count
    columns: dict[str, list[Any]] = {name: [None] * rows for name in added}
    for row, fault in batch.faults.items():
        columns["error"][row] = fault
    if predictions is not None:
        refused = {error.row for error in predictions.errors}
        found = predictions.columns(ids=RECORD_ID in added)
        if explained is not None and predictions.contributions is not None:
            found |= explained.columns(predictions.contributions)
        for name, values in found.items():
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
