"""Tables of training data: CSV and Parquet files read with errors that help."""

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
        path: the file; the name's ending says what it is.
        text_columns: columns of a CSV file that are text however they look, so
            that 007 stays 007; None takes every column as text.

    Raises:
        TrainingError: the file is absent, of another kind, damaged, or empty.
    """
    suffix = path.suffix.lower()
    if suffix not in (".csv", ".parquet"):
        raise TrainingError(f"{path} is neither .csv nor .parquet: convert it to one of them")
    try:
        if suffix == ".parquet":
            frame: pd.DataFrame = parquet.read_table(path).to_pandas()
        else:
            # Of all the spellings of missing only the empty one: NA is a country.
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
    """Refuse a table that lacks a column.

    Raises:
        TrainingError: it does; the message names the columns wanted and there.
    """
    wanted = list(columns)
    if missing := [column for column in wanted if column not in frame.columns]:
        raise TrainingError(
            f"the table has no column {', '.join(missing)}: it must have {', '.join(wanted)},"
            f" and has {', '.join(map(str, frame.columns))}"
        )


def read_numbers(column: pd.Series[Any]) -> pd.Series[float]:
    """The column as float64, NaN where it is missing.

    Raises:
        TrainingError: a value is neither missing nor a finite number.
    """
    numbers = pd.to_numeric(column, errors="coerce").astype("float64")
    # pandas takes the texts "inf" and "nan" for numbers.
    odd = column.notna() & ~numbers.abs().lt(float("inf"))
    if odd.any():
        raise TrainingError(
            f"column {column.name} has '{column[odd].iloc[0]}', which is no finite number: "
            "correct it or leave it empty"
        )
    return numbers
