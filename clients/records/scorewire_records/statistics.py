"""Calls, scores, errors and latency of records, by model, version and day."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any, TypeAlias

import duckdb

from scorewire_contract.records.source import Source
from scorewire_records.database import QueryError, identifier, version_view
from scorewire_records.parquet_files import RecordFile, sources_of
from scorewire_records.selection import Selection

# The quantiles of scores and latency that are told.
QUANTILES = (0.05, 0.5, 0.95)
Version: TypeAlias = "tuple[str, str]"


@dataclass(frozen=True, slots=True, kw_only=True)
class DayStatistics:
    """What was recorded of a version on one day; without what the policy left out.

    Attributes:
        model: the model.
        version: the version.
        day: the day (UTC).
        shadow: whether these are the version's predictions as a shadow.
        calls: messages that were answered.
        rows: their rows.
        errors: rows with an error.
        score_mean: the mean score; None if the version has no score.
        score_quantiles: the scores at `QUANTILES`; None likewise.
        latency_us_quantiles: `server_time_us` of calls, at `QUANTILES`; None without calls.
    """

    model: str
    version: str
    day: date
    shadow: bool
    calls: int
    rows: int
    errors: int
    score_mean: float | None
    score_quantiles: list[float] | None
    latency_us_quantiles: list[float] | None

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {**asdict(self), "day": self.day.isoformat()}


def score_sources(files: Iterable[RecordFile]) -> dict[Version, Source]:
    """A source of each version, which tells which output is the score."""
    paths: dict[Version, Path] = {(file.model, file.version): file.path for file in files}
    return {version: found[0] for version, path in paths.items() if (found := sources_of(path))}


def statistics(
    connection: duckdb.DuckDBPyConnection, sources: Mapping[Version, Source], selection: Selection
) -> list[DayStatistics]:
    """The statistics of the selected records, ordered by model, version and day.

    Raises:
        QueryError: a file cannot be read.
    """
    return [
        DayStatistics(**dict(zip(DayStatistics.__slots__, row, strict=True)))
        for (model, version), source in sorted(sources.items())
        for row in _of_version(connection, model, version, _score(source), selection)
    ]


def _of_version(
    connection: duckdb.DuckDBPyConnection, model: str, version: str, score: str, selection: Selection
) -> list[tuple[Any, ...]]:
    condition, parameters = selection.condition()
    quantiles = str(list(QUANTILES))
    # Each prediction has one row 0, also if it was cut into parts.
    columns = f"""
        model, version, CAST(time AS DATE) AS day, route_kind = 'shadow' AS shadow,
        count(*) FILTER (row = 0), count(*), count(error_reason),
        avg({score}), quantile_cont({score}, {quantiles}),
        quantile_cont(server_time_us::DOUBLE, {quantiles}) FILTER (row = 0)
    """
    rows = f"FROM {version_view(model, version)} SELECT {columns} WHERE {condition}"
    try:
        return connection.execute(f"{rows} GROUP BY ALL ORDER BY day, shadow", parameters).fetchall()
    except duckdb.Error as error:
        raise QueryError(str(error)) from error


def _score(source: Source) -> str:
    """The score of a row in SQL: the last column of the output that has it."""
    if source.score_output is None or source.outputs[source.score_output].is_text:
        return "NULL::DOUBLE"
    output = source.outputs[source.score_output]
    column = identifier(f"output_{output.name}")
    return column if output.width == 1 else f"{column}[-1]"
