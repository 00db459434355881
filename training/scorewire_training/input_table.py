"""The tables that a model is trained on: CSV and Parquet files, with errors that say what to change."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from scorewire_training.errors import TrainingError


def read_table(path: Path, *, text_columns: Collection[str] | None = None) -> pd.DataFrame:
    """Read a table from a .csv or .parquet file.

    Args:
        path: the file; the ending of its name decides how it is read.
        text_columns: columns of a CSV file to read as text even where they look
            like numbers, so that 007 stays 007; None reads every column as text.

    Raises:
        TrainingError: the file does not exist, is neither CSV nor Parquet, is
            damaged, or has no rows.
    """
    suffix = path.suffix.lower()
    if suffix not in (".csv", ".parquet"):
        raise TrainingError(f"{path} is neither .csv nor .parquet: convert it to one of them")
    try:
        if suffix == ".parquet":
            frame: pd.DataFrame = parquet.read_table(path).to_pandas()
        else:
            # Only an empty cell is missing: NA is a country code.
            frame = pd.read_csv(
                path,
                dtype=str if text_columns is None else dict.fromkeys(text_columns, str),
                keep_default_na=False,
                na_values=[""],
                low_memory=False,
            )
    except OSError as error:
        raise TrainingError(f"{path} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise TrainingError(f"{path} is not UTF-8: save it as UTF-8, or as Parquet") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, pa.ArrowException, ValueError) as error:
        reason = (str(error).splitlines() or ["it is damaged"])[0]
        raise TrainingError(f"{path} is not a table: {reason}") from None
    if not len(frame):
        raise TrainingError(f"{path} has no rows: pass a file with data")
    return frame


def require_columns(columns: Iterable[str], frame: pd.DataFrame) -> None:
    """Check that a table has all of some columns.

    Raises:
        TrainingError: a column is missing; the message lists the required and the existing columns.
    """
    wanted = list(columns)
    if missing := [column for column in wanted if column not in frame.columns]:
        raise TrainingError(
            f"the table has no column {', '.join(missing)}: it must have {', '.join(wanted)},"
            f" and has {', '.join(map(str, frame.columns))}"
        )


def read_numbers(column: pd.Series[Any]) -> pd.Series[float]:
    """Convert a column to float64, with NaN for missing values.

    Raises:
        TrainingError: a value is neither missing nor a finite number.
    """
    numbers = pd.to_numeric(column, errors="coerce").astype("float64")
    # pandas reads the texts "inf" and "nan" as numbers.
    odd = column.notna() & ~numbers.abs().lt(float("inf"))
    if odd.any():
        raise TrainingError(
            f"column {column.name} has '{column[odd].iloc[0]}', which is not a finite number: "
            "correct it or leave it empty"
        )
    return numbers
