"""Runs Go clients that are generated from a running server's schema: `python -m tests.go`.

One client scores a row, and the snippets of docs/typed-services.md others. A
further client makes calls continuously while servers restart in turn, directly and
through nginx, and then 3,000 calls at once; `python -m tests.go.rolling` does that for
longer. This needs a Go toolchain, the modules of client/go.mod, whose checksums are in
go.sum, and nginx. With --grpcurl PATH and --ghz PATH, these programs also call the
typed service through reflection.
Continuous integration leaves them out, because building them takes minutes.
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
from unittest.mock import patch

from tests import bundles
from tests.access_files import new_key
from tests.docs.pages import ROOT, read_blocks
from tests.docs.world import make_world
from tests.go.building import CLIENT, Programs, build, build_one
from tests.go.load import burst
from tests.go.rolling import RATE, rolling, two_servers
from tests.processes import COMMAND, serving

NUMBERS, COUNTRY = (1.0, 2.5), "de"
SERVICE = "scorewire.models.sum.v1.SumService"
REFLECTION = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")
GHZ_CALLS = 10_000
BURST = 3000
RESTARTS = 4
# grpc's own server loses the calls that arrive between its end and its client's hearing of it: those of
# a tenth of a second at the very most.
MOST_LOST = {"native": 0, "reference": RESTARTS * RATE // 10}


def main() -> int:
    """Print the clients' output for each engine; returns 1 if a client fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--grpcurl", type=Path, help="the program grpcurl")
    parser.add_argument("--ghz", type=Path, help="the program ghz")
    arguments = parser.parse_args()
    grpcurl, ghz = arguments.grpcurl, arguments.ghz
    if shutil.which("go") is None:
        print("No go here, so the Go clients are not run.")
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        bundles.write_sum_bundle(folder / "models")
        programs = None
        good = True
        for engine in ("reference", "native") if find_spec("scorewire_native") else ("reference",):
            with serving(folder, folder / "models", "--engine", engine) as server:
                programs = programs or build(folder / "client", server.address)
                good &= _scores_a_row(programs, engine, server.address)
                good &= _answers_a_burst(programs, engine, server.address)
                if grpcurl is not None:
                    _check_grpcurl(grpcurl, server.address)
                    print(f"grpcurl lists, describes and calls {SERVICE} of the {engine} engine", flush=True)
                if ghz is not None:
                    print(f"ghz has of the {engine} engine: {_ghz(ghz, server.address)}", flush=True)
            good &= _shows_a_key(folder / f"{engine}-access", programs, engine, folder / "models")
            good &= _loses_no_call(folder / engine, programs, engine)
        good &= _runs_the_snippets(folder / "snippets")
    return int(not good)


def _runs_the_snippets(folder: Path) -> bool:
    """Whether the snippets of the page score a row, without a key and with one."""
    page = (ROOT / "docs/typed-services.md").read_text(encoding="utf-8")
    call, credential = (block.text for block in read_blocks(page) if block.language == "go")
    keyed_call = (
        'key := os.Getenv("SCOREWIRE_API_KEY")\n'
        + credential
        + _replaced(call, "context.Background()", "ctx")
    )
    models = make_world(folder).folder / "models"
    access = folder / "access.toml"
    key = new_key(access, "shop", predict="churn")
    with serving(folder / "open", models) as server:
        told = [_snippet_says(folder / "call", server.address, call)]
    with (
        serving(folder / "closed", models, "--access", str(access)) as server,
        patch.dict(os.environ, SCOREWIRE_API_KEY=key),
    ):
        imported = ("os", "google.golang.org/grpc/metadata")
        told.append(_snippet_says(folder / "keyed", server.address, keyed_call, *imported))
    print(f"the snippets of docs/typed-services.md say: {' and '.join(told)}", flush=True)
    return all(said.split()[-1] == "1.1.0" for said in told)


def _snippet_says(folder: Path, address: str, snippet: str, *imported: str) -> str:
    """What a program of a snippet prints; it imports what the client in `client` does, except `os`."""
    imports = (CLIENT / "main.go").read_text(encoding="utf-8").partition("import (")[2].partition(")")[0]
    imports = imports.replace("client/sum", "client/churn").replace('\t"os"\n', "")
    imports += "".join(f'\t"{name}"\n' for name in imported)
    body = _replaced(snippet, "127.0.0.1:8500", address)
    source = f"package main\n\nimport ({imports})\n\nfunc main() {{\n{body}}}\n"
    program = build_one(folder, "churn", address, source)
    return subprocess.run([program], check=True, capture_output=True, text=True).stdout.strip()


def _replaced(text: str, old: str, new: str) -> str:
    assert old in text, f"the snippet has no {old}"
    return text.replace(old, new)


def _scores_a_row(programs: Programs, engine: str, address: str) -> bool:
    command = [programs.one_row, address]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    print(f"the Go client of the {engine} engine says: {said.strip()}", flush=True)
    return said.split() == [f"{bundles.expected_value(NUMBERS, COUNTRY):g}", "1.0.0"]


def _shows_a_key(folder: Path, programs: Programs, engine: str, models: Path) -> bool:
    """Whether a server with --access takes the key of the access file, and nothing else."""
    folder.mkdir()
    access = folder / "access.toml"
    key = new_key(access, "shop", predict="sum")
    other = new_key(access, "stock", predict="stock-*")
    shown = {}
    with serving(folder, models, "--engine", engine, "--access", str(access)) as server:
        for given in (key, other, key[:-1] + "g", ""):
            done = subprocess.run(
                [programs.one_row, server.address],
                check=False,
                capture_output=True,
                text=True,
                env={**os.environ, "SCOREWIRE_API_KEY": given},
            )
            shown[given] = done.stdout.strip() or done.stderr
    print(f"with a key, the {engine} engine tells the Go client: {shown[key]}", flush=True)
    return (
        shown[key].split() == [f"{bundles.expected_value(NUMBERS, COUNTRY):g}", "1.0.0"]
        and "code = PermissionDenied" in shown[other]
        and all("code = Unauthenticated" in shown[wrong] for wrong in (key[:-1] + "g", ""))
    )


def _answers_a_burst(programs: Programs, engine: str, address: str) -> bool:
    report = burst(programs.load, address, BURST)
    print(f"{engine} engine, {BURST} calls at once: {report}", flush=True)
    return report.answered == BURST


def _loses_no_call(folder: Path, programs: Programs, engine: str) -> bool:
    good = True
    with two_servers(folder, engine, COMMAND) as servers:
        for nginx in (False, True):
            if nginx and shutil.which("nginx") is None:
                print("No nginx here, so it is not put before the servers.")
                continue
            report = rolling(folder, programs, servers, restarts=RESTARTS, nginx=nginx)
            by_way_of = " by way of nginx" if nginx else ""
            print(f"{engine} engine, {RESTARTS} restarts{by_way_of}: {report}", flush=True)
            good &= report.wrong == 0 and report.failed <= MOST_LOST[engine] and report.answered > 0
    return good


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
    """Counts of calls by outcome; every call must have ended with OK."""
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


if __name__ == "__main__":
    sys.exit(main())
