"""The test vectors are what the module that makes them says, and Python reads and writes them alike."""

from __future__ import annotations

from pathlib import Path

import pytest

from scorewire_contract.records.blocks import FORMAT, Block, Kind, encode_block
from scorewire_contract.records.ledger import decode_ledgers, encode_ledgers
from scorewire_contract.records.rows import RowsBlock
from scorewire_contract.records.segments import read_segment
from scorewire_contract.records.source import Source, Start
from tests.records.vectors.files import FOLDER, vector_files

FILES = vector_files()


def test_no_other_vectors_are_there() -> None:
    names = {path.name for pattern in ("*.segment", "*.json") for path in FOLDER.glob(pattern)}
    assert names == set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_a_vector_is_up_to_date(name: str) -> None:
    # If the format changed on purpose: python -m tests.records.vectors
    assert (FOLDER / name).read_bytes() == FILES[name]


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.segment")), ids=lambda path: path.name)
def test_blocks_are_written_as_they_were_read(path: Path) -> None:
    """Those of format 1 are read, and were written by an earlier release."""
    sources: dict[int, Source] = {}
    blocks = [each for each in read_segment(path) if isinstance(each, Block)]
    assert blocks
    for block in blocks:
        whole = path.read_bytes()[block.offset : block.end]
        assert encode_block(block.header, block.body) == whole
        match block.header.kind:
            case Kind.START:
                start = Start.decode(block.body)
                if block.header.format == FORMAT:
                    assert start.encode() == block.body
            case Kind.SOURCE:
                source = Source.decode(block.body)
                sources[source.source] = source
                if block.header.format == FORMAT:
                    assert source.encode() == block.body
            case Kind.ROWS:
                rows = RowsBlock.decode(block.body, sources[block.header.source], block.header.format)
                if block.header.format == FORMAT:
                    assert rows.encode() == block.body
                assert (len(rows), rows.row_count) == (block.header.predictions, block.header.rows)
                assert rows.sequences.min() == block.header.first_sequence
            case Kind.LEDGER:
                assert encode_ledgers(decode_ledgers(block.body)) == block.body
