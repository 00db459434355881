from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from scorewire.testing import FakeServer
from scorewire_loadtest import cli
from tests.fake_models import SUM

KEY = "scorewire_3f9a1c2b_" + 64 * "5"
GENERATORS = ["native", "python"] if find_spec("scorewire_loadtest_native") else ["python"]


def load(server: FakeServer, folder: Path, *arguments: object, key: str | None = None) -> Result:
    rows = folder / "rows.csv"
    rows.write_text("x,y\n1,2\n3,4\n")
    fixed = ["--address", server.address, "--input", rows, "--model", "sum", "--concurrency", 2]
    given = [str(each) for each in (*fixed, "--duration", "0.2s", "--warmup", "0s", *arguments)]
    return CliRunner().invoke(cli.load, given, env={"SCOREWIRE_API_KEY": key})


@pytest.mark.parametrize("generator", GENERATORS)
@pytest.mark.parametrize("mode", ["unary", "stream"])
def test_every_call_shows_the_key_of_the_file(tmp_path: Path, generator: str, mode: str) -> None:
    file = tmp_path / "key"
    file.write_text(KEY)
    report = tmp_path / "report.json"
    with FakeServer(SUM, api_keys=[KEY]) as server:
        arguments = ("--api-key-file", file, "--generator", generator, "--mode", mode, "--json", report)
        result = load(server, tmp_path, *arguments)
        assert result.exit_code == 0, result.output
        answered = {call.metadata for call in server.calls if call.method in {"Predict", "PredictStream"}}
    assert answered == {(("authorization", f"Bearer {KEY}"),)}
    assert KEY not in report.read_text() + result.output


@pytest.mark.parametrize("key", [None, "other"])
def test_a_run_without_a_key_that_the_server_takes_says_what_to_give(tmp_path: Path, key: str | None) -> None:
    with FakeServer(SUM, api_keys=[KEY]) as server:
        result = load(server, tmp_path, key=key)
    assert result.exit_code == 2
    assert "UNAUTHENTICATED" in result.output
    assert "--api-key-file" in result.output
