"""The servers under load: the engines, and empty servers that show what is possible.

A peer is built when it is needed, and left out if it cannot be built here.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests import processes

ROOT = Path(__file__).resolve().parents[2]
PEERS = Path(__file__).parent / "peers"
CRATE = ROOT / "server" / "native"
_BUILD_SECONDS = 900
# Values by name and labels.
Metrics = Mapping[tuple[str, frozenset[tuple[str, str]]], float]
_CPP_PACKAGES = "apt-get install g++ pkg-config libgrpc++-dev libprotobuf-dev protobuf-compiler-grpc"


@dataclass(frozen=True, slots=True)
class Server:
    """A running server.

    `answered` returns the server's own counts of predictions: those with OK, and the
    others; it is None for an empty server. `metrics` returns the samples of /metrics, by
    name and labels. `pid` is the id of its process.
    """

    name: str
    address: str
    pid: int
    answered: Callable[[], tuple[int, int]] | None
    metrics: Callable[[], Metrics] | None = None


@contextmanager
def engine(
    name: str, folder: Path, models: Path, *options: str | Path, command: Path | None = None
) -> Iterator[Server]:
    """`scorewire serve` with an engine and more options.

    `command` is the `scorewire` to run if not this checkout's.
    """
    # Several servers share the folder of bundles.
    flags = ("--engine", name, "--threads", "1", "--state-file", folder / name / "state.json", *options)
    with processes.serving(folder / name, models, *flags, command=(command or processes.COMMAND,)) as process:

        def answered() -> tuple[int, int]:
            well = others = 0
            for (sample, labels), value in process.metrics().items():
                if sample == "scorewire_calls_total":
                    if ("code", "OK") in labels:
                        well += round(value)
                    else:
                        others += round(value)
            return well, others

        yield Server(name, process.address, process.pid, answered, process.metrics)


@contextmanager
def rust_echo(*, optimized: bool) -> Iterator[Server]:
    """The empty server on Rust's h2."""
    with printing_address("empty Rust (h2)", [example("echo", optimized=optimized)]) as server:
        yield server


@contextmanager
def cpp_echo(program: Path, *tls: Path) -> Iterator[Server]:
    """The empty server on gRPC's C++ library, from `build_cpp`; `tls` has certificate chain and key."""
    with printing_address("empty C++ (gRPC)", [program, *tls]) as server:
        yield server


def example(name: str, *, optimized: bool) -> Path:
    """Build an example of the crate; without optimization it is only for tests."""
    profile = ["--release"] if optimized else []
    command = ["cargo", "build", "--quiet", "--locked", "--no-default-features", "--example", name]
    _run([*command, *profile], CRATE)
    return ROOT / "target" / ("release" if optimized else "debug") / "examples" / name


def cpp_missing() -> str:
    """What is missing for the C++ peer; "" if it can be built."""
    for tool in ("g++", "protoc", "grpc_cpp_plugin", "pkg-config"):
        if shutil.which(tool) is None:
            return f"{tool} is missing: {_CPP_PACKAGES}"
    if subprocess.run(["pkg-config", "--exists", "grpc++", "protobuf"], check=False).returncode:
        return f"gRPC's C++ library is missing: {_CPP_PACKAGES}"
    return ""


def build_cpp(folder: Path) -> Path:
    """Build the C++ peer in a folder; see `cpp_missing`."""
    folder.mkdir(parents=True, exist_ok=True)
    plugin = shutil.which("grpc_cpp_plugin")
    flags = _run(["pkg-config", "--cflags", "--libs", "grpc++", "protobuf"], folder).split()
    protoc = ["protoc", f"--proto_path={PEERS}", f"--cpp_out={folder}", f"--grpc_out={folder}"]
    _run([*protoc, f"--plugin=protoc-gen-grpc={plugin}", "echo.proto"], folder)
    sources = [str(PEERS / "echo.cc"), "echo.pb.cc", "echo.grpc.pb.cc"]
    _run(["g++", "-O2", "-std=c++17", f"-I{folder}", *sources, "-o", "echo", *flags], folder)
    return folder / "echo"


def _run(command: list[str], folder: Path) -> str:
    result = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=_BUILD_SECONDS
    )
    assert result.returncode == 0, f"{' '.join(command)}: {result.stderr}"
    return result.stdout


@contextmanager
def printing_address(name: str, command: Sequence[str | Path]) -> Iterator[Server]:
    """A process that prints its HOST:PORT and then serves."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address, f"{name} did not start"
        yield Server(name, address, process.pid, None)
    finally:
        process.terminate()
        process.wait(processes.TIMEOUT_SECONDS)
        if process.stdout is not None:
            process.stdout.close()
