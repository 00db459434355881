"""New users as rows that the model takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from scorewire_training.errors import TrainingError
from scorewire_training.game_revenue.data import FEATURES, TEXTS, USER, Users, leave_out, read_rows
from scorewire_training.output.feature_table import check_output
from scorewire_training.tables.notes import OnRead
from scorewire_training.tables.settings import TableSettings
from scorewire_training.training_result import CleaningStep

# Of the users that are generated without a table; those of training have another seed by default.
_SEED = 1


@dataclass(frozen=True, slots=True)
class WrittenRows:
    """What was written, and what training would leave out of it.

    Attributes:
        count: the number of rows.
        has_ids: whether they have the ids of users.
        steps: the steps of data cleaning before training; empty if the table has no revenue to train on.
    """

    count: int
    has_ids: bool
    steps: tuple[CleaningStep, ...] = ()


def write_rows(
    source: Path | None,
    output: Path,
    settings: TableSettings | None = None,
    *,
    on_read: OnRead | None = None,
) -> WrittenRows:
    """Write a Parquet file with a row for each user of a table, in its order.

    The columns are user_id, if the table has it, and the features of the model. The
    table need not have the revenue.

    Args:
        source: the users, .csv or .parquet; None generates 20,000 new ones.
        output: the file to write; it appears only when it is complete.
        settings: how the source is written; None finds everything out.
        on_read: called once with notes about how the source is read.

    Raises:
        TrainingError: the table cannot be read, or the output cannot be written.
    """
    check_output(output, source)
    users, steps = _read(source, settings)
    if on_read is not None:
        on_read(users.notes)
    columns = {} if users.ids is None else {USER: users.ids}
    columns |= {name: users.rows[name] for name in FEATURES}
    table = pa.table(
        {
            name: pa.array(
                column.map(str, na_action="ignore") if name in (USER, *TEXTS) else column,
                pa.string() if name in (USER, *TEXTS) else pa.float64(),
                from_pandas=True,
            )
            for name, column in columns.items()
        }
    )
    part = output.with_name(f".{output.name}.part")
    try:
        parquet.write_table(table, part, compression="zstd")
        part.replace(output)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise TrainingError(f"{output} cannot be written: {error.strerror or error}") from None
    return WrittenRows(table.num_rows, USER in columns, steps)


def _read(source: Path | None, settings: TableSettings | None) -> tuple[Users, tuple[CleaningStep, ...]]:
    """All users, and the steps of cleaning, if their revenue can be read."""
    try:
        users = read_rows(source, seed=_SEED, settings=settings, target=True)
    except TrainingError:
        # New users have no revenue yet, or anything else in its place.
        return read_rows(source, seed=_SEED, settings=settings, target=False), ()
    return users, leave_out(users)[1]
