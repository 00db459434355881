"""Reads the Dockerfile without Docker, and makes the environments of its images from what is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import distribution
from importlib.util import cache_from_source, find_spec
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
# The images, each with the distributions of ours that it has.
IMAGES = {
    "server": ("scorewire_contract", "scorewire_server"),
    "server-records": ("scorewire_contract", "scorewire_records", "scorewire_server"),
    "gateway": ("scorewire", "scorewire_contract", "scorewire_gateway", "scorewire_records"),
    "mlflow": (),
}
# Locks of what builds the wheels, and is in no image.
_FOR_BUILDING = ("requirements/native.lock", "requirements/build.lock")


@dataclass(frozen=True)
class Stage:
    """A stage of the Dockerfile.

    Attributes:
        base: the stage or the image that it begins with.
        instructions: the name and the arguments of each instruction after FROM.
    """

    name: str
    base: str
    instructions: list[tuple[str, str]] = field(default_factory=list)


def stages() -> dict[str, Stage]:
    """The stages by name, in order."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    found: dict[str, Stage] = {}
    stage: Stage | None = None
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        name, _, arguments = line.partition(" ")
        if name.upper() == "FROM":
            base, _, own = arguments.partition(" AS ")
            stage = found[own] = Stage(own, base)
        else:
            assert stage is not None
            stage.instructions.append((name.upper(), " ".join(arguments.split())))
    return found


def instructions(image: str) -> list[tuple[str, str]]:
    """What holds in an image: the instructions of its stage after those of the stages that it begins with."""
    stage = stages().get(image)
    return [] if stage is None else [*instructions(stage.base), *stage.instructions]


def copied_paths(image: str) -> list[str]:
    """The paths of the repository that are copied into an image or into what it is built from, in order."""
    paths: list[str] = []
    stage = stages().get(image)
    if stage is not None:
        paths += copied_paths(stage.base)
        for name, arguments in stage.instructions:
            if name == "COPY":
                origin = re.match(r"--from=(\S+)", arguments)
                paths += arguments.split()[:-1] if origin is None else copied_paths(origin[1])
    return list(dict.fromkeys(paths))


def is_sent(path: str) -> bool:
    """Whether .dockerignore lets a path through: the last rule that matches decides."""
    sent = True
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        rule = line.strip()
        if not rule or rule.startswith("#"):
            continue
        if _pattern(rule.removeprefix("!")).fullmatch(path):
            sent = rule.startswith("!")
    return sent


def copy_for_image(source: str, context: Path) -> Path:
    """Copy a folder of the repository as a build of the image gets it; returns the copy's path."""
    for path in (ROOT / source).rglob("*"):
        name = path.relative_to(ROOT).as_posix()
        if path.is_file() and is_sent(name):
            (context / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, context / name)
    return context / source


def make_environment(image: str, folder: Path, *, native: bool = False) -> Path:
    """Make the environment of an image: copies of the packages that it locks, and wheels of ours.

    The image compiles the native engine in a stage of its own. With `native`, the one that is installed here
    stands for it, if there is one; else a server runs the reference engine.

    Returns:
        The folder of the environment's commands.
    """
    home, wheels, context = folder / "environment", folder / "wheels", folder / "context"
    venv.create(home, symlinks=True)
    packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(home), "platbase": str(home)}))
    copied = [path for path in copied_paths(image) if not (ROOT / path / "Cargo.toml").is_file()]
    locks = [path for path in copied if path.startswith("requirements/") and path not in _FOR_BUILDING]
    # Two locks may have the same package.
    names = {requirement.name: requirement for lock in locks for requirement in _locked(ROOT / lock)}
    for requirement in names.values():
        _copy_distribution(requirement, packages)
    if native and find_spec("scorewire_native") is not None:
        _copy_distribution(Requirement("scorewire-native"), packages)
    folders = [path for path in copied if (ROOT / path / "pyproject.toml").is_file()]
    sources = [copy_for_image(path, context) for path in folders]
    # Built from a copy, as the image is, which also keeps build files out of the working tree.
    offline = ("--quiet", "--no-index", "--no-deps")
    _pip("wheel", *offline, "--no-build-isolation", "--wheel-dir", wheels, *sources)
    built = sorted(wheels.glob("*.whl"))
    assert tuple(sorted(wheel.name.split("-")[0] for wheel in built)) == IMAGES[image]
    _pip("--python", home, "install", *offline, *built)
    return home / "bin"


def _locked(lock: Path) -> Iterator[Requirement]:
    """The packages in a lock that apply to this interpreter."""
    for line in lock.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith((" ", "#")):
            requirement = Requirement(line.rstrip("\\ "))
            if requirement.marker is None or requirement.marker.evaluate():
                yield requirement


def _copy_distribution(requirement: Requirement, packages: Path) -> None:
    found = distribution(requirement.name)
    assert requirement.specifier.contains(found.version), f"{requirement} is locked; run make setup"
    for file in found.files or ():
        if ".." not in file.parts and "__pycache__" not in file.parts:
            source = Path(str(file.locate()))
            _link(source, packages / file)
            # pip compiles what it installs.
            compiled = Path(cache_from_source(str(source)))
            if source.suffix == ".py" and compiled.exists():
                _link(compiled, (packages / file).parent / "__pycache__" / compiled.name)


def _link(source: Path, path: Path) -> None:
    """Have a file at another path, without a copy of its contents if the file system can do that."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.hardlink_to(source)
    except OSError:
        shutil.copy2(source, path)


def _pip(*arguments: str | Path) -> None:
    subprocess.run([sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments], check=True)


def _pattern(rule: str) -> re.Pattern[str]:
    """Whether a rule of .dockerignore matches a path or a folder above it."""
    parts = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    tokens = re.split(r"(\*\*/|\*\*|\*|\?)", rule.strip("/"))
    return re.compile("".join(parts.get(token) or re.escape(token) for token in tokens) + "(?:/.*)?")
