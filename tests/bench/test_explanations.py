from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.bench.explanations import BATCH, main
from tests.bench.kernel_models import KINDS

# Only failures take this long; the bench trains and builds.
BENCH_SECONDS = 1200


@pytest.mark.skipif(shutil.which("cargo") is None, reason="cargo is missing")
@pytest.mark.timeout(BENCH_SECONDS)
def test_contributions_are_measured_beside_the_libraries(tmp_path: Path) -> None:
    pytest.importorskip("scorewire_kernel")
    options = ["--quick", "--output", str(tmp_path), "--cache", str(tmp_path / "models")]
    result = CliRunner().invoke(main, options, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    told = json.loads((tmp_path / "explanations.json").read_text(encoding="utf-8"))
    models = {kind.name: kind.library for kind in KINDS if kind.library != "scikit-learn"}
    assert [one["model"] for one in told["results"]] == list(models)
    for one in told["results"]:
        kernel, library = one["us_per_row"]
        assert kernel == "kernel"
        assert library.startswith(models[one["model"]])
        assert len(one["us_per_row"][kernel]["1"]) == len(one["us_per_row"][library]["1"]) == 1
        assert one["us_per_row"][kernel][str(BATCH)][0] > 0
    assert len(told["bars"]) == 2 + 1 + 4
    assert (tmp_path / "explanations.md").read_text(encoding="utf-8") in result.output
