"""What `scorewire train` prints at its end is copied to a shell, and scores new rows through a server."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pandas as pd

from scorewire_training.game_revenue.generate import generate_users
from tests.processes import COMMAND, TIMEOUT_SECONDS, own_environment, serving
from tests.scorewire_training.repurchase.shop import make_lines


def _run_in_shell(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        **own_environment(),
        "PATH": f"{COMMAND.parent}{os.pathsep}{os.environ['PATH']}",
        "COLUMNS": "80",
    }
    done = subprocess.run(
        ["sh", "-c", line],
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_SECONDS,
        cwd=folder,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return done


def _train_and_score(arguments: str, folder: Path) -> tuple[str, pd.DataFrame]:
    """Train with these arguments, and run the printed commands against a server; returns the scores."""
    told = _run_in_shell(f"scorewire train {arguments} --trials 1 --output 'my models'", folder).stdout
    *_, serve, introduction, features, predict = told.splitlines()
    assert serve == "next:   scorewire serve --models 'my models'"
    assert "score tomorrow's rows" in introduction
    (card,) = (folder / "my models").glob("*/*/model_card.md")
    for command in (features, predict):
        assert f"    {command.strip()}\n" in card.read_text()
    _run_in_shell(features, folder)
    with serving(folder / "server", folder / "my models") as server:
        # The default address is that of `scorewire serve` by default.
        _run_in_shell(f"{predict} --address {server.address}", folder)
    return features, pd.read_csv(folder / "scores.csv", dtype={"customer": str, "user_id": str})


def test_customers_of_a_table_as_people_have_it_are_scored(tmp_path: Path) -> None:
    lines = make_lines()
    table = pd.DataFrame(
        {
            "ID CLIENTE": "id-" + lines["customer"],
            "FECHA": lines["time"].dt.strftime("%d.%m.%Y %H:%M:%S"),
            "IMPORTE": lines["amount"].map(lambda amount: f"{amount:.2f}".replace(".", ",")),
            "PAÍS": lines["country"].replace({"Peru": "Perú"}),
        }
    )
    table.to_csv(tmp_path / "las ventas.csv", sep="\t", index=False, encoding="latin-1")
    command, scores = _train_and_score(
        "repurchase --data 'las ventas.csv' --column 'customer=ID CLIENTE' --column time=FECHA "
        "--column amount=IMPORTE --column country=PAÍS --delimiter '\\t' --horizon-days 60",
        tmp_path,
    )
    assert "--horizon-days 60" in command
    assert scores["customer"].tolist() == sorted(table["ID CLIENTE"].unique())
    assert scores["score"].between(0, 1).all()
    assert scores["error"].isna().all()
    private = tmp_path / "my models-private" / "repurchase" / "1.0.0" / "features.parquet"
    assert (tmp_path / "features.parquet").read_bytes() == private.read_bytes()


def test_new_users_of_a_game_are_scored(tmp_path: Path) -> None:
    users = generate_users(1_000, seed=2).rename(columns={"revenue": "Ingresos"})
    users.to_csv(tmp_path / "users.csv", index=False, sep=";", decimal=",")
    command, scores = _train_and_score("game-revenue --data users.csv --column revenue=Ingresos", tmp_path)
    assert "--model game-revenue" in command
    assert scores["user_id"].tolist() == users["user_id"].tolist()
    assert (scores["score"] >= 0).all()
    assert scores["error"].isna().all()
