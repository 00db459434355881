from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
from click.testing import CliRunner, Result
from pyarrow import parquet

from scorewire_training.cli.train import train
from scorewire_training.game_revenue.data import FEATURES
from scorewire_training.game_revenue.generate import generate_users
from scorewire_training.repurchase.data import read_transactions
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
    assert f"{output}: {metadata.num_rows} customers as of 2023-07-01" in result.output
    assert "left out: no customer" in result.output


def test_a_csv_file_is_read_as_the_options_say(tmp_path: Path) -> None:
    lines = pd.DataFrame(
        {
            "ID": ["a", "b", "a", "c"],
            "when": ["01/02/2023", "03/04/2023", "05/06/2023", "07/08/2023"],
            "amount": ["1,500", "2,250", "3,125", "4,000"],
        }
    )
    lines.to_csv(tmp_path / "shop.csv", sep="\t", index=False)
    arguments = ("--data", tmp_path / "shop.csv", "--cut", "2023-07-01", "--output", tmp_path / "out.parquet")
    columns = ("--column", "customer=ID", "--column", "time=when", "--delimiter", "\\t")
    result = _run(*arguments, *columns)
    assert result.exit_code == 1
    assert "'01/02/2023' (row 1) is 2023-02-01 (%d/%m/%Y) or 2023-01-02 (%m/%d/%Y)" in result.output
    result = _run(*arguments, *columns, "--date-format", "%d/%m/%Y")
    assert result.exit_code == 1
    assert "'1,500' (row 1) is 1500 (decimal .) or 1.5 (decimal ,)" in result.output
    result = _run(*arguments, *columns, "--date-format", "%d/%m/%Y", "--decimal", ",")
    assert result.exit_code == 0, result.output
    assert "  delimiter     a tab (given)\n" in result.stderr
    assert "  times         %d/%m/%Y (given)\n" in result.stderr
    assert "  customer      column ID (given)\n" in result.stderr
    assert "period: 2023-02-01 to 2023-08-07" in result.stdout
    table = parquet.read_table(tmp_path / "out.parquet").to_pandas()
    assert table["customer"].tolist() == ["a", "b"]
    assert table["monetary"].tolist() == [4.625, 2.25]
    assert "has the ids of customers" in result.stdout


def test_users_of_a_game_become_rows_in_the_order_of_the_table(tmp_path: Path) -> None:
    users = generate_users(50, seed=3).drop(columns="revenue").rename(columns={"event_2": "Views"})
    users.to_csv(tmp_path / "users.csv", index=False, sep=";", decimal=",")
    output = tmp_path / "rows.parquet"
    arguments = ("--model", "game-revenue", "--data", tmp_path / "users.csv", "--output", output)
    # The settings of training may name the revenue, which new users do not have.
    result = _run(*arguments, "--column", "event_2=Views", "--column", "revenue=Ingresos")
    assert result.exit_code == 0, result.output
    assert f"{output}: 50 users; it has the ids of users" in result.output
    table = parquet.read_table(output).to_pandas()
    assert table.columns.tolist() == ["user_id", *FEATURES]
    assert table["user_id"].tolist() == users["user_id"].tolist()
    assert table["event_2"].tolist() == users["Views"].tolist()
    assert table["country_region"].isna().tolist() == users["country_region"].isna().tolist()
    for wrong, message in (
        (("--cut", "2023-07-01"), "--cut is not for game-revenue"),
        (("--date-format", "%Y-%m-%d"), "--date-format is not for game-revenue"),
        (("--horizon-days", "90"), "--horizon-days is not for game-revenue"),
        (("--memory-mb", "512"), "--memory-mb is not for game-revenue"),
        (("--threads", "1"), "--threads is not for game-revenue"),
        (("--output", tmp_path / "absent" / "x"), "is not a folder"),
        (("--output", tmp_path / "users.csv"), "is the data"),
        (("--column", "event_9=x"), "event_3, revenue; did you mean 'event_"),
        (("--column", "event_2"), "'event_2' is not like customer=ID_CLIENTE"),
    ):
        result = _run(*arguments, *wrong)
        assert result.exit_code != 0
        assert message in result.output


def test_customers_are_described_as_of_the_day_after_the_last_line(tmp_path: Path) -> None:
    write_transactions(tmp_path / "shop.parquet", 5_000, seed=1)
    data = ("--data", tmp_path / "shop.parquet")
    result = _run(*data, "--output", tmp_path / "now")
    assert result.exit_code == 0, result.output
    (day,) = re.findall(r"customers as of (\S+),", result.output)
    assert _run(*data, "--cut", day, "--output", tmp_path / "then").exit_code == 0
    assert (tmp_path / "now").read_bytes() == (tmp_path / "then").read_bytes()
    lines = read_transactions(tmp_path / "shop.parquet").lines
    assert pd.Timestamp(day) - pd.Timedelta(days=1) == lines["time"].max().normalize()


def test_a_mistake_is_explained_without_a_traceback(tmp_path: Path) -> None:
    result = _run("--data", tmp_path / "absent.parquet", "--cut", "2023-07-01", "--output", tmp_path / "out")
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert "absent.parquet cannot be read" in result.output
