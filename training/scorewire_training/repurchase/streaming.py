"""Features of tables larger than memory: the lines are divided by customer on disk, then read part by part.

How the table is read, such as the format of its times, is found from all its rows
first. DuckDB then divides the table and spills to disk where it must. A part holds
all lines of its customers, so the functions that work in memory also work on a part.
There are two passes over the parts: the first cleans each part and collects its
statistics, the second builds the features with the statistics of the whole shop.
"""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
from pyarrow import feather, parquet

from scorewire_training.config import Progress
from scorewire_training.errors import TrainingError
from scorewire_training.output.feature_table import (
    ROWS_PER_GROUP,
    check_output,
    feature_schema,
    open_feature_table,
    to_arrow,
)
from scorewire_training.repurchase.config import StreamSettings, check_horizon
from scorewire_training.repurchase.data import (
    Transactions,
    clean_part,
    day_after,
    find_columns,
    inspect_lines,
    note_period,
    read_cdnow,
    require_lines,
)
from scorewire_training.repurchase.feature_table import describe_cutoff
from scorewire_training.repurchase.features import describe_customers
from scorewire_training.repurchase.history import History, read_history
from scorewire_training.repurchase.shop_statistics import (
    PartialStatistics,
    ShopStatistics,
    collect_statistics,
    merge_statistics,
)
from scorewire_training.tables.files import TableFile, open_table, to_frame
from scorewire_training.tables.notes import OnRead, TableNote
from scorewire_training.tables.reading import TableReading
from scorewire_training.tables.settings import TableSettings
from scorewire_training.tables.texts import BLANKS
from scorewire_training.training_result import CleaningStep


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamedFeatures:
    """The numbers of lines and customers of a stream, its cleaning steps, its period, and its cutoff."""

    lines: int
    customers: int
    steps: tuple[CleaningStep, ...]
    period: TableNote
    cutoff: pd.Timestamp


def stream_features(
    source: Path | None,
    output: Path,
    cutoff: pd.Timestamp | None,
    *,
    horizon_days: int,
    table: TableSettings | None = None,
    settings: StreamSettings | None = None,
    progress: Progress | None = None,
    on_read: OnRead | None = None,
) -> StreamedFeatures:
    """Build the feature table of transactions that need not fit in memory.

    The file is the one of `build_feature_table`, with all customers. The stream
    needs free disk space next to `output`, several times the size of the source,
    and memory for the customers of one part.

    Args:
        source: transactions, .csv or .parquet, as `read_transactions` takes them;
            None takes the CDNOW data of the package lifetimes.
        output: the file to write; it appears only when it is complete.
        cutoff: only lines before it are read; None takes the day after the last clean
            line, at the cost of another pass over the parts.
        horizon_days: the horizon of the label in days, 1 to 3650.
        table: how the source is written; None finds everything out.
        settings: the resources; None takes the defaults.
        progress: called with a sentence before each part.
        on_read: called once with notes about how the source is read.

    Raises:
        TrainingError: an argument is out of range, the table cannot be read or
            lacks a column, a value has two readings, no line is left before the
            cutoff, or the memory or the disk space is too small; the message says
            what to do.
    """
    settings = settings or StreamSettings()
    tell = progress or (lambda _: None)
    check_horizon(horizon_days)
    check_output(output, source)
    table = table or TableSettings()
    try:
        with tempfile.TemporaryDirectory(prefix=f".{output.name}-", dir=output.parent) as name:
            folder = Path(name)
            if source is None:
                source = folder / "cdnow.parquet"
                read_cdnow().to_parquet(source)
            reading, lines = _inspect(
                open_table(source, table), table, folder / "table.parquet", settings, tell
            )
            if on_read is not None:
                on_read(reading.notes)
            rows = parquet.read_metadata(lines).num_rows
            tell(f"Parting {rows:,} lines by customer")
            with _connect(folder, settings) as connection:
                parts = _divide_lines(
                    connection,
                    lines,
                    reading.columns,
                    folder / "lines",
                    math.ceil(rows / settings.part_lines),
                )
            if cutoff is None:
                cutoff = _find_today(parts, reading, tell)
            found, steps, period = _collect_part_statistics(parts, reading, cutoff, horizon_days, tell)
            schema = _describe_parts(parts, ShopStatistics.of(found, horizon_days), cutoff, tell)
            tell(f"Sorting {len(found.rfm):,} customers")
            with _connect(folder, settings) as connection:
                _sort(connection, folder / "lines", folder / "sorted", schema)
            (folder / "sorted").replace(output)
    except (duckdb.Error, OSError) as error:
        reason = str(error).splitlines()[0]
        raise TrainingError(
            f"{output} cannot be made with {settings.memory_mb} MB and the free disk space "
            f"next to it: {reason}"
        ) from None
    return StreamedFeatures(
        lines=steps[-1].rows_left,
        customers=len(found.rfm),
        steps=steps,
        period=note_period(*period),
        cutoff=cutoff,
    )


def _inspect(
    file: TableFile, settings: TableSettings, copy: Path, stream: StreamSettings, tell: Progress
) -> tuple[TableReading, Path]:
    """Find how a table is read; returns this, and the Parquet file of its lines.

    The known columns of a CSV file are copied to a Parquet file as texts, as DuckDB
    would read the values by rules of its own.
    """
    columns = find_columns(file.columns, settings)
    inspector = inspect_lines(columns, settings)
    if file.csv is None:
        for part in file.read_parts(inspector.inspected, stream.part_lines, tell):
            inspector.add(part)
        return inspector.decide(file.notes), file.path
    schema = pa.schema([(name, pa.string()) for name in columns.values()])
    with parquet.ParquetWriter(copy, schema, compression="lz4") as writer:
        for part in file.read_parts(list(columns.values()), stream.part_lines, tell):
            inspector.add(part)
            writer.write_table(pa.Table.from_pandas(part, schema, preserve_index=False))
    if not parquet.read_metadata(copy).num_rows:
        raise TrainingError(f"{file.path} has no rows: pass a file with data")
    return inspector.decide(file.notes), copy


def _connect(folder: Path, settings: StreamSettings) -> duckdb.DuckDBPyConnection:
    return duckdb.connect(
        config={
            "memory_limit": f"{settings.memory_mb}MB",
            "threads": settings.threads,
            "temp_directory": str(folder / "spill"),
            "preserve_insertion_order": False,
            "autoinstall_known_extensions": False,
        }
    )


def _divide_lines(
    connection: duckdb.DuckDBPyConnection, source: Path, columns: Mapping[str, str], target: Path, count: int
) -> Sequence[Path]:
    """Write the lines of each part to its own folder; returns the folders."""
    wanted = ", ".join(_quote_name(column) for column in columns.values())
    customer = f"nullif(trim(cast({_quote_name(columns['customer'])} AS VARCHAR), {_quote_text(BLANKS)}), '')"
    # Lines without a customer are spread over the parts, because there may be many.
    key = f"CASE WHEN {customer} IS NULL THEN hash({_quote_name(columns['time'])}) ELSE hash({customer}) END"
    connection.execute(
        f"COPY (SELECT {wanted}, {key} % {count} AS part FROM read_parquet({_quote_text(str(source))})) "  # noqa: S608 - quoted
        f"TO {_quote_text(str(target))} (FORMAT parquet, COMPRESSION lz4_raw, PARTITION_BY (part))"
    )
    return sorted(target.iterdir())


def _find_today(parts: Sequence[Path], reading: TableReading, tell: Progress) -> pd.Timestamp:
    """The day after the last clean line."""
    days = []
    steps: tuple[CleaningStep, ...] = ()
    for number, part in enumerate(parts, 1):
        tell(f"Looking for the last line in part {number} of {len(parts)}")
        cleaned = _clean(part, reading)
        steps = _add_up(steps, cleaned.steps) if steps else cleaned.steps
        if len(cleaned.lines):
            days.append(day_after(cleaned.lines))
    if not days:
        require_lines(Transactions(pd.DataFrame(), steps))
    return max(days)


def _clean(part: Path, reading: TableReading) -> Transactions:
    return clean_part(to_frame(parquet.read_table(part, partitioning=None)), reading)


def _collect_part_statistics(
    parts: Sequence[Path], reading: TableReading, cutoff: pd.Timestamp, horizon_days: int, tell: Progress
) -> tuple[PartialStatistics, tuple[CleaningStep, ...], tuple[pd.Timestamp, pd.Timestamp]]:
    """Clean each part, replace it by its history before the cutoff, and collect its statistics.

    Returns:
        The statistics, the cleaning steps, and the first and last time of clean lines.
    """
    steps: tuple[CleaningStep, ...] = ()
    found: PartialStatistics | None = None
    times: list[pd.Timestamp] = []
    for number, part in enumerate(parts, 1):
        tell(f"Cleaning part {number} of {len(parts)}")
        cleaned = _clean(part, reading)
        shutil.rmtree(part)
        steps = _add_up(steps, cleaned.steps) if steps else cleaned.steps
        if len(cleaned.lines):
            times += [cleaned.lines["time"].min(), cleaned.lines["time"].max()]
        history = read_history(cleaned.lines, cutoff)
        _save(history, part)
        seen = collect_statistics(history, horizon_days)
        found = seen if found is None else merge_statistics([found, seen])
    if found is None or not len(found.rfm):
        if not times:
            require_lines(Transactions(pd.DataFrame(), steps))
        raise TrainingError(
            f"no line is left before {cutoff.date()} after cleaning: choose a later cutoff; the lines are "
            f"from {min(times).date()} to {max(times).date()}"
        )
    return found, steps, (min(times), max(times))


def _describe_parts(
    parts: Sequence[Path], shop: ShopStatistics, cutoff: pd.Timestamp, tell: Progress
) -> pa.Schema:
    """Replace each part by its features; returns the schema of the features."""
    schema: pa.Schema = None
    for number, part in enumerate(parts, 1):
        tell(f"Describing the customers of part {number} of {len(parts)}")
        features = describe_customers(_load(part, cutoff), shop)
        shutil.rmtree(part)
        schema = feature_schema(features, describe_cutoff(cutoff, shop.horizon_days))
        with open_feature_table(part, schema) as writer:
            writer.write_table(to_arrow(features, schema))
    return schema


def _sort(connection: duckdb.DuckDBPyConnection, parts: Path, target: Path, schema: pa.Schema) -> None:
    """Write one table of all parts, sorted by customer."""
    rows = connection.sql(f"FROM read_parquet({_quote_text(f'{parts}/*')}) ORDER BY customer")
    with open_feature_table(target, schema) as writer:
        for batch in rows.to_arrow_reader(ROWS_PER_GROUP):
            writer.write_table(pa.Table.from_batches([batch]).cast(schema))


def _save(history: History, folder: Path) -> None:
    folder.mkdir()
    customers = pd.DataFrame({"customer": history.customers})
    for name, frame in (("customers", customers), ("lines", history.lines), ("purchases", history.purchases)):
        feather.write_feather(frame, folder / name, compression="lz4")


def _load(folder: Path, cutoff: pd.Timestamp) -> History:
    customers, lines, purchases = (
        feather.read_feather(folder / name, memory_map=False) for name in ("customers", "lines", "purchases")
    )
    return History(cutoff, pd.Index(customers["customer"], dtype=object), lines, purchases)


def _add_up(some: Sequence[CleaningStep], more: Sequence[CleaningStep]) -> tuple[CleaningStep, ...]:
    return tuple(
        replace(one, rows_taken=one.rows_taken + other.rows_taken, rows_left=one.rows_left + other.rows_left)
        for one, other in zip(some, more, strict=True)
    )


def _quote_name(column: str) -> str:
    """A quoted column name for SQL."""
    return '"' + column.replace('"', '""') + '"'


def _quote_text(value: str) -> str:
    """A quoted text for SQL."""
    return "'" + value.replace("'", "''") + "'"
