"""The segments of the test vectors."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import numpy as np

from scorewire_contract.records.blocks import HEADER_BYTES, Block, Header, Kind, encode_block
from scorewire_contract.records.ledger import Count, WriterLedger, encode_ledgers
from scorewire_contract.records.rows import KEPT, NO_WRITER, RowsBlock
from scorewire_contract.records.segments import read_segment
from scorewire_contract.records.source import Output, Source, Start
from scorewire_contract.records.texts import Texts
from scorewire_proto.v1 import errors_pb2

START = UUID("019aa1b2-c3d4-7e5f-8a9b-0c1d2e3f0000")
_TIME_US = 1_764_436_860_000_000
_UNKNOWN_KIND = 99
_NAN = float("nan")

CHURN = Source(
    source=1,
    model="churn",
    version="1.0.0",
    fingerprint="5f0c" * 16,
    route="",
    kind="split",
    share=0.25,
    features=("age", "country", "email", "plan", "balance"),
    numbers=("age",),
    texts=("country", "balance", "email"),
    hashed=("balance", "email"),
    dropped=("plan",),
    caller="hash",
    retention_days=90,
    outputs=(Output(name="probability", width=2, kind="probability", labels=("no", "yes")),),
    score_output=0,
)
SHADOW = replace(
    CHURN, source=2, version="2.0.0-rc.1", kind="shadow", share=1.0, caller="keep", principal="hash"
)
WIDE = Source(
    source=7,
    model="wide-outputs",
    version="0.3.1",
    fingerprint="00ff" * 16,
    route="champion",
    kind="alias",
    share=1.0,
    features=("größe", "b"),
    numbers=("größe", "b"),
    texts=(),
    outputs=(
        Output(name="label", width=1, kind="text"),
        Output(name="pairs", width=2, kind="text"),
        Output(name="class", width=1, kind="class", labels=("a", "b", "c")),
        Output(name="values", width=3, kind="number"),
    ),
    score_output=3,
)


def _u(kind: str, *values: int) -> np.ndarray:
    return np.array(values, kind)


def _churn_rows(*, shadow: bool) -> RowsBlock:
    """Three predictions with 1, 3 and 0 rows; the second is a part, and has two rows with errors."""
    none = errors_pb2.ERROR_REASON_INVALID_REQUEST
    return RowsBlock(
        sequences=_u("<u8", 0, 2, 1 << 40),
        times_us=_u("<i8", _TIME_US, _TIME_US + 1, _TIME_US - 7),
        server_us=_u("<u4", 120, 0, 0xFFFFFFFF),
        model_us=_u("<u4", 100, 0, 7),
        first_rows=_u("<u4", 0, 4096, 0),
        row_counts=_u("<u4", 1, 3, 0),
        writers=_u("<u2", 0, 3, 0),
        flags=_u("<u2", 0, KEPT, 0),
        original_sequences=_u("<u8", *((17, 0, 18) if shadow else ())),
        original_writers=_u("<u2", *((1, NO_WRITER, 4) if shadow else ())),
        callers=Texts.of(["10.0.0.1", "unix", ""]),
        routing_keys=Texts.of(["", "kunde-ü", "🙂"]),
        principals=Texts.of(["shop", "", "shop"] if shadow else [""] * 3),
        numbers=np.array([[41.5], [_NAN], [-0.0], [1e300]]),
        texts=Texts.of(["PL", "", "0f" * 16, "", "", "", "DE", "ab" * 16, "", "x" * 70, "", "zażółć"]),
        error_rows=_u("<u4", 1, 3),
        error_reasons=_u("<u2", none, errors_pb2.ERROR_REASON_MALFORMED_MESSAGE),
        error_features=_u("<u2", 0, 3),
        outputs=(np.array([[0.25, 0.75], [_NAN, _NAN], [1.0, 0.0], [_NAN, _NAN]]),),
    )


def _wide_rows() -> RowsBlock:
    """Two rows of one prediction, with texts and wide outputs."""
    return RowsBlock(
        sequences=_u("<u8", 5),
        times_us=_u("<i8", _TIME_US + 49_999),
        server_us=_u("<u4", 3),
        model_us=_u("<u4", 2),
        first_rows=_u("<u4", 0),
        row_counts=_u("<u4", 2),
        writers=_u("<u2", 2),
        flags=_u("<u2", 0),
        original_sequences=_u("<u8"),
        original_writers=_u("<u2"),
        callers=Texts.of(["::1"]),
        routing_keys=Texts.of(["k"]),
        principals=Texts.of(["sklep-żółw"]),
        numbers=np.array([[1.0, 2.0], [3.0, 5e-324]]),
        texts=Texts.of([]),
        error_rows=_u("<u4"),
        error_reasons=_u("<u2"),
        error_features=_u("<u2"),
        outputs=(
            Texts.of(["yes", ""]),
            Texts.of(["a", "b", "ä" * 9, ""]),
            np.array([[2.0], [0.0]]),
            np.array([[0.1, -1.0, 1e-9], [0.0, 1.0, 2.0]]),
        ),
    )


def _ledgers() -> list[WriterLedger]:
    counts = [Count(index, 10 * index) for index in range(1, 7)]
    return [
        WriterLedger(1 << 41, counts[0], counts[1], tuple(counts[2:])),
        WriterLedger(),
        WriterLedger(6, spooled=Count(1, 2)),
        WriterLedger(3, Count(1 << 33, 1 << 34)),
    ]


class _Writer:
    """Appends blocks to a segment."""

    def __init__(self) -> None:
        self.data = b""
        self._number = self._predictions = self._rows = 0

    def add(self, kind: int, body: bytes = b"", *, source: int = 0) -> None:
        self._add(Header(kind=kind, start=START, number=self._number, source=source), body)

    def add_rows(self, source: Source, rows: RowsBlock) -> None:
        header = Header(
            kind=Kind.ROWS,
            start=START,
            number=self._number,
            source=source.source,
            predictions=len(rows),
            rows=rows.row_count,
            first_sequence=int(rows.sequences.min()),
            fingerprint=source.fingerprint_number,
        )
        self._add(header, rows.encode())

    def _add(self, header: Header, body: bytes) -> None:
        whole = replace(header, predictions_before=self._predictions, rows_before=self._rows)
        self.data += encode_block(whole, body)
        self._number += 1
        self._predictions += header.predictions
        self._rows += header.rows


def whole_segment() -> bytes:
    """Blocks of all kinds, and of a kind that readers skip."""
    writer = _Writer()
    created = "2026-11-29T17:21:00.000000Z"
    start = Start(start=START, segment=0, created=created, server="0.1.0", engine="native", writers=4)
    writer.add(Kind.START, start.encode())
    writer.add(Kind.SOURCE, CHURN.encode())
    writer.add_rows(CHURN, _churn_rows(shadow=False))
    writer.add(Kind.SOURCE, SHADOW.encode())
    writer.add_rows(SHADOW, _churn_rows(shadow=True))
    writer.add(_UNKNOWN_KIND, b"of a later version.     ")
    writer.add(Kind.SOURCE, WIDE.encode())
    writer.add_rows(WIDE, _wide_rows())
    writer.add_rows(CHURN, _churn_rows(shadow=False))
    writer.add(Kind.LEDGER, encode_ledgers(_ledgers()))
    writer.add(Kind.END, source=1)
    return writer.data


def _blocks() -> list[Block]:
    return [each for each in read_segment(whole_segment()) if isinstance(each, Block)]


def damaged_segment() -> bytes:
    """Flipped bytes in two bodies, a header and a marker."""
    data, blocks = bytearray(whole_segment()), _blocks()
    data[blocks[2].offset + HEADER_BYTES + 9] ^= 0x01
    data[blocks[4].offset + HEADER_BYTES] ^= 0x80
    data[blocks[5].offset + 12] ^= 0x40
    data[blocks[9].offset] ^= 0xFF
    return bytes(data)


def torn_segments() -> dict[str, bytes]:
    """Segments that end within a body, and within a header."""
    data, blocks = whole_segment(), _blocks()
    return {
        "torn": data[: blocks[8].offset + HEADER_BYTES + 100],
        "torn-header": data[: blocks[8].offset + 50],
    }
