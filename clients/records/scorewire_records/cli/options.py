"""Options that commands have in common."""

from __future__ import annotations

from pathlib import Path

import click

records_option = click.option(
    "--records",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    metavar="DIR",
    help="The folder of records: what `scorewire serve --records` was given.",
)
