from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from scorewire_contract.bundle import read_bundle
from scorewire_training.cli.export import export
from scorewire_training.cli.train import train
from scorewire_training.evaluation.formats import format_value
from scorewire_training.game_revenue.generate import generate_users
from tests.processes import COMMAND
from tests.scorewire_training.repurchase.shop import make_lines


def _run(*arguments: str | Path) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(train, [str(argument) for argument in arguments])


def test_repurchase_trains_from_a_csv_file_and_says_what_comes_next(tmp_path: Path) -> None:
    make_lines().to_csv(tmp_path / "shop.csv", index=False)
    models = tmp_path / "models"
    result = _run(
        "repurchase", "--data", tmp_path / "shop.csv", "--cut", "2020-09-15", "--horizon-days", "60",
        "--seed", "3", "--trials", "1", "--version", "2.0.0-rc.1", "--output", models,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    manifest = read_bundle(models / "repurchase" / "2.0.0-rc.1").manifest
    assert "60 days" in manifest.description
    card = (models / "repurchase" / "2.0.0-rc.1" / "model_card.md").read_text()
    assert "Evaluated on all customers at 2020-09-15" in card
    row = next(line for line in result.output.splitlines() if line.startswith("│ auc "))
    assert f"{manifest.metrics['auc']:.3f}" in row
    assert f"recency {manifest.metrics['auc_recency_baseline']:.3f}, frequency" in row
    assert re.search(r"^explains probabilities \(\w+\) in \d+ columns$", result.output, re.MULTILINE)
    assert f"scorewire serve --models {models}" in result.output
    # How the table is read is told before the long work, with values; the card has no value of the table.
    assert "  times         ISO 8601 (like '" in result.stderr
    assert "  period        2020-01-01 to 2020-12-31, after cleaning\n" in result.stderr
    assert "| times | ISO 8601 |" in card
    assert "(row " not in card


def test_game_revenue_trains_from_a_parquet_file(tmp_path: Path) -> None:
    generate_users(1_000, seed=2).to_parquet(tmp_path / "users.parquet")
    result = _run("game-revenue", "--data", tmp_path / "users.parquet", "--trials", "1", "--output", tmp_path)
    assert result.exit_code == 0, result.output
    bundle = tmp_path / "game-revenue" / "1.0.0"
    metrics = read_bundle(bundle).manifest.metrics
    row = next(line for line in result.output.splitlines() if line.startswith("│ mae_ordinary "))
    assert f"constant {format_value(metrics['mae_ordinary_constant_baseline'], '$')}" in row
    row = next(line for line in result.output.splitlines() if line.startswith("│ mae "))
    assert row.count("constant") == 1
    assert "\ndoes not explain value: " in result.output
    assert "│ duplicates " in result.output
    assert ", chosen " in result.output
    for name in ("report.html", "model_card.md"):
        assert f"{bundle / name}" in result.output
    settings = (bundle / "training.toml").read_text()
    # The table by its name and its content, and nothing about the machine.
    digest = hashlib.sha256((tmp_path / "users.parquet").read_bytes()).hexdigest()
    assert f'data = "users.parquet"\ndata_sha256 = "{digest}"\n' in settings
    for name in ("model_card.md", "report.html", "training.toml", "manifest.json"):
        assert str(tmp_path) not in (bundle / name).read_text()
    assert "trials = 1\n" in settings


def test_the_settings_in_a_bundle_give_its_bytes_again(tmp_path: Path) -> None:
    """Train in another process with another hash seed and folder, from the first run's settings file."""
    users = generate_users(1_000, seed=2).rename(columns={"revenue": "Umsatz"})
    users.to_csv(tmp_path / "users.csv", index=False, sep=";", decimal=",", encoding="latin-1")

    def train_in_a_process(hash_seed: str, folder: Path, *arguments: str | Path) -> Path:
        output = tmp_path / f"models-{hash_seed}"
        command = [COMMAND, "train", "game-revenue", *arguments, "--output", output]
        subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": hash_seed}, cwd=folder)
        return output / "game-revenue" / "1.0.0"

    table = ("--column", "revenue=Umsatz", "--delimiter", ";", "--decimal", ",", "--encoding", "latin-1")
    first = train_in_a_process("1", tmp_path, "--data", "users.csv", *table, "--trials", "1", "--seed", "5")
    settings = (first / "training.toml").read_text()
    assert (
        'columns = { revenue = "Umsatz" }\ndelimiter = ";"\ndecimal = ","\nencoding = "latin-1"\n' in settings
    )
    # From another folder, and from a settings file and a table that were moved.
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    runs = [train_in_a_process("2", elsewhere, "--config", first / "training.toml")]
    shutil.copy(first / "training.toml", elsewhere)
    (tmp_path / "users.csv").rename(elsewhere / "users.csv")
    moved = ("--config", "elsewhere/training.toml", "--data", "elsewhere/users.csv")
    runs.append(train_in_a_process("3", tmp_path, *moved))
    for again in runs:
        assert {path.name for path in first.iterdir()} == {path.name for path in again.iterdir()}
        for path in first.iterdir():
            content, other = path.read_bytes(), (again / path.name).read_bytes()
            if path.name == "manifest.json":
                content, other = (
                    json.dumps({**json.loads(text), "createdAt": ""}).encode() for text in (content, other)
                )
            assert content == other, path.name


def test_options_come_before_the_file_and_mistakes_in_it_name_it(tmp_path: Path) -> None:
    settings = tmp_path / "train.toml"
    settings.write_text('data = "nowhere.csv"\nversion = "3.0.0"\n')
    result = _run("game-revenue", "--config", settings, "--data", "elsewhere.csv", "--output", tmp_path)
    assert "elsewhere.csv cannot be read" in result.output
    settings.write_text("horizon_days = 30\n")
    result = _run("game-revenue", "--config", settings, "--output", tmp_path)
    assert result.exit_code == 1
    assert f"{settings}: horizon_days is not a setting" in result.output


def test_a_run_is_written_to_mlflow_registered_once_and_exported_again(tmp_path: Path) -> None:
    generate_users(1_000, seed=2).to_parquet(tmp_path / "users.parquet")
    store = f"sqlite:///{tmp_path}/runs.db"
    arguments = ("game-revenue", "--data", tmp_path / "users.parquet", "--trials", "1", "--mlflow-uri", store)
    result = _run(*arguments, "--output", tmp_path / "models")
    assert result.exit_code == 0, result.output
    assert f"models:/game-revenue/1 in {store}" in result.output

    result = _run(*arguments, "--output", tmp_path / "others")
    assert result.exit_code == 1
    assert "version 1.0.0 of game-revenue is registered as models:/game-revenue/1" in result.output
    assert not (tmp_path / "others").exists()

    command = [
        "--mlflow",
        "models:/game-revenue/1",
        "--mlflow-uri",
        store,
        "--output",
        str(tmp_path / "again"),
    ]
    exported = CliRunner(env={"COLUMNS": "200"}).invoke(export, command)
    assert exported.exit_code == 0, exported.output
    assert "scored as the fitted model did" in exported.output
    bundle = tmp_path / "models" / "game-revenue" / "1.0.0"
    for path in bundle.iterdir():
        assert (tmp_path / "again" / "game-revenue" / "1.0.0" / path.name).read_bytes() == path.read_bytes()
    again = CliRunner().invoke(export, command)
    assert again.exit_code == 1
    assert "exists, and a version never changes" in again.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("repurchase", "--data", "absent.csv"), "absent.csv cannot be read"),
        (("repurchase", "--horizon-days", "0"), "horizon_days is 0: choose 1 to 3650"),
        (("repurchase", "--cut", "2031-01-01"), "the cutoff 2031-01-01 is not from 1997-06-30 to 1998-04-01"),
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


def test_the_name_of_an_absent_file_is_told_once(tmp_path: Path) -> None:
    for command in ("repurchase", "game-revenue"):
        result = _run(command, "--data", tmp_path / "absent.parquet", "--output", tmp_path)
        assert "absent.parquet cannot be read: No such file or directory\n" in result.output
        assert result.output.count("absent.parquet") == 1


def test_help_waits_for_no_library_of_models() -> None:
    heavy = {"sklearn", "xgboost", "lightgbm", "matplotlib", "onnxruntime", "optuna", "duckdb", "mlflow"}
    script = f"import sys, scorewire_training.cli.train; print({heavy} & set(sys.modules))"
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert told.strip() == "set()"


def test_users_of_a_game_have_no_format_of_times() -> None:
    assert "No such option '--date-format'" in _run("game-revenue", "--date-format", "%Y-%m-%d").output


def _run_module(*arguments: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "scorewire_training", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)


def test_programs_get_progress_and_result_as_json(tmp_path: Path) -> None:
    generate_users(1_000, seed=2).to_csv(tmp_path / "users.csv", index=False)
    told = _run_module(
        "game-revenue",
        "--data",
        "users.csv",
        "--trials",
        "1",
        "--json",
        "--output",
        "models",
        folder=tmp_path,
    )
    assert told.returncode == 0, told.stderr
    events = [json.loads(line) for line in told.stdout.splitlines()]
    assert {event["event"] for event in events[:-1]} == {"stage", "table"}
    assert events[0]["sentence"] == "Reading the users"
    assert {"encoding", "delimiter"} <= {
        note["subject"] for event in events if event["event"] == "table" for note in event["notes"]
    }
    result = events[-1]
    assert (result["event"], result["model"], result["version"]) == ("result", "game-revenue", "1.0.0")
    manifest = read_bundle(tmp_path / result["bundle"]).manifest
    metrics = {metric["name"]: metric for metric in result["metrics"]}
    assert metrics["mae"]["value"] == manifest.metrics["mae"]
    assert {baseline["rule"] for baseline in metrics["mae"]["baselines"]} == {"constant", "mean"}
    assert result["cleaning"][0] == {
        "name": "duplicates", "reason": "the same user again", "rows_taken": 0, "rows_left": 1_000,
    }  # fmt: skip
    assert [candidate["chosen"] for candidate in result["candidates"]].count(True) == 1
    explanation = read_bundle(tmp_path / result["bundle"]).explanation
    assert explanation is not None
    assert [told["output"] for told in result["explanations"]] == ["value"]
    assert [told["reason"] for told in result["explanations"]] == [
        each.reason for each in explanation.unexplained
    ]
    assert result["commands"][0].startswith("scorewire train features --model game-revenue --data users.csv")
    assert result["private_files"] == []


def test_features_are_told_as_json_with_their_cleaning(tmp_path: Path) -> None:
    make_lines().to_csv(tmp_path / "shop.csv", index=False)
    told = _run_module("features", "--data", "shop.csv", "--json", folder=tmp_path)
    assert told.returncode == 0, told.stderr
    result = json.loads(told.stdout.splitlines()[-1])
    assert (result["event"], result["file"], result["rows"]) == ("result", "features.parquet", 220)
    assert [step["name"] for step in result["cleaning"]][:2] == ["customer", "time"]
    assert (tmp_path / "features.parquet").exists()


def test_features_of_users_tell_what_training_would_leave_out(tmp_path: Path) -> None:
    users = generate_users(100, seed=2)
    users["user_id"] = users["user_id"].where(users.index > 1, "the same")
    users.loc[5, "revenue"] = -1.0
    users.to_csv(tmp_path / "users.csv", index=False)
    arguments = ("features", "--model", "game-revenue", "--data", "users.csv")
    told = _run_module(*arguments, "--json", folder=tmp_path)
    assert told.returncode == 0, told.stderr
    result = json.loads(told.stdout.splitlines()[-1])
    assert result["rows"] == 100
    assert {step["name"]: step["rows_taken"] for step in result["cleaning"]} == {
        "duplicates": 1, "revenue missing": 0, "revenue negative": 1,
    }  # fmt: skip
    told = _run_module(*arguments, folder=tmp_path)
    assert "1 that training would leave out: revenue below zero" in told.stdout
    # New users have no revenue, or something else in its place.
    for revenue in (None, "soon"):
        users.assign(revenue=revenue).dropna(axis=1, how="all").to_csv(tmp_path / "users.csv", index=False)
        told = _run_module(*arguments, "--json", folder=tmp_path)
        assert told.returncode == 0, told.stderr
        result = json.loads(told.stdout.splitlines()[-1])
        assert (result["rows"], result["cleaning"]) == (100, [])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("repurchase",), ""),
        (("repurchase", "--cut", "2020-09-15", "--trials", "1000"), ""),
        (("features", "--horizon-days", "60"), ""),
        (("repurchase", "--trials", "4000"), "trials is 4000: choose 1 to 1000"),
        (("repurchase", "--horizon-days", "0"), "horizon_days is 0: choose 1 to 3650"),
        (("game-revenue", "--version", "first"), "version 'first' is not semantic"),
        (("features", "--horizon-days", "0"), "horizon_days is 0: choose 1 to 3650"),
        (("features", "--memory-mb", "1"), "memory_mb is 1: choose 256 or more"),
        (("features", "--decimal", "x"), "decimal is 'x': choose . or ,"),
        (("repurchase", "--cut", "soon"), "'soon' does not match the format '%Y-%m-%d'"),
    ],
)
def test_settings_are_checked_without_a_table(
    arguments: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    result = _run(*arguments, "--data", tmp_path / "absent.csv", "--check")
    assert (result.exit_code == 0) == (message == ""), result.output
    assert message in result.output
    assert list(tmp_path.iterdir()) == []


def test_a_check_of_settings_waits_for_no_library_of_models() -> None:
    heavy = {"sklearn", "xgboost", "lightgbm", "matplotlib", "onnxruntime", "optuna", "duckdb", "pandas"}
    script = (
        "import sys, atexit\n"
        f"atexit.register(lambda: print({heavy} & set(sys.modules)))\n"
        "from scorewire_training.cli.train import train\n"
        "train(['repurchase', '--check'])\n"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert told.strip() == "set()"


def test_too_little_memory_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhaust(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("scorewire_training.repurchase.model.train_repurchase", exhaust)
    result = _run("repurchase", "--output", tmp_path)
    assert result.exit_code == 1
    assert "Error: the memory does not suffice" in result.output
