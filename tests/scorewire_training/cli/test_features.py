from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner, Result
from pyarrow import parquet

from scorewire_training.cli.train import train
from tests.scorewire_training.repurchase.generated_transactions import write_transactions


def _run(*arguments: str | Path) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(train, ["features", *map(str, arguments)])


def test_a_feature_table_is_written_and_told_of(tmp_path: Path) -> None:
    write_transactions(tmp_path / "shop.parquet", 5_000, seed=1)
    output = tmp_path / "features.parquet"
    result = _run(
        "--data", tmp_path / "shop.parquet", "--cut", "2023-07-01", "--horizon-days", "30",
        "--memory-mb", "256", "--threads", "1", "--output", output,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    metadata = parquet.read_metadata(output)
    assert metadata.metadata[b"horizon_days"] == b"30"
    assert f"{output}: {metadata.num_rows} customers" in result.output
    assert "left out: no customer" in result.output


def test_a_mistake_is_explained_without_a_traceback(tmp_path: Path) -> None:
    result = _run("--data", tmp_path / "absent.parquet", "--cut", "2023-07-01", "--output", tmp_path / "out")
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert "absent.parquet cannot be read" in result.output
