"""The Dockerfile is right, as far as it can be checked without Docker."""

from __future__ import annotations

import json
from importlib.util import find_spec

import pytest

from scorewire_server.settings import read_settings, variable
from tests.e2e.image import ROOT, copied_paths, instructions, is_sent


def _arguments(name: str) -> list[str]:
    return [arguments for each, arguments in instructions() if each == name]


@pytest.mark.parametrize("path", copied_paths())
def test_what_is_copied_is_there_and_sent_to_the_builder(path: str) -> None:
    assert (ROOT / path).exists()
    assert is_sent(path)


def test_the_extension_is_built_with_the_flags_of_the_repository() -> None:
    assert ".cargo" in copied_paths()
    assert is_sent(".cargo/config.toml")


@pytest.mark.parametrize(
    "path",
    [
        *("models/sum/1.0.0/model.onnx", "training/pyproject.toml", ".git/config", ".venv/bin/python"),
        *("README.md", "requirements/dev.lock", "server/scorewire_server/__pycache__/app.cpython-311.pyc"),
    ],
)
def test_nothing_else_is_sent_to_the_builder(path: str) -> None:
    assert not is_sent(path)


def test_its_variables_are_settings_that_the_server_takes() -> None:
    variables = {
        name: value
        for arguments in _arguments("ENV")
        for name, value in (pair.split("=", 1) for pair in arguments.split())
        if name.startswith("SCOREWIRE_")
    }
    assert {variable("models"), variable("listen")} <= set(variables)
    settings = read_settings({}, variables)
    assert {
        name: str(getattr(settings, name.removeprefix("SCOREWIRE_").lower())) for name in variables
    } == variables


def test_it_listens_where_it_says_and_is_probed_there() -> None:
    (port,) = _arguments("EXPOSE")
    assert f"SCOREWIRE_LISTEN=0.0.0.0:{port}" in " ".join(_arguments("ENV"))
    (check,) = _arguments("HEALTHCHECK")
    command = json.loads(check.partition("CMD ")[2])
    assert command[:2] == ["python", "-m"]
    assert find_spec(command[2]) is not None
    assert command[3] == f"127.0.0.1:{port}"


def test_the_server_does_not_run_as_root() -> None:
    user = _arguments("USER")[-1]
    assert user.split(":")[0] not in ("root", "0")
    last_stage = [name for name, _ in instructions()]
    last_stage = last_stage[len(last_stage) - last_stage[::-1].index("FROM") :]
    assert last_stage.index("USER") < last_stage.index("ENTRYPOINT")


def test_it_is_stopped_as_the_server_drains() -> None:
    assert _arguments("STOPSIGNAL") == ["SIGTERM"]
    assert json.loads(_arguments("ENTRYPOINT")[-1]) == ["scorewire", "serve"]
