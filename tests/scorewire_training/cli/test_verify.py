from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from scorewire_contract import bundle as bundles
from scorewire_training.cli.verify import verify
from tests.bundles import write_classifier_bundle, write_sum_bundle


def _run(*paths: Path) -> tuple[int, str]:
    result = CliRunner().invoke(verify, [str(path) for path in paths])
    return result.exit_code, result.output


def test_sound_bundles_pass(tmp_path: Path) -> None:
    code, output = _run(write_sum_bundle(tmp_path), write_classifier_bundle(tmp_path))
    assert code == 0
    assert "sum 1.0.0" in output
    assert "classes 1.0.0" in output
    assert "19 scored as at export, 1 of them refused" in output


def test_one_bad_bundle_fails_and_the_others_are_checked(tmp_path: Path) -> None:
    bad, good = write_sum_bundle(tmp_path), write_classifier_bundle(tmp_path)
    (bad / bundles.GRAPH).write_bytes(b"no graph")
    code, output = _run(bad, good)
    assert code == 1
    assert "FAILED" in output
    assert "model.onnx differs from its checksum" in output
    assert "classes 1.0.0" in output


def test_scores_that_are_not_the_fitted_models_fail(tmp_path: Path) -> None:
    path = write_sum_bundle(tmp_path)
    bundle = bundles.read_bundle(path)
    bundle.golden.expected.outputs[0].numbers[0] += 0.5
    files = {bundles.GRAPH: bundle.graph, bundles.GOLDEN: bundles.to_json(bundle.golden)}
    code, output = _run(bundles.write_bundle(tmp_path / "other", bundle.manifest, files))
    assert code == 1
    assert "golden row 0: value[0]" in output


def test_a_graph_that_does_not_load_fails(tmp_path: Path) -> None:
    bundle = bundles.read_bundle(write_sum_bundle(tmp_path))
    files = {bundles.GRAPH: b"no graph", bundles.GOLDEN: bundles.to_json(bundle.golden)}
    code, output = _run(bundles.write_bundle(tmp_path / "other", bundle.manifest, files))
    assert code == 1
    assert "does not load the graph" in output


@pytest.mark.parametrize("content", [None, json.dumps({"formatVersion": 99})])
def test_what_is_no_bundle_fails(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / bundles.MANIFEST).write_text(content)
    code, output = _run(tmp_path)
    assert code == 1
    assert ("MODELS/NAME/VERSION" in output) == (content is None)


def test_no_bundle_named_is_a_usage_error() -> None:
    assert _run()[0] == 2
