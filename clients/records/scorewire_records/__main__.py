"""Runs as `python -m scorewire_records`; so a server starts its shipper."""

import os

# Arrow reads this when it is imported. Its other allocators keep a third more memory.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")

from scorewire_records.cli import records

records(prog_name="python -m scorewire_records")
