"""What the files of the test vectors contain."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from scorewire_contract.records.blocks import Block, Kind
from scorewire_contract.records.hashing import hash_number, hash_text
from scorewire_contract.records.ledger import CAUSES, Count, decode_ledgers
from scorewire_contract.records.rows import RowsBlock
from scorewire_contract.records.segments import Damage, read_segment
from scorewire_contract.records.source import Source, Start
from scorewire_contract.records.texts import Texts
from tests.records.vectors.segments import damaged_segment, torn_segments, whole_segment

FOLDER = Path(__file__).parent
# A segment of format 1, as it was written before there was format 2.
FORMAT_1 = "format-1"
_KEY = bytes(range(32))


def vector_files() -> dict[str, bytes]:
    """The contents of all files, by name."""
    named = {"whole": whole_segment(), "damaged": damaged_segment(), **torn_segments()}
    # No program writes format 1 any more.
    named[FORMAT_1] = (FOLDER / f"{FORMAT_1}.segment").read_bytes()
    files = {f"{name}.segment": data for name, data in named.items()}
    files |= {f"{name}.json": _json(found(read_segment(data))) for name, data in named.items()}
    return files | {"hashes.json": _json(_hashes())}


def found(items: Iterable[Block | Damage]) -> list[dict[str, Any]]:
    """What a reader finds in a segment, as JSON has it."""
    sources: dict[int, Source] = {}
    return [_damage(each) if isinstance(each, Damage) else _block(each, sources) for each in items]


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _damage(damage: Damage) -> dict[str, Any]:
    return {"damaged": [damage.offset, damage.end], "torn": damage.is_torn}


def _block(block: Block, sources: dict[int, Source]) -> dict[str, Any]:
    header = block.header
    values = {
        "offset": block.offset,
        "format": header.format,
        "kind": header.kind,
        "start": str(header.start),
        "number": header.number,
        "source": header.source,
        "predictions": header.predictions,
        "rows": header.rows,
        "first_sequence": header.first_sequence,
        "predictions_before": header.predictions_before,
        "rows_before": header.rows_before,
        "fingerprint": f"{header.fingerprint:016x}",
        "body_bytes": header.body_bytes,
        "body_crc": f"{header.body_crc:08x}",
    }
    return values | _body(block, sources)


def _body(block: Block, sources: dict[int, Source]) -> dict[str, Any]:
    match block.header.kind:
        case Kind.START:
            assert Start.decode(block.body).start == block.header.start
            return {"json": json.loads(block.body)}
        case Kind.SOURCE:
            source = Source.decode(block.body)
            sources[source.source] = source
            return {"json": json.loads(block.body)}
        case Kind.ROWS:
            source = sources[block.header.source]
            return {"columns": _columns(RowsBlock.decode(block.body, source, block.header.format), source)}
        case Kind.LEDGER:
            return {"writers": [_ledger(each) for each in decode_ledgers(block.body)]}
    return {}


def _ledger(ledger: Any) -> dict[str, Any]:
    def pair(count: Count) -> list[int]:
        return [count.predictions, count.rows]

    dropped = {cause: pair(count) for cause, count in zip(CAUSES, ledger.dropped, strict=True)}
    return {
        "next_sequence": ledger.next_sequence,
        "sampled_out": pair(ledger.sampled_out),
        "spooled": pair(ledger.spooled),
        **dropped,
    }


def _columns(rows: RowsBlock, source: Source) -> dict[str, Any]:
    columns: dict[str, Any] = {name: _values(getattr(rows, name)) for name in RowsBlock.__slots__}
    columns["outputs"] = {
        output.name: _values(values) for output, values in zip(source.outputs, rows.outputs, strict=True)
    }
    return columns


def _values(values: Any) -> Any:
    if isinstance(values, Texts):
        return list(values)
    if isinstance(values, tuple):
        return None
    array = np.asarray(values)
    if array.dtype == np.float64:
        return np.where(np.isnan(array), None, array.astype(object)).tolist()
    return array.tolist()


def _hashes() -> dict[str, Any]:
    texts = ("", "a", "zażółć", "x" * 1000)
    numbers = (0.0, -0.0, 1.5, -1e300, 3.0)
    return {
        "key": _KEY.hex(),
        "texts": {text: hash_text(text, _KEY) for text in texts},
        "numbers": [[str(number), hash_number(number, _KEY)] for number in numbers],
    }
