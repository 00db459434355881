"""Prints the table of families: `python -m tests.families [ROWS [TREES]]`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from scorewire_training.export import ParityError
from tests.families import FAMILIES, make_data, run


def main(rows: int = 5_000, size: int = 40) -> int:
    """Export every family from that many rows and print the table; returns the exit code."""
    data = make_data(rows)
    failures = 0
    print(
        f"| family | result | rows compared by the gate | of {rows:,} sample rows differ | "
        "worst, of the tolerance | s |"
    )
    print("|---|---|---|---|---|---|")
    for family in FAMILIES:
        with tempfile.TemporaryDirectory() as folder:
            try:
                outcome = run(family, data, Path(folder), size)
            except ParityError as error:
                failures += 1
                print(f"| {family.name} | **WRONG** | | {str(error).splitlines()[0]} | | |", flush=True)
                print(error, file=sys.stderr)
                continue
        expected = outcome.exported == (not family.refused) and family.refused in outcome.reason
        expected &= outcome.differing == 0
        failures += not expected
        mark = "" if expected else "**UNEXPECTED** "
        if outcome.exported:
            share = f"{outcome.worst_share:.2%} | {outcome.seconds:.1f}"
            line = f"{mark}exported | {outcome.rows:,} | {outcome.differing} | {share}"
        else:
            line = f"{mark}refused: {outcome.reason} | | | | "
        print(f"| {family.name} | {line} |", flush=True)
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
