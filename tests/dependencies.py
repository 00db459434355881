"""Checks that every import is declared, and that every installed package is locked.

Run as `python -m tests.dependencies`. For each distribution, deptry compares its
imports with its pyproject.toml. Then every package in the environment must be in
the lock, and every package of the lock that applies here must be installed.
"""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

from packaging.markers import Marker

ROOT = Path(__file__).resolve().parents[1]
DISTRIBUTIONS = {
    "proto/python": "scorewire-contract",
    "server": "scorewire-server",
    "training": "scorewire-training",
    "clients/python": "scorewire",
    "clients/loadtest": "scorewire-loadtest",
    "clients/records": "scorewire-records",
    "clients/gateway": "scorewire-gateway",
}
# Packages that venv installs.
BOOTSTRAP = {"pip", "setuptools"}
# Our own packages, which are installed only if cargo is.
OPTIONAL = {"scorewire-kernel", "scorewire-native", "scorewire-loadtest-native"}
# Distribution: its modules, if their names differ from its name.
MODULES = {
    # distributed is an extra of dask; markupsafe has the type of jinja2's texts.
    "dask": ("dask", "distributed"),
    # FastAPI's requests and responses are those of Starlette, of which it needs a release of its own choice.
    "fastapi": ("fastapi", "starlette"),
    "googleapis-common-protos": ("google",),
    "grpcio": ("grpc",),
    "grpcio-health-checking": ("grpc_health",),
    "grpcio-reflection": ("grpc_reflection",),
    "hdrhistogram": ("hdrh",),
    "jinja2": ("jinja2", "markupsafe"),
    "mlflow-skinny": ("mlflow",),
    "prometheus-client": ("prometheus_client",),
    "protobuf": ("google",),
    "pyjwt": ("jwt",),
    "scikit-learn": ("sklearn",),
    "scorewire-contract": ("scorewire_contract", "scorewire_proto"),
    "xgboost": ("xgboost",),
    "xgboost-cpu": ("xgboost",),
}
LOCKED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)(?:\s*;\s*([^\\]+?))?\s*\\?$")


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def undeclared_imports() -> list[str]:
    """The folders whose imports and declared dependencies differ; deptry prints the differences."""
    mapping = ",".join(f"{name}={'|'.join(modules)}" for name, modules in MODULES.items())
    # Found by file, without an import; a reading engine of pandas; a data set; MLflow's
    # store in SQLite, which imports it; the files of Swagger UI; what runs as a process.
    unused = "DEP002=pyarrow|lifetimes|googleapis-common-protos|onnxmltools|alembic"
    unused += "|fastapi-swagger|scorewire-training"
    wrong = []
    for folder in DISTRIBUTIONS:
        command = [Path(sys.executable).parent / "deptry", ".", "--package-module-name-map", mapping]
        command += ["--per-rule-ignores", unused, "--known-first-party", Path(folder).name]
        if folder == "clients/python":
            # This extra installs the other distributions, and no module imports them.
            command += ["--optional-dependencies-dev-groups", "all"]
        if subprocess.run(command, check=False, cwd=ROOT / folder).returncode:
            wrong.append(f"{folder}: its imports and its pyproject.toml differ")
    return wrong


def locked() -> dict[str, str]:
    """The versions, by name, of the locked packages that apply to this interpreter."""
    found = {}
    for line in (ROOT / "requirements/dev.lock").read_text(encoding="utf-8").splitlines():
        match = LOCKED.match(line)
        if match and (match[3] is None or Marker(match[3]).evaluate()):
            found[_canonical(match[1])] = match[2]
    return found


def unlocked_packages() -> list[str]:
    """The packages that are installed but not locked, locked but not installed, or have another version."""
    lock = locked()
    here = {_canonical(item.metadata["Name"]): item.version for item in distributions()}
    own = set(DISTRIBUTIONS.values())
    wrong = [
        f"{name} is installed, and no file names it"
        for name in sorted(set(here) - set(lock) - own - BOOTSTRAP - OPTIONAL)
    ]
    wrong += [f"{name} is locked, and not installed" for name in sorted((set(lock) | own) - set(here))]
    wrong += [
        f"{name} is {here[name]}, locked is {lock[name]}"
        for name in sorted(set(lock) & set(here))
        if here[name] != lock[name]
    ]
    return wrong


def main() -> None:
    """Run both checks."""
    wrong = unlocked_packages() + undeclared_imports()
    if wrong:
        raise SystemExit("\n".join(wrong))
    print("dependencies: every import is declared, every installed package is locked")


if __name__ == "__main__":
    main()
