"""`scorewire records expire`: drop old records of a database."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import click

from scorewire_records.cli.options import database_options

if TYPE_CHECKING:
    from scorewire_records.postgresql.connection import Database

_EPILOG = """
\b
Examples:
  What the policy's retention_days says, which the shipper also does each hour:
    scorewire records expire --to postgresql://shipper@db.example/records

\b
  All records of a model before the last 30 days, whatever the policy says:
    scorewire records expire --to postgresql://shipper@db.example/records --model churn --days 30

Whole days (UTC) are dropped, and counted in the ledger as expired. A day that a query reads
is left alone; run the command again.
"""


@click.command(epilog=_EPILOG)
@database_options(required=True)
@click.option("--model", help="Records of this model only.")
@click.option(
    "--days", type=click.IntRange(min=0), help="Keep this many days before today, instead of retention_days."
)
def expire(database: Database, *, model: str | None, days: int | None) -> None:
    """Drop records of a PostgreSQL database that are too old."""
    from scorewire_records.postgresql import retention, schema  # noqa: PLC0415 - only a database needs psycopg
    from scorewire_records.postgresql.connection import DatabaseError  # noqa: PLC0415

    total = 0
    try:
        with database.connect() as connection, database.errors("cannot drop records of"):
            schema.check(connection)
            for each in retention.expire(connection, dt.datetime.now(dt.UTC), model=model, days=days):
                click.echo(f"dropped {each.model}, {each.day}: {each.rows:,} rows")
                total += each.rows
    except DatabaseError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"{total:,} rows expired")
