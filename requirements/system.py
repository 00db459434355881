"""Checks that the machine has what `make setup` needs besides the packages of the lock files.

Run as `python3 requirements/system.py`. If something is missing, it prints what, why and
the command that installs it, and exits with 1. With `--packages` it prints only the names
of the missing Debian packages, one per line. Only the standard library is used, and any
Python 3 can run it.
"""

import ctypes
import importlib.util
import os
import re
import shutil
import subprocess
import sys

PYTHON = (3, 11)
RUST = (1, 89)


def missing_packages(cargo):
    """The Debian packages that are missing, each with the reason why it is needed.

    Args:
        cargo: the cargo that will build the native engine; empty if the engine will not be built.
    """
    found = {}
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        found[_venv_package()] = "make setup creates a virtual environment"
    if not _loads("libgomp.so.1"):
        found["libgomp1"] = "the wheel of LightGBM links to it"
    if cargo:
        if shutil.which(os.environ.get("CC") or "cc") is None:
            found["gcc"] = "the native engine has C code"
            found["libc6-dev"] = "the native engine has C code"
        elif not _compiles():
            found["libc6-dev"] = "the C compiler finds no headers of the C library"
    return found


def problems(cargo):
    """What no package of Debian solves: the releases of Python and of Rust."""
    found = []
    if sys.version_info < PYTHON:
        found.append(
            "Scorewire needs Python %d.%d or newer, and this is %d.%d: set PYTHON=/path/to/python3.11"
            % (*PYTHON, *sys.version_info[:2])
        )
    release = _cargo_release(cargo) if cargo else RUST
    if release < RUST:
        found.append(
            "The native engine needs Rust %d.%d or newer, and %s is %d.%d: install a newer one from "
            "https://rustup.rs, or run `make setup CARGO=` to go on without the native engine"
            % (*RUST, cargo, *release)
        )
    return found


def _venv_package():
    # Debian and Ubuntu take ensurepip out of their own Python only; others bring it.
    return "python%d.%d-venv" % sys.version_info[:2] if sys.base_prefix == "/usr" else "python3-venv"


def _loads(library):
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _compiles():
    command = [os.environ.get("CC") or "cc", "-x", "c", "-fsyntax-only", "-"]
    done = subprocess.run(command, input=b"#include <stdlib.h>\n", stderr=subprocess.DEVNULL, check=False)
    return done.returncode == 0


def _cargo_release(cargo):
    try:
        told = subprocess.run([cargo, "--version"], stdout=subprocess.PIPE, check=False).stdout.decode()
    except OSError:
        return (0, 0)
    numbers = re.search(r"(\d+)\.(\d+)", told)
    return (int(numbers.group(1)), int(numbers.group(2))) if numbers else (0, 0)


def main(arguments):
    """Print what is missing; returns 1 if something is."""
    cargo = os.environ.get("CARGO", "cargo")
    cargo = cargo and shutil.which(cargo)
    packages = missing_packages(cargo)
    if "--packages" in arguments:
        for name in packages:
            print(name)
        return 0
    wrong = problems(cargo)
    for name, reason in packages.items():
        print("%s is missing: %s." % (name, reason), file=sys.stderr)
    if packages:
        root = "" if hasattr(os, "geteuid") and os.geteuid() == 0 else "sudo "
        command = "%sapt-get install %s" % (root, " ".join(packages))
        print("Install it with:\n\n    %s\n" % command, file=sys.stderr)
    for each in wrong:
        print(each + ".", file=sys.stderr)
    return 1 if packages or wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
