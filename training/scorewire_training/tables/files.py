"""Table files: their columns, and their rows at once or in parts. The values of CSV files are texts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from scorewire_training.errors import TrainingError
from scorewire_training.tables.csv_format import CsvFormat, detect_csv_format, explain_long_row
from scorewire_training.tables.notes import TableNote
from scorewire_training.tables.settings import TableSettings

_CHUNK_ROWS = 1_000_000
# Of all columns of a CSV file: they are parsed to find rows that have too many values.
_CHUNK_CELLS = 1_000_000
# A line of the file, where the header is line 1.
_LONG_ROW = re.compile(r"Expected \d+ fields in line (\d+), saw \d+")


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFile:
    """A table in a file.

    Attributes:
        path: the file.
        columns: the names of all columns.
        notes: how the file is read.
        csv: the format of a CSV file; None for Parquet.
    """

    path: Path
    columns: tuple[str, ...]
    notes: tuple[TableNote, ...]
    csv: CsvFormat | None

    def read(self, columns: Sequence[str]) -> pd.DataFrame:
        """All rows, with some of the columns.

        Raises:
            TrainingError: the file is damaged, or has no rows.
        """
        with _explained(self.path):
            if self.csv is None:
                frame: pd.DataFrame = to_frame(parquet.read_table(self.path, columns=list(columns)))
            else:
                frame = pd.concat(self.read_parts(columns, _CHUNK_ROWS), ignore_index=True)
        if not len(frame):
            raise TrainingError(f"{self.path} has no rows: pass a file with data")
        return frame[list(columns)]

    def read_parts(
        self, columns: Sequence[str], rows: int, progress: Callable[[str], None] | None = None
    ) -> Iterator[pd.DataFrame]:
        """The rows in parts of at most this number of rows, in their order, with some of the columns.

        Args:
            columns: the columns.
            rows: the rows of a part, at least 1.
            progress: called with a sentence after each part.

        Raises:
            TrainingError: the file is damaged.
        """
        tell = progress or (lambda _: None)
        with _explained(self.path):
            if self.csv is not None:
                yield from self._read_csv(self.csv, columns, rows, tell)
                return
            done = 0
            with parquet.ParquetFile(self.path) as file:
                for batch in file.iter_batches(rows, columns=list(columns)):
                    done += batch.num_rows
                    yield to_frame(batch)[list(columns)]
                    tell(f"Looking at the values of the rows ({done:,} of {file.metadata.num_rows:,})")

    def _read_csv(
        self, form: CsvFormat, columns: Sequence[str], rows: int, tell: Callable[[str], None]
    ) -> Iterator[pd.DataFrame]:
        places = [self.columns.index(column) for column in columns]
        size = self.path.stat().st_size
        with (
            self.path.open("rb") as stream,
            # Only an empty cell is missing: NA is a country code.
            pd.read_csv(
                stream,
                sep=form.delimiter,
                encoding=form.encoding,
                skiprows=form.lines_before_header,
                # The header is read as the first row, and all columns are parsed: with a choice of columns,
                # pandas would drop further values of a row without an error.
                header=None,
                names=range(len(self.columns)),
                index_col=False,
                dtype=str,
                keep_default_na=False,
                na_values=[""],
                chunksize=max(1, min(rows, _CHUNK_CELLS // len(self.columns))),
            ) as parts,
        ):
            try:
                for number, part in enumerate(parts):
                    found = part if number else part.iloc[1:]
                    yield found[places].set_axis(list(columns), axis=1)
                    tell(f"Reading the table, in bytes ({stream.tell():,} of {size:,})")
            except pd.errors.ParserError as error:
                if (long := _LONG_ROW.search(str(error))) is None:
                    raise
                row = int(long[1]) - 1 - form.lines_before_header
                raise TrainingError(explain_long_row(self.path, row, form.delimiter)) from None


def open_table(path: Path, settings: TableSettings) -> TableFile:
    """Open a .csv or .parquet file; the ending of its name decides how it is read.

    Raises:
        TrainingError: the file does not exist, is neither CSV nor Parquet, is damaged,
            or the settings do not fit it.
    """
    suffix = path.suffix.lower()
    if suffix not in (".csv", ".parquet"):
        raise TrainingError(f"{path} is neither .csv nor .parquet: convert it to one of them")
    with _explained(path):
        if suffix == ".csv":
            found = detect_csv_format(path, settings)
            return TableFile(path=path, columns=found.columns, notes=found.notes, csv=found)
        for name in ("delimiter", "encoding"):
            if getattr(settings, name) is not None:
                raise TrainingError(f"{path} is a Parquet file, which has no {name}: leave --{name} out")
        with path.open("rb") as stream, parquet.ParquetFile(stream) as file:
            if not file.metadata.num_rows:
                raise TrainingError(f"{path} has no rows: pass a file with data")
            return TableFile(path=path, columns=tuple(file.schema_arrow.names), notes=(), csv=None)


def to_frame(table: pa.Table | pa.RecordBatch) -> pd.DataFrame:
    """The values as they are stored: pandas could make a column its index, and integers floats."""
    frame: pd.DataFrame = table.to_pandas(ignore_metadata=True, integer_object_nulls=True)
    return frame


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Raise what goes wrong with a file as TrainingError."""
    try:
        yield
    except TrainingError:
        raise
    except OSError as error:
        # pyarrow's errors have no strerror, and name the file already.
        reason = error.strerror or str(error).removeprefix(f"{path}: ").splitlines()[0]
        raise TrainingError(f"{path} cannot be read: {reason}") from None
    except UnicodeDecodeError:
        raise TrainingError(f"{path} is not of its encoding to the end: pass another --encoding") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, pa.ArrowException, ValueError) as error:
        reason = (str(error).splitlines() or ["it is damaged"])[0]
        raise TrainingError(f"{path} is not a table: {reason}") from None
