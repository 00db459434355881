"""The snippets of README and of the pages run, and show what really comes out."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from tests.docs.commands import check_command
from tests.docs.pages import PAGES, ROOT, read_blocks, read_inline_code
from tests.docs.running import PageRun, SnippetError
from tests.docs.world import World

WITH_SNIPPETS = [page for page in PAGES if page.name != "CHANGELOG.md"]


def names(pages: list[Path]) -> list[str]:
    return [page.relative_to(ROOT).as_posix() for page in pages]


@pytest.mark.parametrize("page", WITH_SNIPPETS, ids=names(WITH_SNIPPETS))
def test_the_snippets_of_a_page_run(
    page: Path, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = read_blocks(page.read_text(encoding="utf-8"))
    with PageRun(str(page), tmp_path / "page", world) as run:
        monkeypatch.chdir(tmp_path / "page")
        for block in blocks:
            run.run(block)


@pytest.mark.parametrize("page", WITH_SNIPPETS, ids=names(WITH_SNIPPETS))
def test_commands_in_the_text_of_a_page_exist(page: Path) -> None:
    for code, line in read_inline_code(page.read_text(encoding="utf-8")):
        if code.startswith(("scorewire ", "make ", "python -m tests")) and "…" not in code:
            try:
                check_command(code.replace(" ...", ""))
            except ValueError as error:
                pytest.fail(f"{page}:{line}: {error}")


@pytest.mark.parametrize("page", WITH_SNIPPETS, ids=names(WITH_SNIPPETS))
def test_settings_in_a_page_can_be_read(page: Path) -> None:
    readers = {"json": json.loads, "toml": tomllib.loads}
    for block in read_blocks(page.read_text(encoding="utf-8")):
        if block.language in readers and block.marker != "not run":
            try:
                readers[block.language](block.text)
            except ValueError as error:
                pytest.fail(f"{page}:{block.line}: {error}")


def _run(text: str, folder: Path, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with PageRun("page.md", folder / "page", world) as run:
        monkeypatch.chdir(folder / "page")
        for block in read_blocks(text):
            run.run(block)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("One\n\n```python\nx = 1\nx.y\n```\n", r"page.md:5: AttributeError"),
        ("```python\nx = 1\n```\n\n```python\ny = x\n\nz = yy\n```\n", r"page.md:8: NameError"),
        ("```python\nif\n```\n", r"page.md:2: SyntaxError"),
        ("```python\ndef test_it():\n    assert 0\n```\n", r"page.md:2: (?s:.*)assert 0"),
        ("```console\n$ exit 3\n```\n", "page.md:2: exit 3: exit code 3"),
        (
            "```console\n$ echo one\none\n$ echo one\ntwo\n```\n",
            "page.md:4: echo one: its output has no 'two'",
        ),
        ("```console\n$ scorewire predict --no-such x\n```\n", "page.md:2: .*No such option.*--no-such"),
        ("```console\n$ scorewire bake\n```\n", "page.md:2: (?s:.*)no command 'bake'"),
        ("```console\n$ make bread\n```\n", "page.md:2: the Makefile has no target bread"),
        ("```console\n$ python -m tests.nothing\n```\n", "page.md:2: there is no module tests.nothing"),
        ("<!-- snippet fails: it must -->\n```python\nx = 1\n```\n", "page.md:3: the snippet does not fail"),
        ("<!-- snippet not run: slow -->\n```console\n$ scorewire load --no\n```\n", "page.md:3: .*--no"),
    ],
)
def test_a_snippet_that_fails_is_told_with_page_and_line(
    text: str, told: str, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SnippetError, match=told):
        _run(text, tmp_path, world, monkeypatch)


@pytest.mark.parametrize(
    "text",
    [
        "<!-- snippet setup:\nx = 3\n-->\n\n```python\nassert x == 3\n```\n",
        "<!-- snippet not run: it only illustrates -->\n\n```python\nx = nothing\n```\n",
        "<!-- snippet fails: bad input -->\n```console\n$ scorewire verify nowhere\n```\n",
        "```console\n$ echo one   two \\\n    three\none ... three\n```\n",
        "```\nno language, no program\n```\n",
    ],
)
def test_markers_and_output_are_understood(
    text: str, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _run(text, tmp_path, world, monkeypatch)


def test_snippets_reach_the_server_of_their_page(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = """\
```console
$ scorewire serve --models models --engine reference --metrics-port 9090
$ scorewire models split churn 1.0.0=90 1.1.0=10
churn: 1.0.0 90.0%, 1.1.0 10.0%
```

```python
from scorewire import Client

with Client("127.0.0.1:8500") as client:
    assert client.server_info is not None
```
"""
    with pytest.raises(SnippetError, match="page.md:11: AttributeError"):
        _run(text, tmp_path, world, monkeypatch)


@pytest.mark.parametrize("text", ["<!-- snippet not run: x -->\n\nText\n", "<!-- snippet not run: -->\n"])
def test_a_marker_without_a_block_or_a_reason_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="line "):
        read_blocks(text)
