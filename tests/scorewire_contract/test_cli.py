from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points

import pytest
from click.testing import CliRunner

from scorewire_contract import cli


def test_help_lists_every_command_without_importing_one() -> None:
    code = (
        "import sys; from scorewire_contract.cli import main; main(['--help'], standalone_mode=False);"
        "print('imported', sorted({'grpc', 'pandas', 'sklearn', 'onnxruntime'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "imported []" in result.stdout
    for name, (_, summary) in cli.COMMANDS.items():
        assert f"{name} " in result.stdout
        assert summary.split()[0] in result.stdout


def test_the_table_and_the_entry_points_agree() -> None:
    assert {point.name for point in entry_points(group="scorewire.commands")} == set(cli.COMMANDS)


def test_a_command_that_is_not_installed_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "entry_points", lambda **_: ())
    result = CliRunner().invoke(cli.main, ["serve"])
    assert result.exit_code == 2
    assert "pip install 'scorewire-server'" in result.output


def test_an_unknown_command_is_refused() -> None:
    result = CliRunner().invoke(cli.main, ["bake"])
    assert result.exit_code == 2
    assert "No such command 'bake'" in result.output
