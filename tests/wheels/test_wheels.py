"""The wheels say what they are, have the licence, and are the same when they are built again."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.wheels import third_party

ROOT = Path(__file__).parents[2]
FOLDERS = (
    "proto/python",
    "server",
    "training",
    "clients/python",
    "clients/loadtest",
    "clients/records",
    "clients/gateway",
)
# The native crates that become wheels.
CRATES = ("clients/loadtest/native", "server/native", "server/native/kernel")
LICENCE = (ROOT / "LICENSE").read_bytes()


def manifests() -> list[Path]:
    """The pyproject.toml of each distribution, native crates included."""
    natives = [ROOT / crate / "pyproject.toml" for crate in CRATES]
    return [*(ROOT / folder / "pyproject.toml" for folder in FOLDERS), *natives]


def build(folder: Path) -> list[Path]:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index"]
    command += ["--no-build-isolation", "--wheel-dir", str(folder), *(str(ROOT / each) for each in FOLDERS)]
    subprocess.run(command, check=True)
    return sorted(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The wheels of the distributions in Python, and those of the native crates that `make setup` built."""
    built = build(tmp_path_factory.mktemp("wheels"))
    return built + sorted((ROOT / "target" / "wheels").glob("*.whl"))


def metadata(wheel: Path) -> tuple[Message, bytes]:
    """The metadata of a wheel, and its licence."""
    with ZipFile(wheel) as archive:
        names = {Path(name).name: name for name in archive.namelist() if ".dist-info/" in name}
        return message_from_bytes(archive.read(names["METADATA"])), archive.read(names["LICENSE"])


def test_each_distribution_has_the_same_licence() -> None:
    for manifest in manifests():
        assert (manifest.parent / "LICENSE").read_bytes() == LICENCE, manifest.parent


def test_each_wheel_has_the_licence_and_says_what_it_is(wheels: list[Path]) -> None:
    assert len(wheels) >= len(FOLDERS)
    for wheel in wheels:
        told, licence = metadata(wheel)
        assert licence == LICENCE, wheel.name
        assert told["License-Expression"] == "Apache-2.0", wheel.name
        assert told["Requires-Python"] == ">=3.11", wheel.name
        assert told["Summary"], wheel.name
        assert told["Author"] == "The Scorewire developers", wheel.name
        assert told["Description-Content-Type"].startswith("text/markdown"), wheel.name
        assert f"# {told['Name']}" in str(told.get_payload()), wheel.name
        classifiers = told.get_all("Classifier") or []
        assert "Programming Language :: Python :: 3.13" in classifiers, wheel.name
        assert "Typing :: Typed" not in classifiers or _is_typed(wheel), wheel.name


def test_wheels_with_a_library_have_the_licences_of_what_is_linked_into_it(wheels: list[Path]) -> None:
    for wheel in wheels:
        with ZipFile(wheel) as archive:
            names = archive.namelist()
            if any(name.endswith(".so") for name in names):
                (notice,) = (name for name in names if name.endswith(f"/licenses/{third_party.FILE}"))
                linked = b"pyo3" if wheel.name.startswith("scorewire_kernel") else b"nghttp2"
                assert linked in archive.read(notice), wheel.name


@pytest.mark.skipif(shutil.which("cargo") is None, reason="cargo is missing")
def test_the_licences_of_crates_are_up_to_date() -> None:
    files = dict(third_party.notices())
    assert len(files) == len(manifests()) - len(FOLDERS)
    for path, text in files.items():
        assert path.read_text(encoding="utf-8") == text, f"{path} is out of date: run make licences"


def _is_typed(wheel: Path) -> bool:
    with ZipFile(wheel) as archive:
        return any(name.endswith("/py.typed") for name in archive.namelist())


def test_all_distributions_have_the_same_version_and_require_it(wheels: list[Path]) -> None:
    told = [tomllib.loads(path.read_text(encoding="utf-8"))["project"] for path in manifests()]
    assert len(told) >= len(FOLDERS) + 1
    (version,) = {project["version"] for project in told}
    names = {project["name"] for project in told}
    for project in told:
        extras = project.get("optional-dependencies", {}).values()
        for dependency in [*project.get("dependencies", []), *(each for extra in extras for each in extra)]:
            name, _, release = dependency.partition("==")
            if name.partition("[")[0] in names - {project["name"]}:
                assert release == version, f"{project['name']} requires {dependency}"


def test_one_extra_installs_every_distribution() -> None:
    told = tomllib.loads((ROOT / "clients/python/pyproject.toml").read_text(encoding="utf-8"))
    everything = " ".join(told["project"]["optional-dependencies"]["all"])
    for name in ("scorewire[models,pandas,plot]", "scorewire-loadtest[native]", "scorewire-server[native]"):
        assert name in everything
    assert "scorewire-training[kernel,xgboost-cpu]" in everything
    assert "scorewire-records" in everything


def test_wheels_that_are_built_again_have_the_same_bytes(
    wheels: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    first, second = build(tmp_path / "first"), build(tmp_path / "second")
    assert [wheel.read_bytes() for wheel in first] == [wheel.read_bytes() for wheel in second]
    # The date is that of the setting, and not that of the files.
    with ZipFile(first[0]) as archive:
        assert {info.date_time[0] for info in archive.infolist()} == {2023}


def test_no_wheel_tells_a_path_of_this_machine(wheels: list[Path]) -> None:
    for wheel in wheels:
        with ZipFile(wheel) as archive:
            for name in archive.namelist():
                contents = archive.read(name)
                for path in (str(ROOT), str(Path.home() / ".cargo")):
                    assert path.encode() + b"/" not in contents, f"{wheel.name}: {name} has {path}"
