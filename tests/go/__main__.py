"""Run a Go client that is generated from a running server's schema: `python -m tests.go`.

It needs a Go toolchain and the modules of client/go.mod, whose sums are in go.sum.
With --grpcurl PATH and --ghz PATH, those programs call the typed service as well,
from what reflection says; building them takes minutes, so continuous integration
does not.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from click.testing import CliRunner

from scorewire._proto import proto
from tests import bundles
from tests.conformance.engines import serving

CLIENT = Path(__file__).parent / "client"
PLUGINS = {
    "protoc-gen-go": "google.golang.org/protobuf/cmd/protoc-gen-go",
    "protoc-gen-go-grpc": "google.golang.org/grpc/cmd/protoc-gen-go-grpc",
}
NUMBERS, COUNTRY = (1.0, 2.5), "de"
SERVICE = "scorewire.models.sum.v1.SumService"
REFLECTION = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")
GHZ_CALLS = 10_000


def main() -> int:
    """Print what the clients say of each engine; 1 where one is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--grpcurl", type=Path, help="the program grpcurl")
    parser.add_argument("--ghz", type=Path, help="the program ghz")
    arguments = parser.parse_args()
    grpcurl, ghz = arguments.grpcurl, arguments.ghz
    if shutil.which("go") is None:
        print("No go here, so the Go client is not run.")
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        bundles.write_sum_bundle(folder / "models")
        shutil.copytree(CLIENT, folder / "client")
        program = None
        for engine in ("reference", "native") if find_spec("scorewire_native") else ("reference",):
            with serving(folder, folder / "models", "--engine", engine) as server:
                program = program or _build(folder / "client", server.address)
                said = subprocess.run(
                    [program, server.address], check=True, capture_output=True, text=True
                ).stdout
                if grpcurl is not None:
                    _check_grpcurl(grpcurl, server.address)
                    print(f"grpcurl lists, describes and calls {SERVICE} of the {engine} engine", flush=True)
                if ghz is not None:
                    print(f"ghz has of the {engine} engine: {_ghz(ghz, server.address)}", flush=True)
            print(f"the Go client of the {engine} engine says: {said.strip()}", flush=True)
            if said.split() != [f"{bundles.expected_value(NUMBERS, COUNTRY):g}", "1.0.0"]:
                return 1
    return 0


def _build(client: Path, address: str) -> Path:
    """Generate the messages from the server's schema, as a user would, and build the program."""
    result = CliRunner().invoke(proto, ["sum", "--address", address], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    (client / "sum.proto").write_text(result.output, encoding="utf-8")
    command = [sys.executable, "-m", "grpc_tools.protoc", "--proto_path=.", "sum.proto"]
    for name, package in PLUGINS.items():
        _go(client, "build", "-o", name, package)
        flag = name.removeprefix("protoc-gen-")
        command += [
            f"--plugin={name}=./{name}",
            f"--{flag}_out=.",
            f"--{flag}_opt=module=client,Msum.proto=client/sum;sum",
        ]
    subprocess.run(command, cwd=client, check=True)
    _go(client, "build", "-o", "program", ".")
    return client / "program"


def _check_grpcurl(program: Path, address: str) -> None:
    def run(*arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [program, "-plaintext", *arguments], capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout + done.stderr

    path = f"{SERVICE}/Predict"
    assert SERVICE in run(address, "list")[1].splitlines()
    assert (
        "optional string country = 3;" in run(address, "describe", f"{SERVICE.rpartition('.')[0]}.SumRow")[1]
    )
    for symbol in (f"{SERVICE}.Predict", "inference.ModelInferRequest.InferInputTensor", *REFLECTION):
        code, said = run(address, "describe", symbol)
        assert (code, said.splitlines()[0].split()[:2]) == (0, [symbol, "is"]), said
    row = {"x0": NUMBERS[0], "x1": NUMBERS[1], "country": COUNTRY}
    code, said = run("-d", json.dumps(row), address, path)
    wanted = {"version": "1.0.0", "value": bundles.expected_value(NUMBERS, COUNTRY)}
    assert (code, json.loads(said)) == (0, wanted), said
    code, said = run("-d", json.dumps({"x1": 1}), address, path)
    assert code, said
    assert "Code: InvalidArgument" in said, said
    assert '"row_reason": "MISSING_VALUE"' in said, said


def _ghz(program: Path, address: str) -> dict[str, int]:
    """Calls by how they ended, which must be well."""
    row = json.dumps({"x0": NUMBERS[0], "x1": NUMBERS[1], "country": COUNTRY})
    flags = ["--insecure", "--total", str(GHZ_CALLS), "--concurrency", "20", "--format", "json"]
    told = subprocess.run(
        [program, *flags, "--call", f"{SERVICE}.Predict", "--data", row, address],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    ended: dict[str, int] = json.loads(told)["statusCodeDistribution"]
    assert ended == {"OK": GHZ_CALLS}, told
    return ended


def _go(folder: Path, *arguments: str) -> None:
    environment = {**os.environ, "GOFLAGS": "-mod=mod -buildvcs=false"}
    subprocess.run(["go", *arguments], cwd=folder, env=environment, check=True)


if __name__ == "__main__":
    sys.exit(main())
