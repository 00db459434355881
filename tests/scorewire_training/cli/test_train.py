from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from scorewire_contract.bundle import read_bundle
from scorewire_training.cli.train import train
from scorewire_training.game_revenue.generate import generate_users
from tests.scorewire_training.repurchase.shop import make_lines


def _run(*arguments: str | Path) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(train, [str(argument) for argument in arguments])


def test_repurchase_trains_from_a_csv_file_and_says_what_comes_next(tmp_path: Path) -> None:
    make_lines().to_csv(tmp_path / "shop.csv", index=False)
    models = tmp_path / "models"
    result = _run(
        "repurchase", "--data", tmp_path / "shop.csv", "--cut", "2020-09-15", "--horizon-days", "60",
        "--seed", "3", "--version", "2.0.0-rc.1", "--output", models,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    manifest = read_bundle(models / "repurchase" / "2.0.0-rc.1").manifest
    assert "60 days" in manifest.description
    assert "tested at 2020-09-15 on other customers, horizon 60 days" in result.output
    row = next(line for line in result.output.splitlines() if line.startswith("│ auc "))
    assert f"{manifest.metrics['auc']:.4f}" in row
    assert f"recency {manifest.metrics['auc_recency_baseline']:.4f}, frequency" in row
    assert f"scorewire serve --models {models}" in result.output


def test_game_revenue_trains_from_a_parquet_file(tmp_path: Path) -> None:
    generate_users(1_000, seed=2).to_parquet(tmp_path / "users.parquet")
    result = _run("game-revenue", "--data", tmp_path / "users.parquet", "--output", tmp_path)
    assert result.exit_code == 0, result.output
    metrics = read_bundle(tmp_path / "game-revenue" / "1.0.0").manifest.metrics
    row = next(line for line in result.output.splitlines() if line.startswith("│ mae_ordinary "))
    assert f"constant {metrics['mae_ordinary_constant_baseline']:.4f}" in row
    row = next(line for line in result.output.splitlines() if line.startswith("│ mae "))
    assert row.count("constant") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("repurchase", "--data", "absent.csv"), "absent.csv cannot be read"),
        (("repurchase", "--horizon-days", "0"), "horizon_days is 0: choose 1 to 3650"),
        (("repurchase", "--cut", "2031-01-01"), "the cut 2031-01-01 is not from 1997-06-30 to 1998-04-01"),
        (("game-revenue", "--version", "first"), "version 'first' is not semantic"),
        (("game-revenue", "--data", "users.xlsx"), "neither .csv nor .parquet"),
    ],
)
def test_a_mistake_is_explained_without_a_traceback(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    result = _run(*arguments, "--output", tmp_path)
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert message in result.output
