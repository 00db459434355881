"""`scorewire records query`: ask with SQL."""

from __future__ import annotations

import click

from scorewire_records.cli.output import format_option, write
from scorewire_records.cli.reading import any_reader
from scorewire_records.reader import Reader

_EPILOG = """
\b
Examples:
  Calls and rows of each version today:
    scorewire records query --records records/ "SELECT model, version,
        count(*) FILTER (row = 0) AS calls, count(*) AS rows
        FROM records WHERE time >= current_date GROUP BY ALL"

\b
  One prediction, by the id that its answer had:
    scorewire records query --records records/ --format json \\
        "FROM churn WHERE prediction_id = '0199...-17'"

\b
  What columns there are:
    scorewire records query --records records/ "DESCRIBE records"

\b
  In a database, in PostgreSQL's SQL:
    scorewire records query --from postgresql://reader@db.example/records \\
        "SELECT version, count(*) FROM churn GROUP BY version"

The SQL of files is DuckDB's. There, the view records has the records of all models, and each model
has a view of its own name, in quotes if it has a dash: FROM "my-model". Features are
columns feature_<name>, outputs are output_<name>; quotes around them keep special
characters: "feature_monthly fee".

Rows are read from the Parquet files and from what is still in the spool, all as of
one moment. A query is one SELECT: it can change nothing, and reads nothing else.
"""


@click.command(epilog=_EPILOG)
@any_reader
@format_option
@click.argument("sql")
def query(*, reader: Reader, form: str, sql: str) -> None:
    """Ask for records with SQL."""
    with reader.query(sql) as rows:
        write(rows, form)
