"""The long comparison of the engines: `python -m tests.differential [COUNT [SEED]]`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.differential.comparison import both_engines, compare


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    with tempfile.TemporaryDirectory() as folder, both_engines(Path(folder)) as (reference, native):
        outcomes = compare(reference, native, count=count, seed=seed)
    for outcome, times in outcomes.most_common():
        print(f"{times:8} {outcome}")
    print(f"{count:8} requests, and the engines agree on each")


if __name__ == "__main__":
    main()
