from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xgboost
from click.testing import CliRunner, Result
from numpy.typing import NDArray

from scorewire_contract.bundle import read_bundle
from scorewire_contract.scoring import RunGraph
from scorewire_training.cli.export import export
from scorewire_training.cli.verify import verify
from scorewire_training.export import bundling
from scorewire_training.export.kernel import open_in_kernel

OWN_BITS = "the same rows, with the fitted model's own bits"
OTHER_BITS = r"[\d,]+ rows differ in their last bits, within the tolerance"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with model.json and rows.csv."""
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(80, 2)), columns=["a", "b"])
    y = (X["a"] > 0).astype(int)
    xgboost.XGBClassifier(n_estimators=2, max_depth=2).fit(X, y).save_model(folder / "model.json")
    X.assign(y=y, id=range(80)).to_csv(folder / "rows.csv", index=False)
    return folder


def _run(files: Path, output: Path, *options: str) -> Result:
    arguments = [
        str(files / "model.json"),
        *("--sample", str(files / "rows.csv")),
        *("--name", "m", "--version", "1.0.0", "--output", str(output)),
        *options,
    ]
    return CliRunner(env={"COLUMNS": "200"}).invoke(export, arguments)


def _verified(output: Path) -> str:
    return CliRunner(env={"COLUMNS": "200"}).invoke(verify, [str(output / "m" / "1.0.0")]).output


def test_export_writes_a_bundle_and_says_what_it_compared(files: Path, tmp_path: Path) -> None:
    result = _run(files, tmp_path, "--target-column", "y", "--metric", "auc=0.9", "--description", "Tells.")
    assert result.exit_code == 0, result.output
    manifest = read_bundle(tmp_path / "m" / "1.0.0").manifest
    assert [feature.name for feature in manifest.schema.features] == ["a", "b"]
    assert dict(manifest.metrics) == {"auc": 0.9}
    assert manifest.description == "Tells."
    assert "Left out, since the model does not know them: id" in result.output
    assert f"{manifest.parity.rows_compared:,}" in result.output
    assert "explains probabilities (sigmoid) in 1 column\n" in result.output
    assert "scorewire serve" in result.output


def test_equal_bits_in_the_kernel_are_told(files: Path, tmp_path: Path) -> None:
    pytest.importorskip("scorewire_kernel")
    assert OWN_BITS in _run(files, tmp_path).output
    assert OWN_BITS in _verified(tmp_path)


def test_other_bits_in_the_kernel_are_told_by_the_export(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("scorewire_kernel")

    def open_beside(graph: bytes) -> RunGraph:
        run = open_in_kernel(graph)
        assert run is not None

        def run_beside(names: list[str], feeds: dict[str, NDArray[Any]]) -> Sequence[NDArray[Any]]:
            shares, *labels = run(names, feeds)
            return [np.nextafter(shares, np.float32(1)), *labels]

        return run_beside

    monkeypatch.setattr(bundling, "open_in_kernel", open_beside)
    output = _run(files, tmp_path).output
    assert re.search(OTHER_BITS, output)
    assert "in the kernel" not in _verified(tmp_path)


def test_nothing_is_told_of_a_kernel_that_is_not_there(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundling, "open_in_kernel", lambda _: None)
    assert "in the kernel" not in _run(files, tmp_path).output
    assert "in the kernel" not in _verified(tmp_path)


def test_the_same_version_twice_is_an_error_without_a_traceback(files: Path, tmp_path: Path) -> None:
    assert _run(files, tmp_path).exit_code == 0
    result = _run(files, tmp_path)
    assert result.exit_code == 1
    assert "choose another version" in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--metric", "auc"], 2, "'auc' is not like auc=0.91"),
        (["--version", "one"], 1, "version 'one' is not semantic"),
        (["--target-column", "z"], 1, "has no column 'z'"),
    ],
)
def test_bad_options_are_errors(
    options: list[str], code: int, message: str, files: Path, tmp_path: Path
) -> None:
    result = _run(files, tmp_path, *options)
    assert result.exit_code == code
    assert message in result.output
    assert list(tmp_path.iterdir()) == []


def test_help_teaches_with_an_example() -> None:
    output = CliRunner().invoke(export, ["--help"]).output
    assert "scorewire export churn.json --sample train.csv --name churn --version 1.0.0" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--mlflow", "models:/x/1", "--name", "x"), "--name is not for --mlflow"),
        (("--mlflow", "x/1"), "'x/1' is not a registered model: write it like models:/repurchase/3"),
        (("--name", "x"), "give the bundle a --name and a --version"),
        (("--name", "x", "--version", "1.0.0"), "or a registered bundle by --mlflow"),
    ],
)
def test_what_does_not_go_together_is_explained(arguments: tuple[str, ...], message: str) -> None:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(export, arguments)
    assert result.exit_code != 0
    assert message in result.output
