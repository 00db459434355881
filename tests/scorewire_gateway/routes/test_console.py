"""The console's files: what they are, and how browsers and CDNs may keep them."""

from __future__ import annotations

import gzip
import re
from pathlib import PurePosixPath

import httpx
import pytest
from scorewire_gateway.console.pages import Console, read_console


@pytest.fixture(scope="module")
def console() -> Console:
    return read_console()


def asset(http: httpx.Client, console: Console, path: str, **headers: str) -> httpx.Response:
    return http.get(f"/console/assets/{console.version}/{path}", headers=headers)


@pytest.mark.parametrize("path", ["/", "/console"])
def test_short_addresses_lead_to_the_console(http: httpx.Client, path: str) -> None:
    answer = http.get(path)
    assert (answer.status_code, answer.headers["Location"]) == (307, "console/")
    assert http.get(path, follow_redirects=True).headers["Content-Type"] == "text/html; charset=utf-8"


def test_the_page_is_asked_for_each_time_and_its_assets_never_again(
    http: httpx.Client, console: Console
) -> None:
    page = http.get("/console/")
    assert page.headers["Cache-Control"] == "no-cache"
    again = http.get("/console/", headers={"If-None-Match": page.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    found = re.findall(r'(?:href|src)="(assets/[^"]+)"', page.text)
    assert len(found) == 6
    for path in found:
        answer = http.get(f"/console/{path}")
        assert answer.status_code == 200, path
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert console.version in path


def test_another_release_has_other_addresses(http: httpx.Client) -> None:
    answer = http.get("/console/assets/0123456789abcdef/main.js")
    assert (answer.status_code, answer.headers["Cache-Control"]) == (404, "no-store")
    assert answer.json()["error"]["reason"] == "ASSET_NOT_FOUND"


@pytest.mark.parametrize("path", ["../pages.py", "%2e%2e/pages.py", "views/nothing.js", "", "__init__.py"])
def test_nothing_but_assets_is_given_out(http: httpx.Client, console: Console, path: str) -> None:
    assert http.get(f"/console/assets/{console.version}/{path}").status_code == 404


@pytest.mark.parametrize(
    ("accepts", "coding"),
    [("gzip", "gzip"), ("br, gzip;q=0.5", "gzip"), ("identity", None), ("gzip;q=0", None), ("", None)],
)
def test_assets_are_compressed_for_who_takes_it(
    http: httpx.Client, console: Console, accepts: str, coding: str | None
) -> None:
    url = f"/console/assets/{console.version}/dom.js"
    with http.stream("GET", url, headers={"Accept-Encoding": accepts}) as answer:
        raw = b"".join(answer.iter_raw())
    assert answer.headers.get("Content-Encoding") == coding
    assert answer.headers["Vary"] == "Accept-Encoding"
    body = gzip.decompress(raw) if coding else raw
    assert body == console.assets["dom.js"].body
    assert answer.headers["ETag"] != asset(http, console, "main.js").headers["ETag"]


def test_compressed_and_plain_bytes_have_tags_of_their_own(http: httpx.Client, console: Console) -> None:
    plain = asset(http, console, "dom.js", **{"Accept-Encoding": "identity"})
    compressed = asset(http, console, "dom.js", **{"Accept-Encoding": "gzip"})
    assert plain.headers["ETag"] != compressed.headers["ETag"]
    tags = {"Accept-Encoding": "gzip", "If-None-Match": f'"other", W/{compressed.headers["ETag"]}'}
    assert asset(http, console, "dom.js", **tags).status_code == 304


def test_a_head_has_no_body(http: httpx.Client) -> None:
    answer = http.head("/console/")
    assert (answer.status_code, answer.content) == (200, b"")
    assert int(answer.headers["Content-Length"]) > 0


def test_pages_take_scripts_and_styles_of_the_gateway_only(http: httpx.Client) -> None:
    answer = http.get("/console/")
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_the_page_has_no_script_or_style_within_it(console: Console) -> None:
    page = console.index.body.decode()
    assert re.findall(r"<script(?![^>]*src=)", page) == []
    assert re.findall(r"<style|\sstyle=|\son\w+=", page) == []
    assert re.findall(r"https?://", page) == []


# Ways to make markup or a program of a text.
DANGEROUS = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc|DOMParser"
    r"|createContextualFragment|setHTMLUnsafe|setAttribute\(\"style|javascript:"
)


def test_no_module_makes_markup_of_text(console: Console) -> None:
    wrong = {
        path: found
        for path, page in console.assets.items()
        if path.endswith(".js") and (found := DANGEROUS.findall(_code(page.body.decode())))
    }
    assert wrong == {}


def test_each_module_is_there_and_is_used(console: Console) -> None:
    used = {"main.js", "theme.js"}
    for path, page in console.assets.items():
        if not path.endswith(".js"):
            continue
        for target in re.findall(r'(?:from|import\()\s*"([^"]+)"', page.body.decode()):
            assert target.startswith("."), (path, target)
            used.add(_resolve(path, target))
    assert used == {path for path in console.assets if path.endswith(".js")}


def test_modules_are_small(console: Console) -> None:
    lines = {path: page.body.count(b"\n") for path, page in console.assets.items() if path.endswith(".js")}
    assert max(lines.values()) <= 300, lines
    assert sum(len(page.compressed) for page in console.assets.values()) < 100_000


def _code(text: str) -> str:
    """A program without its comments."""
    return re.sub(r"/\*.*?\*/|^\s*//.*?$", "", text, flags=re.DOTALL | re.MULTILINE)


def _resolve(path: str, target: str) -> str:
    parts = list(PurePosixPath(path).parent.parts)
    for part in PurePosixPath(target).parts:
        if part == "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)
