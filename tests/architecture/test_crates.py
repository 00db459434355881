"""The crates that we use have licences that go with Apache-2.0, and nghttp2 has no assertions."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXTENSIONS = {"scorewire_kernel", "scorewire_native", "scorewire_loadtest_native"}
OURS = {*EXTENSIONS, "scorewire_spool"}
# Each crate must be available under at least one of these licences.
PERMISSIVE = {
    *("0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0"),
    *("ISC", "MIT", "Unicode-3.0", "Zlib"),
}


@pytest.mark.skipif(shutil.which("cargo") is None, reason="cargo is missing")
def test_every_crate_has_a_permissive_licence_and_comes_from_the_registry() -> None:
    command = [
        "cargo",
        "metadata",
        "--format-version=1",
        "--locked",
        "--filter-platform=x86_64-unknown-linux-gnu",
    ]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120).stdout
    packages = json.loads(told)["packages"]
    assert len(packages) > 30
    for package in packages:
        if package["name"] in OURS:
            continue
        assert package["source"].startswith("registry+"), package["name"]
        # Every part that is joined by AND must be available under one of them.
        for part in re.split(r"\s+AND\s+", package["license"]):
            ways = {way.strip("() ") for way in re.split(r"\s+OR\s+|/", part)}
            assert ways & PERMISSIVE, f"{package['name']}: {package['license']}"


@pytest.mark.parametrize("name", sorted(EXTENSIONS))
def test_no_check_of_nghttp2s_makers_can_end_the_process(name: str) -> None:
    spec = find_spec(name)
    if spec is None:
        pytest.skip(f"{name} is not built here")
    (folder,) = spec.submodule_search_locations or ()
    (library,) = Path(folder).glob("*.so")
    assert b"__assert_fail" not in library.read_bytes()
