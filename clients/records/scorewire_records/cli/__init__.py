"""`scorewire records`: keep the records of predictions, and ask about them."""

from __future__ import annotations

import click

from scorewire_records.cli.export import export
from scorewire_records.cli.init import init
from scorewire_records.cli.query import query
from scorewire_records.cli.ship import ship
from scorewire_records.cli.stats import stats
from scorewire_records.cli.status import status
from scorewire_records.cli.tail import tail


@click.group()
def records() -> None:
    """Keep the records of predictions, and ask about them.

    A server that was started with `scorewire serve --records DIR` records its predictions in DIR. Give the
    same DIR to these commands. They also work while the server runs.
    """


for command in (status, tail, query, stats, export, init, ship):
    records.add_command(command)
