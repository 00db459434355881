"""The server distribution serves when only it and its locked dependencies are installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.bundles import expected_value, write_sum_bundle
from tests.conformance.wire import Wire, sum_request, values
from tests.e2e.image import copied_paths, copy_for_image
from tests.processes import run_command, serving

ROOT = Path(__file__).resolve().parents[2]


def _locked() -> Iterator[Requirement]:
    """The packages in the lock that apply to this interpreter."""
    for line in (ROOT / "requirements/server.lock").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith((" ", "#")):
            requirement = Requirement(line.rstrip("\\ "))
            if requirement.marker is None or requirement.marker.evaluate():
                yield requirement


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of an environment with copies of the locked packages and our two wheels."""
    folder = tmp_path_factory.mktemp("alone")
    home, wheels, context = folder / "environment", folder / "wheels", folder / "context"
    venv.create(home, symlinks=True)
    packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(home), "platbase": str(home)}))
    for requirement in _locked():
        found = distribution(requirement.name)
        assert requirement.specifier.contains(found.version), f"{requirement} is locked; run make setup"
        for file in found.files or ():
            if ".." not in file.parts and "__pycache__" not in file.parts:
                path = packages / file
                path.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file.locate(), path)
    # Built from a copy, as the image is, which also keeps build files out of the working tree.
    # The image compiles the native engine in another stage; without it, the server runs the reference engine.
    copied = [path for path in copied_paths() if not (ROOT / path / "Cargo.toml").is_file()]
    folders = [path for path in copied if (ROOT / path / "pyproject.toml").is_file()]
    sources = [copy_for_image(folder, context) for folder in folders]
    offline = ("--quiet", "--no-index", "--no-deps")
    _pip("wheel", *offline, "--no-build-isolation", "--wheel-dir", wheels, *sources)
    built = sorted(wheels.glob("*.whl"))
    assert [wheel.name.split("-")[0] for wheel in built] == ["scorewire_contract", "scorewire_server"]
    _pip("--python", home / "bin/python", "install", *offline, *built)
    return home / "bin"


def _pip(*arguments: str | Path) -> None:
    subprocess.run([sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments], check=True)


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
