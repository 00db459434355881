"""`scorewire records init`: prepare a database for records."""

from __future__ import annotations

import click

from scorewire_records.cli.options import database_options
from scorewire_records.postgresql.connection import Database, DatabaseError
from scorewire_records.postgresql.schema import init as make_schema

_EPILOG = """
\b
Example:
  scorewire records init --to postgresql://admin@db.example/records --password-file admin-password

It may run again at any time, and makes what is missing. The role needs the right to create a schema
in the database. The shipper can have another role, which needs:

\b
  GRANT USAGE, CREATE ON SCHEMA scorewire TO shipper;
  GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA scorewire TO shipper;

\b
The shipper owns the tables of rows that it makes. For a role that reads:
  GRANT USAGE ON SCHEMA scorewire TO reader;
  GRANT SELECT ON ALL TABLES IN SCHEMA scorewire TO reader;
  ALTER DEFAULT PRIVILEGES FOR ROLE shipper IN SCHEMA scorewire GRANT SELECT ON TABLES TO reader;
"""


@click.command(epilog=_EPILOG)
@database_options(required=True)
def init(database: Database) -> None:
    """Make the schema `scorewire` in a PostgreSQL database, for records."""
    try:
        made = make_schema(database)
    except DatabaseError as error:
        raise click.ClickException(str(error)) from None
    for name in made:
        click.echo(f"made {name}")
    click.echo(f"{database.shown} is ready for records" + ("" if made else ": nothing was missing"))
