"""Compares the engines at length: `python -m tests.differential [COUNT [SEED]]`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.differential.comparison import both_engines, compare, split
from tests.differential.encodings import compare_encodings
from tests.differential.tensors import compare_tensors
from tests.differential.typed import compare_typed


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    with tempfile.TemporaryDirectory() as folder, both_engines(Path(folder)) as (reference, native):
        outcomes = compare(reference, native, count=count // 2, seed=seed)
        rows = compare_encodings(reference, native, count=count // 10, seed=seed)
        for wire in (reference, native):
            split(wire, "sum", {"1.0.0": 30, "1.1.0": 70})
        outcomes += compare(reference, native, count=count - count // 2, seed=seed + 1, keyed=True)
        outcomes += compare_typed(reference, native, count=count // 10, seed=seed)
        outcomes += compare_tensors(reference, native, count=count // 10, seed=seed)
    for outcome, times in outcomes.most_common():
        print(f"{times:8} {outcome}")
    print(f"{outcomes.total():8} requests, and the engines agree on each")
    told = ", ".join(f"{times} {outcome}" for outcome, times in rows.most_common())
    print(f"{rows.total():8} rows in three encodings, and their answers have the same bits ({told})")


if __name__ == "__main__":
    main()
