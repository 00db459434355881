"""Commands show a credential of a file or of the environment, and tell what to do about refusals."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from scorewire import Code
from scorewire.testing import FakeServer
from scorewire_contract.cli import main
from tests.fake_models import CHURN, SUM

KEY = "scorewire_3f9a1c2b_" + 64 * "5"


@pytest.fixture
def guarded() -> Iterator[FakeServer]:
    with FakeServer(CHURN, SUM, api_keys=[KEY]) as fake:
        yield fake


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_text(f"{KEY}\n")
    return path


def run(*arguments: object, key: str | None = None) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)), env={"SCOREWIRE_API_KEY": key})


@pytest.fixture(params=["models list", "models show sum", "predict", "proto sum"])
def command(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    if request.param != "predict":
        return str(request.param).split()
    table = tmp_path / "rows.csv"
    table.write_text("x,y\n1,2\n")
    return ["predict", "--model", "sum", "--input", str(table), "--output", str(tmp_path / "out.csv")]


def test_a_key_comes_from_a_file_or_from_the_environment(
    guarded: FakeServer, command: list[str], key_file: Path
) -> None:
    for given, key in ((("--api-key-file", key_file), None), ((), KEY), ((), f" {KEY}\n")):
        more = ["--force"] if command[0] == "predict" else []
        result = run(*command, "--address", guarded.address, *given, *more, key=key)
        assert result.exit_code == 0, result.output
        assert guarded.calls
        assert {call.metadata for call in guarded.calls} == {(("authorization", f"Bearer {KEY}"),)}
        guarded.calls.clear()


def test_the_file_wins_over_the_environment(guarded: FakeServer, key_file: Path) -> None:
    assert (
        run("models", "list", "--address", guarded.address, "--api-key-file", key_file, key="other").exit_code
        == 0
    )


def test_a_refused_call_says_where_the_credential_comes_from(guarded: FakeServer, command: list[str]) -> None:
    for key in (None, "", "other"):
        result = run(*command, "--address", guarded.address, key=key)
        assert result.exit_code == 1
        assert result.output.startswith("Error: UNAUTHENTICATED: ")
        assert "--api-key-file or the variable SCOREWIRE_API_KEY" in result.output


@pytest.mark.parametrize(("reason", "hint"), [("PERMISSION_DENIED", True), ("CONTROL_OFF", False)])
def test_a_missing_right_says_what_rights_there_are(server: FakeServer, reason: str, hint: bool) -> None:
    server.fail(Code.PERMISSION_DENIED, "not for you", method="ListModels", reason=reason)
    result = run("models", "list", "--address", server.address)
    assert result.exit_code == 1
    assert "PERMISSION_DENIED: not for you" in result.output
    assert ("no such right to the model" in result.output) == hint


@pytest.mark.parametrize(
    ("content", "message"),
    [("", "is empty"), ("a b", "has a space"), ("Bearer x", "leave that out")],
)
def test_a_file_or_a_variable_without_a_key_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "bad"
    path.write_text(content)
    result = run("models", "list", "--api-key-file", path)
    assert result.exit_code == 2
    assert message in result.output
    if content:
        result = run("models", "list", key=content)
        assert result.exit_code == 2
        assert "SCOREWIRE_API_KEY: api_key" in result.output
        assert content not in result.output


def test_a_key_that_goes_out_in_the_clear_is_warned_of_once(key_file: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("scorewire._flows.DEFAULT_TIMEOUT", 0.2)
    result = run("models", "list", "--address", "192.0.2.1:1,192.0.2.2:1", "--api-key-file", key_file)
    assert result.output.count("without TLS") == 1
    assert result.output.startswith("warning: the credential goes to 192.0.2.1")
    assert KEY not in result.output


def test_no_argument_takes_a_key() -> None:
    result = run("models", "list", "--help")
    assert "--api-key-file" in result.output
    assert "--api-key " not in result.output
