"""`make setup` stops where the machine lacks something, with the command that installs it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
VENV = f"python3.{sys.version_info.minor}-venv" if sys.base_prefix == "/usr" else "python3-venv"
# A Python that finds neither libgomp nor ensurepip, as on a bare Debian.
BARE = """\
import ctypes, importlib.abc, importlib.util, sys
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "ensurepip" else found(name, *rest)
class Library(ctypes.CDLL):
    def __init__(self, name, *rest, **others):
        if name == "libgomp.so.1":
            raise OSError("libgomp.so.1: cannot open shared object file: No such file or directory")
        super().__init__(name, *rest, **others)
ctypes.CDLL = Library
"""


class Machine:
    """A machine that has only the programs that a test gives it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._programs = folder / "programs"
        self._programs.mkdir()
        self._environment = {"PATH": str(self._programs), "HOME": str(folder)}
        for name in ("sh", "make", "find", "sed", "git"):
            self.link(name, shutil.which(name))

    def link(self, name: str, program: str | None) -> None:
        assert program is not None
        (self._programs / name).symlink_to(program)

    def script(self, name: str, text: str) -> None:
        path = self._programs / name
        path.write_text(f"#!{shutil.which('sh')}\n{text}\n", encoding="utf-8")
        path.chmod(0o755)

    def make_bare(self) -> None:
        (self._folder / "sitecustomize.py").write_text(BARE, encoding="utf-8")
        self._environment["PYTHONPATH"] = str(self._folder)

    def setup(self, *variables: str) -> str:
        """What `make setup` says when it stops."""
        target = self._folder / "environment"
        done = subprocess.run(
            [self._programs / "make", "setup", f"VENV={target}", *variables],
            cwd=ROOT,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode != 0, done.stdout
        assert not target.exists(), "something was installed"
        return done.stdout + done.stderr


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_machine_without_python_is_told_what_to_install(machine: Machine) -> None:
    assert "apt-get install python3 python3-venv" in machine.setup()


def test_missing_packages_are_named_with_one_command(machine: Machine) -> None:
    machine.link("python3", sys.executable)
    machine.script("cargo", "echo cargo 1.95.0")
    machine.make_bare()
    told = machine.setup()
    sudo = "" if os.geteuid() == 0 else "sudo "
    assert f"\n    {sudo}apt-get install {VENV} libgomp1 gcc libc6-dev\n" in told
    assert "libgomp1 is missing: the wheel of LightGBM links to it." in told


def test_without_rust_no_compiler_is_needed(machine: Machine) -> None:
    machine.link("python3", sys.executable)
    machine.make_bare()
    assert f"apt-get install {VENV} libgomp1\n" in machine.setup()


def test_a_compiler_without_headers_is_told(machine: Machine) -> None:
    machine.link("python3", sys.executable)
    machine.script("cargo", "echo cargo 1.95.0")
    machine.script("cc", "exit 1")
    assert "apt-get install libc6-dev\n" in machine.setup()


def test_an_old_rust_is_told_and_can_be_left_out(machine: Machine) -> None:
    machine.link("python3", sys.executable)
    machine.script("cargo", "echo cargo 1.63.0")
    machine.script("cc", "exit 0")
    told = machine.setup()
    assert "needs Rust 1.89 or newer" in told
    assert "is 1.63" in told
    assert "make setup CARGO=" in told
    machine.make_bare()
    assert "Rust" not in machine.setup("CARGO=")


def test_an_old_python_is_told(machine: Machine) -> None:
    # Any Python 3 can run the check: its rules are read from the file itself.
    source = (ROOT / "requirements/system.py").read_text(encoding="utf-8")
    assert "PYTHON = (3, 11)" in source
    machine.script(
        "python3",
        f"""exec {sys.executable} -c "
import sys
sys.version_info = (3, 9, 2)
sys.argv = sys.argv[1:]
import runpy
runpy.run_path(sys.argv[0], run_name='__main__')" "$@" """,
    )
    assert "Scorewire needs Python 3.11 or newer, and this is 3.9" in machine.setup()


def test_a_complete_machine_has_nothing_to_install() -> None:
    command = [sys.executable, ROOT / "requirements/system.py", "--packages"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == ""
