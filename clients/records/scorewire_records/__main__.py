"""Runs as `python -m scorewire_records`."""

from scorewire_records.cli import records

records(prog_name="python -m scorewire_records")
