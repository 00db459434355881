"""Prints the table of families: `python -m tests.families`; `--write` also writes the page of models."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from scorewire_training.export import ParityError
from tests.families import FAMILIES, PAGE, TOPICS, Data, Family, Outcome, make_data, run
from tests.families.page import render


def main() -> int:
    """Export every family and print the table; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.families", description=__doc__)
    parser.add_argument("rows", nargs="?", type=int, default=5_000, help="rows of the data")
    parser.add_argument("size", nargs="?", type=int, default=40, help="trees of each ensemble")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name} from what was exported")
    arguments = parser.parse_args()
    data = make_data(arguments.rows)
    print("| family | result | rows compared by the gate | sample rows that differ | of the tolerance | s |")
    print("|---|---|---|---|---|---|")
    outcomes: dict[str, Outcome] = {}
    wrong = unexpected = 0
    for family in FAMILIES:
        outcome = _run(family, data, arguments.size)
        if outcome is None:
            wrong += 1
            continue
        expected = outcome.exported == (not family.refused) and family.refused in outcome.reason
        wrong += outcome.differing > 0
        unexpected += not expected
        outcomes[family.name] = outcome
        print(f"| {family.name} | {'' if expected else '**UNEXPECTED** '}{_cells(outcome)} |", flush=True)
    exported = sum(outcome.exported for outcome in outcomes.values())
    print(
        f"\n{len(FAMILIES)} families: {exported} exported, {len(outcomes) - exported} refused, {wrong} wrong"
    )
    if wrong or unexpected:
        return 1
    if arguments.write:
        PAGE.write_text(render(TOPICS, outcomes), encoding="utf-8")
    return 0


def _run(family: Family, data: Data, size: int) -> Outcome | None:
    """The outcome of a family; None if its bundle would be wrong."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            return run(family, data, Path(folder), size)
        except ParityError as error:
            print(f"| {family.name} | **WRONG** | | {str(error).splitlines()[0]} | | |", flush=True)
            print(error, file=sys.stderr)
            return None


def _cells(outcome: Outcome) -> str:
    if not outcome.exported:
        return f"refused: {outcome.reason} | | | | "
    compared = f"{outcome.rows:,} | {outcome.differing} | {outcome.worst_share:.2%}"
    return f"exported | {compared} | {outcome.seconds:.1f}"


if __name__ == "__main__":
    sys.exit(main())
