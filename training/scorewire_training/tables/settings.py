"""The settings that tell how a table is written: names of columns, and formats of a CSV file's values."""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from scorewire_training.errors import TrainingError

# Its year, month, day, hour and minute differ from each other, so that a format shows whether it has them.
_EXAMPLE = datetime(2011, 12, 31, 13, 45, tzinfo=UTC)
_NO_DELIMITERS = '"\r\n'


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSettings:
    """How a table is written; what is None is found out from the table, and told.

    Args:
        columns: names of columns by what they mean, such as customer: ID_CLIENTE.
        delimiter: the character between the values of a CSV file; a tab may be written
            as a backslash and a t.
        decimal: the decimal mark of numbers that are written as text, "." or ",".
        encoding: the encoding of a CSV file, by the name that Python has for it.
        date_format: the format of times that are written as text, as for strptime:
            %d/%m/%Y %H:%M.

    Raises:
        TrainingError: a value is out of its range, or two meanings have the same column.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    delimiter: str | None = None
    decimal: str | None = None
    encoding: str | None = None
    date_format: str | None = None

    def __post_init__(self) -> None:
        seen: dict[str, str] = {}
        for role, column in self.columns.items():
            if column in seen:
                raise TrainingError(
                    f"column {column} is given as {seen[column]} and as {role}: a column has one meaning"
                )
            seen[column] = role
        if self.delimiter == "\\t":
            # As people write a tab on command lines, and in TOML with single quotes. The class is frozen.
            object.__setattr__(self, "delimiter", "\t")
        if self.delimiter is not None and (len(self.delimiter) != 1 or self.delimiter in _NO_DELIMITERS):
            raise TrainingError(
                f"delimiter is {self.delimiter!r}: give one character, like ; or \\t for a tab"
            )
        if self.decimal not in (None, ".", ","):
            raise TrainingError(f"decimal is {self.decimal!r}: choose . or ,")
        if self.encoding is not None:
            _check_encoding(self.encoding)
        if self.date_format is not None:
            _check_date_format(self.date_format)

    def to_options(self) -> list[str]:
        """The options of a command that give these settings again."""
        options = [part for item in self.columns.items() for part in ("--column", "=".join(item))]
        for name in ("delimiter", "decimal", "encoding", "date_format"):
            if (value := getattr(self, name)) is not None:
                options += [f"--{name.replace('_', '-')}", "\\t" if value == "\t" else value]
        return options


def _check_encoding(encoding: str) -> None:
    try:
        codecs.lookup(encoding)
        # Python also has encodings of bytes, which decode no text.
        "".encode(encoding)
    except (LookupError, ValueError):
        raise TrainingError(
            f"encoding is {encoding!r}, which is unknown: give one like utf-8, windows-1252 or latin-1"
        ) from None


def _check_date_format(date_format: str) -> None:
    reason = "it is not a format of strptime"
    try:
        read = datetime.strptime(_EXAMPLE.strftime(date_format), date_format)
        if read.date() == _EXAMPLE.date():
            return
        reason = "it does not have the day, the month and the year"
    except ValueError:
        pass
    raise TrainingError(
        f"date_format is {date_format!r}, and {reason}: write it like '%d/%m/%Y', '%m/%d/%Y %H:%M' or "
        "'%Y-%m-%d %H:%M:%S'"
    )
