"""`scorewire records`: keep the records of predictions, and ask about them."""

from __future__ import annotations

import click

from scorewire_records.cli.init import init
from scorewire_records.cli.ship import ship


@click.group()
def records() -> None:
    """Keep the records of predictions, and ask about them.

    A server that was started with `scorewire serve --records DIR` records its predictions in DIR. Give the
    same DIR to these commands. They also work while the server runs.
    """


records.add_command(init)
records.add_command(ship)
