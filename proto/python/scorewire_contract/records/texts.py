"""Columns of texts: the ends of all texts, and their UTF-8 one after the other, as Arrow has them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from scorewire_contract.records.blocks import BlockError, Bytes

Offsets: TypeAlias = "NDArray[np.uint32]"


@dataclass(frozen=True, slots=True, eq=False)
class Texts:
    """A column of `n` texts.

    Attributes:
        offsets: uint32, shape (n + 1,): text i is data[offsets[i]:offsets[i + 1]]; the first offset is 0.
        data: uint8: the texts in UTF-8.
    """

    offsets: Offsets
    data: Bytes

    @classmethod
    def of(cls, texts: Iterable[str]) -> Texts:
        """The column of texts."""
        return cls.of_bytes([text.encode() for text in texts])

    @classmethod
    def of_bytes(cls, texts: list[bytes]) -> Texts:
        """The column of texts that are in UTF-8 already.

        Raises:
            ValueError: the texts have 4 GiB or more.
        """
        offsets = _ends(np.array([len(each) for each in texts], np.int64))
        return cls(offsets.astype("<u4"), np.frombuffer(b"".join(texts), np.uint8))

    @classmethod
    def decode(cls, section: bytes | memoryview, count: int) -> Texts:
        """Read a column of `count` texts, without a copy.

        Raises:
            BlockError: the section has no such column.
        """
        size = 4 * (count + 1)
        if len(section) < size:
            raise BlockError(f"a column of {count} texts has {len(section)} bytes")
        offsets = np.frombuffer(section, "<u4", count + 1)
        data = np.frombuffer(section, np.uint8, offset=size)
        if offsets[0] or offsets[-1] != len(data) or (offsets[1:] < offsets[:-1]).any():
            raise BlockError("the offsets of a column of texts are wrong")
        return cls(offsets, data)

    def encode(self) -> bytes:
        """The section of the column, without padding."""
        return self.offsets.tobytes() + self.data.tobytes()

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> str:
        if not 0 <= index < len(self):
            raise IndexError(index)
        begin, end = self.offsets[index], self.offsets[index + 1]
        return self.data[begin:end].tobytes().decode()

    def __iter__(self) -> Iterator[str]:
        for text in self.as_bytes():
            yield text.decode()

    def as_bytes(self) -> Iterator[bytes]:
        """The texts in UTF-8."""
        data, offsets = self.data.tobytes(), self.offsets.tolist()
        for begin, end in pairwise(offsets):
            yield data[begin:end]

    def take(self, chosen: NDArray[np.integer[Any]]) -> Texts:
        """The texts with these indices.

        Raises:
            IndexError: there is no such text.
            ValueError: the texts have 4 GiB or more.
        """
        begins = self.offsets[:-1][chosen].astype(np.int64)
        lengths = np.diff(self.offsets)[chosen].astype(np.int64)
        offsets = _ends(lengths)
        places = np.repeat(begins - offsets[:-1], lengths) + np.arange(offsets[-1])
        return Texts(offsets.astype("<u4"), self.data[places])

    def repeated(self, count: int) -> Texts:
        """These texts `count` times, one after the other.

        Raises:
            ValueError: the texts have 4 GiB or more.
        """
        offsets = _ends(np.tile(np.diff(self.offsets).astype(np.int64), count))
        return Texts(offsets.astype("<u4"), np.tile(self.data, count))

    def column(self, index: int, width: int) -> Texts:
        """Column `index` of texts that stand row by row, `width` in each row.

        Raises:
            IndexError: a row has no such column.
        """
        if not 0 <= index < width:
            raise IndexError(index)
        if width == 1:
            return self
        begins, ends = self.offsets[index:-1:width], self.offsets[index + 1 :: width]
        lengths = ends - begins
        offsets = np.zeros(len(lengths) + 1, "<u4")
        np.cumsum(lengths, out=offsets[1:])
        # The position in `data` of each byte: it moves by the begin of its text.
        moved = np.repeat(begins.astype(np.int64) - offsets[:-1], lengths)
        return Texts(offsets, self.data[moved + np.arange(len(moved))])


def _ends(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Offsets of texts with these lengths.

    Raises:
        ValueError: the texts have 4 GiB or more.
    """
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    if offsets[-1] >> 32:
        raise ValueError("a column of texts has 4 GiB or more")
    return offsets
