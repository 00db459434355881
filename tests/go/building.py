"""Builds the Go programs in client/ with the schema of a running server, as a user would."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner

from scorewire._cli.proto import proto

CLIENT = Path(__file__).parent / "client"
PLUGINS = {
    "protoc-gen-go": "google.golang.org/protobuf/cmd/protoc-gen-go",
    "protoc-gen-go-grpc": "google.golang.org/grpc/cmd/protoc-gen-go-grpc",
}


@dataclass(frozen=True)
class Programs:
    """The programs: one scores a row, the other makes calls continuously."""

    one_row: Path
    load: Path


def build(folder: Path, address: str) -> Programs:
    """Build the programs in a new folder; the server must have the model `sum`."""
    shutil.copytree(CLIENT, folder)
    generate(folder, "sum", address)
    _go(folder, "build", "-o", "one-row", ".")
    _go(folder, "build", "-o", "steady-load", "./load")
    return Programs(folder / "one-row", folder / "steady-load")


def build_one(folder: Path, model: str, address: str, source: str) -> Path:
    """Build one program from its source in a new folder; it may import `client/MODEL`.

    Returns:
        The path of the program.
    """
    folder.mkdir()
    for name in ("go.mod", "go.sum"):
        shutil.copyfile(CLIENT / name, folder / name)
    generate(folder, model, address)
    (folder / "main.go").write_text(source, encoding="utf-8")
    _go(folder, "build", "-o", "program", ".")
    return folder / "program"


def generate(folder: Path, model: str, address: str) -> None:
    """Generate the Go package `client/MODEL` from the schema of a model of a server."""
    result = CliRunner().invoke(proto, [model, "--address", address], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    (folder / f"{model}.proto").write_text(result.output, encoding="utf-8")
    command = [sys.executable, "-m", "grpc_tools.protoc", "--proto_path=.", f"{model}.proto"]
    for name, package in PLUGINS.items():
        _go(folder, "build", "-o", name, package)
        flag = name.removeprefix("protoc-gen-")
        command += [
            f"--plugin={name}=./{name}",
            f"--{flag}_out=.",
            f"--{flag}_opt=module=client,M{model}.proto=client/{model};{model}",
        ]
    subprocess.run(command, cwd=folder, check=True)


def _go(folder: Path, *arguments: str) -> None:
    environment = {**os.environ, "GOFLAGS": "-mod=mod -buildvcs=false"}
    subprocess.run(["go", *arguments], cwd=folder, env=environment, check=True)
