from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xgboost
from click.testing import CliRunner, Result

from scorewire_contract.bundle import read_bundle
from scorewire_training.cli.export import export


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
    return CliRunner().invoke(export, arguments)


def test_export_writes_a_bundle_and_says_what_it_compared(files: Path, tmp_path: Path) -> None:
    result = _run(files, tmp_path, "--target-column", "y", "--metric", "auc=0.9", "--description", "Tells.")
    assert result.exit_code == 0, result.output
    manifest = read_bundle(tmp_path / "m" / "1.0.0").manifest
    assert [feature.name for feature in manifest.schema.features] == ["a", "b"]
    assert dict(manifest.metrics) == {"auc": 0.9}
    assert manifest.description == "Tells."
    assert "Left out, since the model does not know them: id" in result.output
    assert f"{manifest.parity.rows_compared:,}" in result.output
    assert "scorewire serve" in result.output


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
