"""The memory of a gateway does not grow with the tables that it answers."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.processes import TIMEOUT_SECONDS, ServerProcess
from tests.scorewire_gateway.gateways import gateway_process

# Much less than what the large table has more than the small one, as bytes or as Python objects.
ROOM = 24 << 20
TEXT = "x" * 200
SMALL, LARGE = 30_000, 300_000


def csv_of(rows: int) -> Iterator[bytes]:
    yield b"x0,x1,country,note\n"
    for _ in range(rows // 1000):
        yield f"1.5,2,de,{TEXT}\n".encode() * 1000


def parquet_of(rows: int) -> bytes:
    file = io.BytesIO()
    notes = [f"{TEXT}{i}" for i in range(rows)]
    table = pa.table({"x0": [1.5] * rows, "x1": [2.0] * rows, "country": ["de"] * rows, "note": notes})
    pq.write_table(table, file, compression="zstd", use_dictionary=["country"])
    return file.getvalue()


def peak_bytes(gateway: ServerProcess) -> int:
    """The most memory that the process has had so far."""
    for line in Path(f"/proc/{gateway.pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    raise AssertionError


@pytest.mark.parametrize("kind", ["text/csv", "application/vnd.apache.parquet"])
def test_memory_does_not_grow_with_the_table(server: ServerProcess, tmp_path: Path, kind: str) -> None:
    def lines_of_answer(rows: int) -> int:
        content = csv_of(rows) if kind == "text/csv" else parquet_of(rows)
        headers = {"Content-Type": kind, "Accept": "text/csv"}
        url = f"http://{gateway.address}/models/sum:predict"
        with httpx.stream(
            "POST", url, content=content, headers=headers, timeout=TIMEOUT_SECONDS, trust_env=False
        ) as answer:
            assert answer.status_code == 200
            return sum(piece.count(b"\n") for piece in answer.iter_bytes())

    with gateway_process(tmp_path, server.address) as gateway:
        assert lines_of_answer(SMALL) == SMALL + 1
        before = peak_bytes(gateway)
        assert lines_of_answer(LARGE) == LARGE + 1
        assert peak_bytes(gateway) - before < ROOM
