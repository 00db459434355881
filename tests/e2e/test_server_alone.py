"""The server distribution serves when only it and its locked dependencies are installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bundles import expected_value, write_sum_bundle
from tests.conformance.wire import Wire, sum_request, values
from tests.e2e.image import make_environment
from tests.processes import run_command, serving


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of the server's image."""
    return make_environment("server", tmp_path_factory.mktemp("alone"))


def test_it_serves(environment: Path, tmp_path: Path) -> None:
    write_sum_bundle(tmp_path / "models")
    with serving(tmp_path, tmp_path / "models", command=(environment / "scorewire",)) as server:
        wire = Wire(server.address)
        with wire.channel:
            assert values(wire.predict(sum_request())) == [expected_value([1.0, 2.0], "de")]
        healthcheck = (environment / "python", "-m", "scorewire_server.healthcheck")
        asked = run_command(server.address, command=healthcheck)
        assert (asked.returncode, asked.stdout) == (0, "SERVING\n")


def test_training_libraries_and_clients_are_not_there(environment: Path) -> None:
    modules = ["pandas", "sklearn", "xgboost", "lightgbm", "scipy", "skl2onnx", "onnxmltools", "pyarrow"]
    modules += ["scorewire", "scorewire_training", "scorewire_loadtest", "pytest", "hatchling"]
    code = (
        "import sys; from importlib.util import find_spec; print([m for m in sys.argv[1:] if find_spec(m)])"
    )
    asked = run_command(*modules, "scorewire_server", command=(environment / "python", "-c", code))
    assert asked.stdout.strip() == "['scorewire_server']"


def test_the_command_names_what_is_not_installed(environment: Path) -> None:
    command = (environment / "scorewire",)
    asked = run_command("--help", command=command)
    assert asked.returncode == 0
    summaries = " ".join(asked.stdout.split())
    for home in ("scorewire-training[xgboost-cpu]", "scorewire[pandas]", "scorewire-loadtest"):
        assert f"(pip install '{home}')" in summaries
    assert "(pip install 'scorewire-server')" not in summaries
    refused = run_command("train", command=command)
    assert refused.returncode == 2
    assert "'train' is not installed here: pip install 'scorewire-training[xgboost-cpu]'" in refused.stderr
