"""Joins blocks of rows: a server that has little to do writes many small ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from scorewire_contract.records.rows import OutputColumn, RowsBlock
from scorewire_contract.records.texts import Texts

# The columns that are not arrays, or whose values refer to the block.
_OTHERS = {"callers", "routing_keys", "principals", "texts", "error_rows", "outputs"}
_ARRAYS = [name for name in RowsBlock.__slots__ if name not in _OTHERS]
# What the arrays of a block take beside their values.
_BLOCK_BYTES = 4096


def joined(blocks: Sequence[RowsBlock]) -> RowsBlock:
    """One block with the rows of all blocks, which are of one source, one after the other."""
    if len(blocks) == 1:
        return blocks[0]
    rows_before = np.cumsum([0, *(len(each.numbers) for each in blocks[:-1])])
    error_rows = [each.error_rows + before for each, before in zip(blocks, rows_before, strict=True)]
    columns = zip(*(each.outputs for each in blocks), strict=True)
    arrays: dict[str, Any] = {
        name: np.concatenate([getattr(each, name) for each in blocks]) for name in _ARRAYS
    }
    return RowsBlock(
        **arrays,
        callers=_texts([each.callers for each in blocks]),
        routing_keys=_texts([each.routing_keys for each in blocks]),
        principals=_texts([each.principals for each in blocks]),
        texts=_texts([each.texts for each in blocks]),
        error_rows=np.concatenate(error_rows).astype(np.uint32),
        outputs=tuple(_output(column) for column in columns),
    )


def nbytes(block: RowsBlock) -> int:
    """About how many bytes of memory a block takes."""
    values = (block.texts, block.callers, block.routing_keys, block.principals, *block.outputs)
    sizes = (_texts_nbytes(each) if isinstance(each, Texts) else each.nbytes for each in values)
    return _BLOCK_BYTES + block.numbers.nbytes + sum(sizes) + 50 * len(block)


def _texts_nbytes(texts: Texts) -> int:
    return texts.offsets.nbytes + texts.data.nbytes


def _texts(columns: Sequence[Texts]) -> Texts:
    lengths = np.concatenate([np.diff(each.offsets) for each in columns])
    offsets = np.zeros(len(lengths) + 1, np.uint32)
    np.cumsum(lengths, out=offsets[1:])
    return Texts(offsets, np.concatenate([each.data for each in columns]))


def _output(columns: Sequence[OutputColumn]) -> OutputColumn:
    if isinstance(columns[0], Texts):
        return _texts(cast("Sequence[Texts]", columns))
    return np.concatenate(cast("Sequence[NDArray[np.float64]]", columns))
