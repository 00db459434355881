"""What the extension refuses to record, and what it records for Python."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scorewire_contract.coding import RowError
from scorewire_contract.records.identity import PredictionId
from scorewire_contract.scoring import Scores
from scorewire_proto.v1 import errors_pb2
from scorewire_server.engine.recording import RecordOptions
from scorewire_server.settings import Settings
from tests.conformance.engines import NATIVE_MISSING
from tests.recorded import read_spool
from tests.scorewire_server.engine.recorded import START, record_of, source_of

pytestmark = pytest.mark.skipif(bool(NATIVE_MISSING), reason=NATIVE_MISSING)


def _native(records: RecordOptions | None) -> Any:
    from scorewire_server.engine.native.engine import NativeEngine

    return NativeEngine(Settings(listen="127.0.0.1:0", threads=2), [], records)._native


@pytest.fixture
def native(tmp_path: Path) -> Iterator[Any]:
    """The extension's engine, which records to `tmp_path`."""
    engine = _native(RecordOptions(folder=tmp_path, start=START, free_bytes=0))
    yield engine
    engine.close_records()


@pytest.fixture
def head(native: Any) -> Any:
    """What a record of `source_of` begins with."""
    from scorewire_server.engine.native.recording import source_parts

    return native.define(source_parts(source_of())), 0, 0, 0, 0, None


def test_python_has_writers_of_its_own(native: Any, head: Any) -> None:
    # Two I/O threads, the threads for large batches and the shadow's are before them.
    assert native.python_writers() == (4, 5)
    for writer in (0, 2, 3, 6, 99):
        with pytest.raises(ValueError, match="another thread"):
            native.peek(writer)
        with pytest.raises(ValueError, match="another thread"):
            native.leave_out(writer, 1)
        with pytest.raises(ValueError, match="another thread"):
            native.record(writer, head, (1, bytes(16), [""], [bytes(8)], []), ("", "", ""))


@pytest.mark.parametrize(
    "rows",
    [
        (0, b"", [], [], []),
        (2, bytes(24), [], [], []),
        (2, bytes(32), ["a"], [], []),
        (2, bytes(32), ["a", "b"], [bytes(12)], []),
        (2, bytes(32), ["a", "b"], [["x"]], []),
        (2, bytes(32), ["a", "b"], [bytes(16)], [(1, 100, 0), (0, 100, 0)]),
        (2, bytes(32), ["a", "b"], [bytes(16)], [(2, 100, 0)]),
    ],
)
def test_what_is_no_whole_number_of_rows_is_not_recorded(native: Any, head: Any, rows: Any) -> None:
    (writer, _) = native.python_writers()
    with pytest.raises(ValueError, match="whole rows"):
        native.record(writer, head, rows, ("", "", ""))
    assert native.peek(writer) == native.record_counts()[0] == 0


def test_records_of_python_are_whole(native: Any, tmp_path: Path) -> None:
    from scorewire_server.engine.native.recording import NativeSources, record_lanes

    answers, shadows = record_lanes(native, NativeSources(native), START)
    rows = 20_000
    errors = [
        RowError(row, errors_pb2.ERROR_REASON_MISSING_VALUE, "x1", "x1 is missing")
        for row in range(7, rows, 1000)
    ]
    values = np.arange(rows, dtype=np.float64).reshape(rows, 1)
    names = [answers.next_id()]
    answers.record(record_of(rows=3, principal="shop", routing_key="key", began_ns=0))
    names.append(answers.next_id())
    answers.record(record_of(rows=rows, scores=Scores([values], errors, 0)))
    answers.sampled_out(5)
    shadows.sampled_out(2)
    names.append(answers.next_id())
    native.close_records()
    spool = read_spool(tmp_path)
    assert names == [str(PredictionId(START, 4, sequence)) for sequence in range(3)]
    small, large = (spool.predictions[PredictionId.parse(name)] for name in names[:2])
    assert (small.caller, small.principal, small.routing_key) == ("10.0.0.1", "shop", "key")
    assert (small.server_us, small.model_us, large.principal) == (20, 10, "")
    assert (small.numbers, small.texts) == ([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]], [["t0"], ["t1"], ["t2"]])
    assert small.outputs == [[[0.0], [10.0], [20.0]]]
    assert large.parts > 1
    assert large.numbers == np.arange(2.0 * rows).reshape(rows, 2).tolist()
    assert large.texts == [[f"t{row}"] for row in range(rows)]
    assert large.outputs == [values.tolist()]
    assert large.errors == [(error.row, error.reason, "x1") for error in errors]
    assert [ledger.sampled_out.rows for ledger in spool.ledgers] == [0, 0, 0, 0, 5, 2]


def test_what_a_source_must_have_is_said(native: Any) -> None:
    from scorewire_server.engine.native.recording import source_parts

    parts: Any = source_parts(source_of())
    for name in ("caller", "principal", "routing_key"):
        with pytest.raises(ValueError, match="treated by mask"):
            native.define(parts | {"number": 2, name: "mask"})
        with pytest.raises(ValueError, match="no key"):
            native.define(parts | {"number": 2, name: "hash"})


def test_an_engine_without_records_says_so() -> None:
    native = _native(None)
    assert native.record_counts() is None
    native.close_records()
    for call in (native.python_writers, lambda: native.peek(0), lambda: native.leave_out(0, 1)):
        with pytest.raises(RuntimeError, match="without records"):
            call()
