from __future__ import annotations

import random
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.records.faults import run, stores
from tests.scorewire_records.postgresql.server import binaries

KILLS = 4
# Only failures take this long.
SECONDS = 600


@pytest.mark.timeout(SECONDS)
@pytest.mark.parametrize(
    ("engine", "kind"),
    [
        pytest.param(
            "native",
            "postgresql",
            marks=[
                pytest.mark.skipif(find_spec("scorewire_native") is None, reason="the engine is not built"),
                pytest.mark.skipif(binaries() is None, reason="apt-get install postgresql"),
            ],
        ),
        ("reference", "parquet"),
    ],
)
def test_no_record_is_kept_twice_or_lost_unseen(tmp_path: Path, engine: str, kind: str) -> None:
    seed = random.randrange(1 << 32)
    with stores(tmp_path, kind) as store:
        report = run(tmp_path, store, kills=KILLS, seed=seed, engine=engine)
    assert report.good, f"seed {seed}: {report}"
    assert report.stored
    assert sum(report.faults.values()) == KILLS
