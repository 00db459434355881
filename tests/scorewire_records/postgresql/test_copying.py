from __future__ import annotations

import struct

import numpy as np
import pytest

from scorewire_contract.records.texts import Texts
from scorewire_records.postgresql.connection import Database
from scorewire_records.postgresql.copying import (
    HEADER,
    TRAILER,
    Constant,
    Field,
    Fixed,
    NumberArray,
    TextArray,
    TextColumns,
    encode_rows,
    text_columns,
)

_NUMBERS = np.array([0.0, -0.0, 1.5, 5e-324, -2.2e-308, np.inf, -np.inf, 1.7976931348623157e308, np.nan, 0.1])


def _parsed(data: memoryview) -> list[list[bytes]]:
    """The fields of each row."""
    rows = []
    at = 0
    while at < len(data):
        (count,) = struct.unpack_from(">h", data, at)
        at += 2
        fields = []
        for _ in range(count):
            (size,) = struct.unpack_from(">i", data, at)
            fields.append(bytes(data[at + 4 : at + 4 + size]))
            at += 4 + size
        rows.append(fields)
    return rows


def _round_trip(database: Database, columns: str, fields: list[Field], rows: int) -> list[tuple[object, ...]]:
    """What PostgreSQL has after the rows were copied, with all numbers as their bytes."""
    with database.connect() as connection:
        connection.execute(f"CREATE TEMPORARY TABLE copied ({columns})")
        with connection.cursor() as cursor, cursor.copy("COPY copied FROM STDIN (FORMAT binary)") as copy:
            for data in (HEADER, encode_rows(fields, rows), TRAILER):
                copy.write(data)
        return connection.execute("SELECT * FROM copied").fetchall()


def test_fixed_columns_have_big_endian_values_after_their_lengths() -> None:
    fields = [Fixed(">i4", np.array([1, -2])), Fixed(">f8", np.array([[1.5, 2.5], [3.5, -0.0]]))]
    assert _parsed(encode_rows(fields, 2)) == [
        [struct.pack(">i", 1), struct.pack(">d", 1.5), struct.pack(">d", 2.5)],
        [struct.pack(">i", -2), struct.pack(">d", 3.5), struct.pack(">d", -0.0)],
    ]


def test_one_value_stands_in_all_rows() -> None:
    assert _parsed(encode_rows([Fixed(">i4", np.array([7]))], 3)) == [[struct.pack(">i", 7)]] * 3


def test_texts_of_several_columns_stand_in_their_rows() -> None:
    columns = TextColumns(Texts.of(["a", "", "ccc", "äé", "e", "🙂"]), 3)
    assert _parsed(encode_rows([Fixed(">i2", np.array([1, 2])), columns], 2)) == [
        [b"\x00\x01", b"a", b"", b"ccc"],
        [b"\x00\x02", "äé".encode(), b"e", "🙂".encode()],
    ]


@pytest.mark.parametrize(
    ("columns", "constant"),
    [
        ((["ab", "ab"], ["", ""]), [True, True]),
        ((["ab", "ab"], ["x", "y"]), [True, False]),
        ((["ab", "ba"], ["", ""]), [False, False]),
        ((["a", "ab"], ["", ""]), [False, False]),
        ((["é", "é"], ["a\0", "a\0"]), [False, False]),
        ((["", ""], ["\0", "\0"]), [True, False]),
    ],
)
def test_a_text_that_all_rows_have_is_written_once(
    columns: tuple[list[str], list[str]], constant: list[bool]
) -> None:
    fields = text_columns(*map(Texts.of, columns))
    assert [isinstance(each, Constant) for each in fields] == constant
    expected = [[each.replace("\0", "␀").encode() for each in row] for row in zip(*columns, strict=True)]
    assert _parsed(encode_rows(fields, 2)) == expected


def test_only_chosen_rows_are_encoded() -> None:
    fields = [Fixed(">i2", np.array([1, 2, 3]))]
    texts = [*fields, TextColumns(Texts.of(["a", "bb", "ccc"]))]
    chosen = np.array([True, False, True])
    assert _parsed(encode_rows(fields, 3, chosen)) == [[b"\x00\x01"], [b"\x00\x03"]]
    assert _parsed(encode_rows(texts, 3, chosen)) == [[b"\x00\x01", b"a"], [b"\x00\x03", b"ccc"]]


@pytest.mark.parametrize("texts", [True, False])
def test_no_rows_are_no_bytes(texts: bool) -> None:
    fields: list[Field] = [Fixed(">f8", np.empty((0, 4)))]
    if texts:
        fields += [TextColumns(Texts.of([]), 3), TextArray(Texts.of([]), 2)]
    assert bytes(encode_rows(fields, 0)) == b""


def test_fixed_columns_behind_texts_are_refused() -> None:
    with pytest.raises(ValueError, match="texts stand behind"):
        encode_rows([TextColumns(Texts.of(["a"])), Fixed(">i2", np.array([1]))], 1)


def test_numbers_keep_every_bit(empty_database: Database) -> None:
    payload = np.array([0x7FF8_DEAD_BEEF_0001, 0xFFF0_0000_0000_0001], np.uint64).view(np.float64)
    numbers = np.concatenate([_NUMBERS, payload])
    fields = [Fixed(">f8", numbers), NumberArray(np.repeat(numbers, 3).reshape(-1, 3))]
    with empty_database.connect() as connection:
        connection.execute("CREATE TEMPORARY TABLE copied (a double precision, b double precision[])")
        with connection.cursor() as cursor, cursor.copy("COPY copied FROM STDIN (FORMAT binary)") as copy:
            for data in (HEADER, encode_rows(fields, len(numbers)), TRAILER):
                copy.write(data)
        rows = connection.execute(
            "SELECT float8send(a), float8send(b[2]), array_ndims(b) FROM copied"
        ).fetchall()
    expected = [struct.pack(">Q", bits) for bits in numbers.view(np.uint64).tolist()]
    assert rows == [(each, each, 1) for each in expected]


def test_texts_arrive_as_they_are(empty_database: Database) -> None:
    texts = [
        "",
        "plain",
        "tab\t, newline\n, backslash \\ and \\N",
        "'; DROP TABLE copied; --",
        "🙂" * 5000,
        "\x7f\x01",
    ]
    fields: list[Field] = [Fixed(">i4", np.arange(len(texts))), TextColumns(Texts.of(texts))]
    fields.append(TextArray(Texts.of([text for each in texts for text in (each, "x")]), 2))
    rows = _round_trip(empty_database, "i integer, t text, l text[]", fields, len(texts))
    assert rows == [(index, text, [text, "x"]) for index, text in enumerate(texts)]


def test_a_nul_becomes_its_symbol(empty_database: Database) -> None:
    fields: list[Field] = [
        TextColumns(Texts.of(["a\0b", "\0", "c"])),
        TextArray(Texts.of(["\0", "d", "e"]), 1),
    ]
    rows = _round_trip(empty_database, "t text, l text[]", fields, 3)
    assert rows == [("a␀b", ["␀"]), ("␀", ["d"]), ("c", ["e"])]


def test_bytes_that_are_no_utf8_are_replaced(empty_database: Database) -> None:
    rows = _round_trip(empty_database, "t text", [TextColumns(Texts.of_bytes([b"\xffa", "é".encode()]))], 2)
    assert rows == [("\N{REPLACEMENT CHARACTER}a",), ("é",)]
