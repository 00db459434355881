"""Sources, records and lanes for the tests of what engines record."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any
from uuid import UUID

import numpy as np

from scorewire_contract.coding import RowError
from scorewire_contract.records.identity import writer_uuid
from scorewire_contract.records.source import Output, Source
from scorewire_contract.scoring import Scores
from scorewire_server.engine.interpreted.recording import Record
from scorewire_server.engine.recording import RecordedSource

START = UUID("019aa1b2-c3d4-7e5f-8a9b-0c1d2e3f0000")
# What is recorded of the model `sum` of `write_sum_bundle`.
SUM = Source(
    source=1,
    model="sum",
    version="1.0.0",
    fingerprint="5f0c" * 16,
    route="",
    kind="default",
    share=1.0,
    features=("x0", "x1", "country"),
    numbers=("x0", "x1"),
    texts=("country",),
    outputs=(Output(name="value", width=1, kind="number"),),
    score_output=0,
)


def source_of(description: Source = SUM, **policy: Any) -> RecordedSource:
    """What an engine is told of a source of which every number and text of the model `sum` is kept."""
    defaults: dict[str, Any] = {"numbers": ("keep", "keep"), "texts": ("keep",)}
    return RecordedSource(number=description.source, description=description.encode(), **(defaults | policy))


def record_of(
    *,
    source: RecordedSource | None = None,
    rows: int = 1,
    texts: Iterable[str] | None = None,
    errors: Iterable[RowError] = (),
    **fields: Any,
) -> Record:
    """A record of the model `sum`: row i has the numbers 2i and 2i + 1, a text and the output 10i."""
    values = np.arange(rows, dtype=np.float64).reshape(rows, 1) * 10
    record = Record(
        source=source_of() if source is None else source,
        flags=0,
        began_ns=7_000_000,
        server_us=20,
        model_us=10,
        caller="10.0.0.1",
        principal="",
        routing_key="",
        row_count=rows,
        numbers=np.arange(2 * rows, dtype=np.float64),
        texts=[f"t{row}" for row in range(rows)] if texts is None else list(texts),
        scores=Scores([values], list(errors), 10_000),
        message_bytes=20 * rows,
    )
    return replace(record, **fields)


class NotedLane:
    """A `RecordLane` that notes what it gets."""

    def __init__(self, writer: int) -> None:
        self.name = str(writer_uuid(START, writer))
        self.records: list[Record] = []
        self.left_out: list[int] = []

    def next_id(self) -> str:
        return f"{self.name}-{len(self.records)}"

    def record(self, record: Record) -> None:
        self.records.append(record)

    def sampled_out(self, rows: int) -> None:
        self.left_out.append(rows)
