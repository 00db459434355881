from __future__ import annotations

import numpy as np
import pytest

from scorewire_contract.records.blocks import BlockError
from scorewire_contract.records.texts import Texts

TEXTS = ["a", "", "zażółć", "🙂", "", "xyz"]


@pytest.mark.parametrize("texts", [[], [""], TEXTS])
def test_texts_are_read_as_they_were_written(texts: list[str]) -> None:
    column = Texts.decode(Texts.of(texts).encode(), len(texts))
    assert list(column) == texts == [column[index] for index in range(len(column))]


def test_an_index_behind_the_end_is_refused() -> None:
    with pytest.raises(IndexError):
        Texts.of(["a"])[1]


@pytest.mark.parametrize("width", [1, 2, 3, 6])
def test_a_column_has_every_text_of_its_index(width: int) -> None:
    texts = Texts.of(TEXTS)
    columns = [texts.column(index, width) for index in range(width)]
    assert [list(column) for column in columns] == [TEXTS[index::width] for index in range(width)]
    with pytest.raises(IndexError):
        texts.column(width, width)


def test_texts_are_taken_by_their_indices() -> None:
    texts = Texts.of(TEXTS)
    assert list(texts.take(np.array([3, 0, 3, 1], np.uint16))) == ["🙂", "a", "🙂", ""]
    assert list(texts.take(np.array([], np.int64))) == []
    with pytest.raises(IndexError):
        texts.take(np.array([len(TEXTS)]))


def test_texts_are_repeated() -> None:
    assert list(Texts.of(["ä", ""]).repeated(2)) == ["ä", "", "ä", ""]
    assert list(Texts.of(["a"]).repeated(0)) == list(Texts.of([]).repeated(3)) == []


def test_texts_of_4_gib_are_refused() -> None:
    texts = Texts.of(["x" * (1 << 20)])
    with pytest.raises(ValueError, match="4 GiB"):
        texts.repeated(1 << 12)
    with pytest.raises(ValueError, match="4 GiB"):
        texts.take(np.zeros(1 << 12, np.uint16))


def test_a_column_of_no_rows_is_empty() -> None:
    assert list(Texts.of([]).column(1, 2)) == []


@pytest.mark.parametrize("offsets", [[1, 2, 3], [0, 3, 2], [0, 1, 2], [0, 1, 4]])
def test_wrong_offsets_are_refused(offsets: list[int]) -> None:
    section = np.array(offsets, "<u4").tobytes() + b"abc"
    with pytest.raises(BlockError):
        Texts.decode(section, 2)


def test_a_section_without_room_for_the_offsets_is_refused() -> None:
    with pytest.raises(BlockError):
        Texts.decode(bytes(11), 2)
