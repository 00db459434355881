"""How a CSV file is written: its encoding, its delimiter and the names of its columns."""

from __future__ import annotations

import codecs
import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path

from scorewire_training.errors import TrainingError
from scorewire_training.tables.notes import TableNote
from scorewire_training.tables.settings import TableSettings

_DELIMITERS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}
# What spreadsheets of Western countries write where they do not write UTF-8.
_FALLBACK = "windows-1252"
_NO_VALUE = re.compile(rb'[,;|"\t\r\n]+')
_UTF8_LETTER = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_FOR_EXCEL = re.compile(r"sep=(.)\r?\n")
_BLOCK_BYTES = 1 << 20
_SAMPLE_CHARACTERS = 1 << 18
_SAMPLE_RECORDS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvFormat:
    """The format of a CSV file, and how it was found.

    The line before the header, if there is one, tells Excel the delimiter: sep=;
    """

    encoding: str
    delimiter: str
    columns: tuple[str, ...]
    lines_before_header: int
    notes: tuple[TableNote, ...]


def detect_csv_format(path: Path, settings: TableSettings) -> CsvFormat:
    """Find the format of a CSV file, where the settings do not give it.

    Raises:
        OSError: the file cannot be read.
        TrainingError: the file is empty, is not of the encoding, or has another number
            of values in a row than in its header.
    """
    encoding, encoding_note = _find_encoding(path, settings.encoding)
    with path.open(encoding=encoding, newline="") as file:
        sample = file.read(_SAMPLE_CHARACTERS)
        whole = not file.read(1)
    if not sample.strip():
        raise TrainingError(f"{path} is not a table: it is empty")
    told, delimiter = "given", settings.delimiter
    if for_excel := _FOR_EXCEL.match(sample):
        sample = sample[for_excel.end() :]
        told, delimiter = ("the first line says so", for_excel[1]) if delimiter is None else (told, delimiter)
    if delimiter is None:
        told, delimiter = "found from the header and the first rows", _guess_delimiter(sample, whole=whole)
    header, *records = _split(sample, delimiter, whole=whole)
    for number, record in enumerate(records, 1):
        if len(record) > len(header):
            raise TrainingError(explain_long_row(path, number, delimiter))
    return CsvFormat(
        encoding=encoding,
        delimiter=delimiter,
        columns=tuple(name.strip() for name in header),
        lines_before_header=1 if for_excel else 0,
        notes=(encoding_note, TableNote("delimiter", f"{_name(delimiter)} ({told})")),
    )


def explain_long_row(path: Path, row: int, delimiter: str) -> str:
    """The error for a row with more values than the header."""
    return (
        f"{path} is not a table: row {row:,} has more values than the header, divided by {_name(delimiter)}; "
        "pass another --delimiter, quote values that contain it, or end the header as the rows end"
    )


def _find_encoding(path: Path, given: str | None) -> tuple[str, TableNote]:
    with path.open("rb") as file:
        start = file.read(1_024)
    if given is not None:
        # As Python's utf-8 does not take the mark at the begin of a file away.
        encoding = "utf-8-sig" if codecs.lookup(given).name == "utf-8" else given
        if _find_undecodable(path, encoding):
            raise TrainingError(f"{path} is not {given}: pass another --encoding, or save it as UTF-8")
        return encoding, TableNote("encoding", f"{given} (given)")
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16", TableNote("encoding", "UTF-16, by the mark at its begin")
    if b"\0" in start:
        raise TrainingError(
            f"{path} has zero bytes, like UTF-16 without a mark: pass its --encoding, like utf-16-le, "
            "or save it as UTF-8"
        )
    wrong = _find_undecodable(path, "utf-8-sig")
    if wrong is None:
        marked = ", by the mark at its begin" if start.startswith(codecs.BOM_UTF8) else ""
        return "utf-8-sig", TableNote("encoding", f"UTF-8{marked}")
    if start.startswith(codecs.BOM_UTF8) or _has_utf8_letters(path):
        shown = wrong.value.decode(errors="replace")
        raise TrainingError(
            f"{path} is UTF-8, but not in all places: line {wrong.line:,} has {shown!r}; correct it, or "
            "pass the --encoding of the whole file"
        )
    if _find_undecodable(path, _FALLBACK):
        raise TrainingError(f"{path} is not UTF-8: pass its --encoding, or save it as UTF-8 or Parquet")
    shown = wrong.value.decode(_FALLBACK)
    return _FALLBACK, TableNote(
        "encoding",
        f"{_FALLBACK}, guessed, as the file is not UTF-8",
        f"if {shown!r} looks wrong, pass --encoding",
    )


@dataclass(frozen=True, slots=True)
class _Undecodable:
    """The first bytes that an encoding does not decode: their line, from 1, and the value that has them."""

    line: int
    value: bytes


def _find_undecodable(path: Path, encoding: str) -> _Undecodable | None:
    """The first bytes that an encoding does not decode; None if it decodes the file."""
    decoder = codecs.getincrementaldecoder(encoding)()
    before, line = b"", 1
    with path.open("rb") as file:
        while True:
            block = file.read(_BLOCK_BYTES)
            try:
                decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                # The error's positions are within the bytes that the decoder held, and this block.
                held = before[-8:] + block
                place = len(held) - len(error.object) + error.start
                line += held.count(b"\n", min(len(held) - len(block), place), place)
                start = _NO_VALUE.split(held[max(0, place - 20) : place])[-1]
                return _Undecodable(line, start + _NO_VALUE.split(held[place : place + 20])[0])
            if not block:
                return None
            before, line = block, line + block.count(b"\n")


def _has_utf8_letters(path: Path) -> bool:
    """Whether a file has characters of several bytes in UTF-8, which are hardly ever something else."""
    before = b""
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            if _UTF8_LETTER.search(before + block):
                return True
            before = block[-3:]
    return False


def _guess_delimiter(sample: str, *, whole: bool) -> str:
    """The delimiter that divides the header and the most rows alike; a comma if there is one column."""

    def rank(delimiter: str) -> tuple[int, int]:
        header, *records = _split(sample, delimiter, whole=whole)
        return sum(len(record) == len(header) for record in records), len(header)

    ranks = {delimiter: rank(delimiter) for delimiter in _DELIMITERS}
    divided = {delimiter: found for delimiter, found in ranks.items() if found[1] > 1}
    return max(divided, key=lambda delimiter: divided[delimiter]) if divided else ","


def _split(sample: str, delimiter: str, *, whole: bool) -> list[list[str]]:
    """The header and the first records of a sample; its last record may be cut off and is left out."""
    records = []
    try:
        for record in csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter):
            if record:
                records.append(record)
            if len(records) > _SAMPLE_RECORDS:
                break
    except csv.Error as error:
        raise TrainingError(f"the table is not CSV: {error}") from None
    cut = not whole and 1 < len(records) <= _SAMPLE_RECORDS
    return records[:-1] if cut else records


def _name(delimiter: str) -> str:
    return _DELIMITERS.get(delimiter, repr(delimiter))
