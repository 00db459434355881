"""Writes the licences of the crates that are linked into each native wheel: `make licences`.

Run as `python -m tests.wheels.third_party`. Each native crate gets a file
THIRD-PARTY-LICENSES.txt, which goes into its wheel. A crate that is available under the
Apache License 2.0, which the wheel has anyway, is only named.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
FILE = "THIRD-PARTY-LICENSES.txt"
_PREFIXES = ("LICEN", "COPYING", "NOTICE", "COPYRIGHT")
# C code in a crate, beside the crate's own licence: the folder in the crate.
_BUNDLED = {"libnghttp2-sys": ("nghttp2",)}
_MIT = """\
Permission is hereby granted, free of charge, to any person obtaining a copy of this software and
associated documentation files (the "Software"), to deal in the Software without restriction,
including without limitation the rights to use, copy, modify, merge, publish, distribute,
sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial
portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT
NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND
NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES
OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN
CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""


def notices() -> Iterator[tuple[Path, str]]:
    """The file of each native crate, and its text. It needs cargo, and the sources of the crates.

    Raises:
        FileNotFoundError: a crate has no text of its licence.
    """
    # The wheel of the kernel has its border to Python, which the engine does without.
    command = ["cargo", "metadata", "--locked", "--format-version=1", "--features=scorewire_kernel/python"]
    command += ["--filter-platform=x86_64-unknown-linux-gnu"]
    told = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout)
    packages = {package["id"]: package for package in told["packages"]}
    nodes = {node["id"]: node for node in told["resolve"]["nodes"]}
    for member in told["workspace_members"]:
        folder = Path(packages[member]["manifest_path"]).parent
        if (folder / "pyproject.toml").is_file():
            crates = sorted(_linked(member, nodes, packages), key=lambda crate: str(crate["name"]))
            yield folder / FILE, _render(crates)


def _linked(root: str, nodes: dict[str, Any], packages: dict[str, Any]) -> list[dict[str, Any]]:
    """The packages from the registry whose code is in the library of a crate."""
    found: dict[str, dict[str, Any]] = {}
    waiting = [root]
    while waiting:
        for dependency in nodes[waiting.pop()]["deps"]:
            package = packages[dependency["pkg"]]
            linked = any(kind["kind"] is None for kind in dependency["dep_kinds"])
            macro = any("proc-macro" in target["kind"] for target in package["targets"])
            if linked and not macro and package["id"] not in found:
                found[package["id"]] = package
                waiting.append(package["id"])
    return [package for package in found.values() if package["source"] is not None]


def _render(crates: list[dict[str, Any]]) -> str:
    apache = [crate for crate in crates if _is_apache(crate)]
    sections = [
        "Software in the library of this wheel that others have written\n",
        "Under the Apache License 2.0, whose text is in LICENSE:\n\n"
        + "".join(f"  {crate['name']} {crate['version']}\n" for crate in apache),
    ]
    for crate in crates:
        folder = Path(crate["manifest_path"]).parent
        if crate not in apache:
            title = f"{crate['name']} {crate['version']}, {crate['license']}"
            sections.append(_section(title, _texts(folder) or [_own_text(crate)]))
        for bundled in _BUNDLED.get(crate["name"], ()):
            texts = _texts(folder / bundled)
            if not texts:
                raise FileNotFoundError(f"{crate['name']} has no licence in {bundled}")
            sections.append(_section(f"{bundled}, in {crate['name']} {crate['version']}", texts))
    return "\n".join(sections)


def _is_apache(crate: dict[str, Any]) -> bool:
    ways = crate["license"].replace("/", " OR ").split(" OR ")
    return "Apache-2.0" in (way.strip() for way in ways)


def _texts(folder: Path) -> list[str]:
    files = sorted(
        path for path in folder.iterdir() if path.name.upper().startswith(_PREFIXES) and path.is_file()
    )
    return [path.read_text(encoding="utf-8") for path in files]


def _own_text(crate: dict[str, Any]) -> str:
    if crate["license"] != "MIT":
        raise FileNotFoundError(f"{crate['name']} has no file with its licence, {crate['license']}")
    return f"Copyright (c) {', '.join(crate['authors'])}\n\n{_MIT}"


def _section(title: str, texts: list[str]) -> str:
    lines = "\n\n".join(text.strip("\n") for text in texts).splitlines()
    return "\n".join([f"{'-' * 100}\n{title}\n", *(line.rstrip() for line in lines)]) + "\n"


if __name__ == "__main__":
    for path, text in notices():
        path.write_text(text, encoding="utf-8")
        print(f"written: {path.relative_to(ROOT)}")
