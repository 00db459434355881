"""The Dockerfile is right, as far as it can be checked without Docker."""

from __future__ import annotations

import json
import re
from importlib.util import find_spec

import pytest
from scorewire_gateway.settings import read_settings as read_gateway_settings

from scorewire_server.settings import read_settings
from tests.e2e.image import IMAGES, ROOT, copied_paths, instructions, is_sent, stages

SERVERS = ("server", "server-records")
PATHS = sorted({path for image in IMAGES for path in copied_paths(image)})


def _arguments(image: str, name: str) -> list[str]:
    return [arguments for each, arguments in instructions(image) if each == name]


def _variables(image: str) -> dict[str, str]:
    pairs = " ".join(_arguments(image, "ENV")).split()
    return dict(pair.split("=", 1) for pair in pairs)


def test_a_build_without_a_target_gives_the_server() -> None:
    assert list(stages())[-1] == "server"
    assert set(IMAGES) <= set(stages())


@pytest.mark.parametrize("path", PATHS)
def test_what_is_copied_is_there_and_sent_to_the_builder(path: str) -> None:
    assert (ROOT / path).exists()
    assert is_sent(path)


@pytest.mark.parametrize("image", SERVERS)
def test_the_extension_is_built_with_the_flags_of_the_repository(image: str) -> None:
    assert ".cargo" in copied_paths(image)
    assert is_sent(".cargo/config.toml")


@pytest.mark.parametrize(
    "path",
    [
        *("models/sum/1.0.0/model.onnx", "training/pyproject.toml", ".git/config", ".venv/bin/python"),
        *("README.md", "requirements/dev.lock", "server/scorewire_server/__pycache__/app.cpython-311.pyc"),
        *("deploy/compose/secrets/postgres", "clients/loadtest/pyproject.toml"),
    ],
)
def test_nothing_else_is_sent_to_the_builder(path: str) -> None:
    assert not is_sent(path)


@pytest.mark.parametrize("image", IMAGES)
def test_what_is_installed_is_locked_with_hashes(image: str) -> None:
    locks = [path for path in copied_paths(image) if path.endswith(".lock") and path != "Cargo.lock"]
    assert locks
    for lock in locks:
        lines = (ROOT / lock).read_text(encoding="utf-8").splitlines()
        for index, line in enumerate(lines):
            if re.match(r"[\w.-]+(\[|==)", line):
                assert "--hash=sha256:" in lines[index + 1], line


@pytest.mark.parametrize("image", SERVERS)
def test_its_variables_are_settings_that_the_server_takes(image: str) -> None:
    variables = {name: value for name, value in _variables(image).items() if name.startswith("SCOREWIRE_")}
    assert {"SCOREWIRE_MODELS", "SCOREWIRE_LISTEN"} <= set(variables)
    settings = read_settings({}, variables)
    assert {
        name: str(getattr(settings, name.removeprefix("SCOREWIRE_").lower())) for name in variables
    } == variables


def test_its_variables_are_settings_that_the_gateway_takes() -> None:
    variables = _variables("gateway") | {"SCOREWIRE_GATEWAY_SERVER": "server:8500"}
    assert read_gateway_settings({}, variables).listen == variables["SCOREWIRE_GATEWAY_LISTEN"]


@pytest.mark.parametrize("image", IMAGES)
def test_it_is_probed_where_it_listens(image: str) -> None:
    (port,) = _arguments(image, "EXPOSE")
    (check,) = _arguments(image, "HEALTHCHECK")
    command = json.loads(check.partition("CMD ")[2])
    assert command[0] == "python"
    if image in SERVERS:
        assert command[1] == "-m"
        assert find_spec(command[2]) is not None
        assert command[3] == f"127.0.0.1:{port}"
    else:
        compile(command[2], "HEALTHCHECK", "exec")
        assert f"http://localhost:{port}/health" in command[2]


@pytest.mark.parametrize("image", SERVERS)
def test_it_listens_where_it_says(image: str) -> None:
    (port,) = _arguments(image, "EXPOSE")
    assert _variables(image)["SCOREWIRE_LISTEN"] == f"0.0.0.0:{port}"


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_does_not_run_as_root(image: str) -> None:
    user = _arguments(image, "USER")[-1]
    assert user.split(":")[0] not in ("root", "0")
    names = [name for name, _ in instructions(image)]
    assert names.index("USER") < names.index("ENTRYPOINT")


@pytest.mark.parametrize("image", IMAGES)
def test_it_is_stopped_in_order_and_starts_its_command(image: str) -> None:
    assert _arguments(image, "STOPSIGNAL") == ["SIGTERM"]
    commands = {"gateway": ["scorewire", "gateway"], "mlflow": ["mlflow"]}
    assert json.loads(_arguments(image, "ENTRYPOINT")[-1]) == commands.get(image, ["scorewire", "serve"])


@pytest.mark.parametrize("image", IMAGES)
def test_no_image_has_a_secret(image: str) -> None:
    assert not [name for name in _variables(image) if re.search("PASSWORD|TOKEN|KEY|SECRET", name)]
