"""`scorewire predict --explain`, and what `scorewire models show` tells of explanations."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from scorewire import Explain
from scorewire.testing import FakeServer
from scorewire_contract.cli import main
from tests.fake_models import LEAVING, SHADE, SUM

LINES = ["id,age,country,visits,plan", "1,30,pe,8,pro", "2,,pe,1,pro", "3,many,pe,1,pro", "4,5,,40,"]
SCORED = ["score", "label", "probabilities_no", "probabilities_yes", "error"]


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    with FakeServer(LEAVING, SHADE, SUM) as server:
        yield server


def run(
    fake: FakeServer, folder: Path, *options: str, lines: list[str] | None = None, **named: str
) -> Result:
    source = folder / "in.csv"
    source.write_text("\n".join(lines or LINES) + "\n", encoding="utf-8")
    arguments = ["predict", "--model", named.get("model", "leaving"), "--address", fake.address, "--force"]
    arguments += ["--input", str(source), "--output", str(folder / named.get("target", "out.csv")), *options]
    return CliRunner().invoke(main, arguments)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_strongest_columns_become_columns(fake: FakeServer, tmp_path: Path) -> None:
    result = run(fake, tmp_path, "--explain", "2")
    assert result.exit_code == 0, result.output
    assert "2 of 4 rows scored" in result.output
    assert [call.explain for call in fake.calls if call.rows] == [Explain(top_k=2)]
    rows = rows_of(tmp_path / "out.csv")
    added = [
        "base",
        "margin",
        "margin_label",
        "explained_1",
        "contribution_1",
        "explained_2",
        "contribution_2",
    ]
    assert list(rows[0]) == [*LINES[0].split(","), *SCORED, *added]
    assert [rows[0][name] for name in added] == ["-0.5", "1.5", "yes", "age", "3.0", "visits", "-2.0"]
    assert [rows[3][name] for name in added] == ["-0.5", "-10.0", "yes", "visits", "-10.0", "age", "0.5"]
    # Refused by the server, and not sent.
    assert [rows[1][name] for name in added] == [rows[2][name] for name in added] == [""] * 7
    assert (rows[1]["error"], rows[0]["error"]) == ("age is missing", "")


@pytest.mark.parametrize("options", [["--explain"], ["--explain", "all"]])
def test_without_a_number_all_columns_have_a_column(
    fake: FakeServer, tmp_path: Path, options: list[str]
) -> None:
    result = run(fake, tmp_path, *options, "--batch-rows", "1", target="out.parquet")
    assert result.exit_code == 0, result.output
    frame = pd.read_parquet(tmp_path / "out.parquet")
    names = [f"contribution_{name}" for name in ("age", "country", "visits", "plan")]
    assert list(frame)[-7:] == ["base", "margin", "margin_label", *names]
    assert frame.loc[0, names].tolist() == [3.0, 1.0, -2.0, 0.0]
    assert frame[names].isna().all(axis=1).tolist() == [False, True, True, False]
    whole = frame.loc[[0, 3]]
    assert (whole["base"] + whole[names].sum(axis=1)).tolist() == whole["margin"].tolist()
    assert frame["margin"].dtype == "float64"
    scores = 1 / (1 + math.e ** -whole["margin"].to_numpy(dtype=float))
    assert scores == pytest.approx(whole["score"].to_numpy(dtype=float))


def test_more_columns_than_the_model_has_are_all_columns(fake: FakeServer, tmp_path: Path) -> None:
    assert run(fake, tmp_path, "--explain", "50").exit_code == 0
    assert [name for name in rows_of(tmp_path / "out.csv")[0] if name.startswith("explained")] == [
        f"explained_{place}" for place in (1, 2, 3, 4)
    ]


def test_the_predicted_class_is_explained(fake: FakeServer, tmp_path: Path) -> None:
    result = run(fake, tmp_path, "--explain", "1", lines=["x,y", "1,3", "0,-2"], model="shade")
    assert result.exit_code == 0, result.output
    found = [
        [row[name] for name in ("label", "margin_label", "margin", "explained_1", "contribution_1")]
        for row in rows_of(tmp_path / "out.csv")
    ]
    assert found == [["blue", "blue", "7.0", "y", "6.0"], ["red", "red", "2.0", "y", "2.0"]]


def test_an_output_can_be_named(fake: FakeServer, tmp_path: Path) -> None:
    assert run(fake, tmp_path, "--explain", "--explain-output", "probabilities").exit_code == 0
    assert fake.calls[-1].explain == Explain(output="probabilities")
    result = run(fake, tmp_path, "--explain", "--explain-output", "label")
    assert result.exit_code == 1
    assert "FAILED_PRECONDITION: the output 'label' is not explained" in result.output
    result = run(fake, tmp_path, "--explain-output", "label")
    assert (result.exit_code, "--explain-output needs --explain" in result.output) == (2, True)


def test_a_model_that_cannot_explain_says_so_and_leaves_no_file(fake: FakeServer, tmp_path: Path) -> None:
    result = run(fake, tmp_path, "--explain", "3", lines=["x,y", "1,2"], model="sum")
    assert result.exit_code == 1
    assert "FAILED_PRECONDITION: the output 'value' is not explained" in result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv"]


@pytest.mark.parametrize("wrong", ["0", "-1", "x", "1.5", "4294967296", ""])
def test_odd_numbers_are_refused(fake: FakeServer, tmp_path: Path, wrong: str) -> None:
    result = run(fake, tmp_path, f"--explain={wrong}")
    assert result.exit_code == 2
    # What begins with a dash is an option to click.
    expected = "No such option '-1'" if wrong == "-1" else f"--explain: {wrong!r} is not a number of columns"
    assert expected in result.output
    assert fake.calls == []


def test_names_that_are_taken_get_a_prefix(fake: FakeServer, tmp_path: Path) -> None:
    fake.serve(replace(LEAVING, features={**LEAVING.features, "margin": float, "explained_1": float}))
    lines = ["base,age,country,visits,plan,margin,explained_1", "x,30,pe,8,pro,1,2"]
    assert run(fake, tmp_path, "--explain", "1", lines=lines).exit_code == 0
    (row,) = rows_of(tmp_path / "out.csv")
    assert (row["base"], row["margin"], row["explained_1"]) == ("x", "1", "2")
    assert (row["explained_base"], row["explained_margin"]) == ("-0.5", "1.5")
    assert (row["explained_explained_1"], row["contribution_1"]) == ("age", "3.0")


def test_a_few_rows_are_explained_on_the_terminal(fake: FakeServer, tmp_path: Path) -> None:
    result = run(fake, tmp_path, "--explain", "2", lines=LINES[:3])
    assert result.output.splitlines()[:6] == [
        "row 1: score 0.817574",
        "  base                     -0.5",
        "  age                        +3  ++++++++++++++++++++++++",
        "  visits                     -2  ----------------",
        "  2 other columns            +1  ++++++++",
        "  margin                   +1.5",
    ]
    assert "row 2" not in result.output
    assert "row 1" not in run(fake, tmp_path, "--explain", "2").output
    assert "row 1" not in run(fake, tmp_path, lines=LINES[:3]).output


def test_rows_that_cannot_be_sent_are_not_explained(fake: FakeServer, tmp_path: Path) -> None:
    result = run(fake, tmp_path, "--explain", lines=[LINES[0], LINES[3]])
    assert result.exit_code == 0, result.output
    assert "0 of 1 rows scored" in result.output
    assert rows_of(tmp_path / "out.csv")[0]["contribution_age"] == ""


def test_nothing_is_added_without_the_option(fake: FakeServer, tmp_path: Path) -> None:
    assert run(fake, tmp_path).exit_code == 0
    assert list(rows_of(tmp_path / "out.csv")[0]) == [*LINES[0].split(","), *SCORED]
    assert fake.calls[-1].explain is None


def show(fake: FakeServer, model: str, *options: str) -> Any:
    result = CliRunner().invoke(main, ["models", "show", model, "--address", fake.address, *options])
    assert result.exit_code == 0, result.output
    return result.output


def test_models_show_tells_what_is_explained_and_why_not(fake: FakeServer) -> None:
    lines = [" ".join(line.replace("│", " ").split()) for line in show(fake, "leaving").splitlines()]
    assert "and explains (--explain)" in lines
    assert "probabilities its margin, sigmoid a Python function" in lines
    lines = [" ".join(line.replace("│", " ").split()) for line in show(fake, "sum").splitlines()]
    assert "value not explained the fake model has no explain function" in lines
    told = json.loads(show(fake, "leaving", "--json"))
    assert told["status"]["versions"][0]["explanations"] == [
        {"output": "probabilities", "link": "sigmoid", "details": "a Python function"}
    ]


def test_the_help_has_an_example() -> None:
    told = CliRunner().invoke(main, ["predict", "--help"]).output
    assert "scorewire predict --model churn --explain 5" in told
    assert "--explain [K]" in told
