from __future__ import annotations

import base64
import hashlib
import socket
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import pytest
from scorewire_gateway.files import answering
from scorewire_gateway.files.folder import Folder, Listing, OpenFile
from scorewire_gateway.settings import read_settings

from scorewire import Client
from scorewire.testing import FakeServer
from scorewire_contract.service.settings import SettingError
from tests.processes import TIMEOUT_SECONDS, wait_until
from tests.scorewire_gateway.gateways import gateway_thread
from tests.scorewire_gateway.sockets import connection

REPORT = "<!doctype html><script>1</script>"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of reports, next to a secret."""
    root = tmp_path / "root"
    (root / "churn/1.0.0").mkdir(parents=True)
    (root / "churn/1.0.0/report.html").write_text(REPORT)
    (root / "scores.csv").write_text("a\n1\n")
    (root / "empty.txt").write_text("")
    (root / ".secret").write_text("secret")
    (tmp_path / "secret.txt").write_text("secret")
    (root / "link.txt").symlink_to(tmp_path / "secret.txt")
    return root


@pytest.fixture
def files(fake: FakeServer, root: Path) -> Iterator[httpx.Client]:
    """A client of a gateway that offers the folder."""
    with gateway_thread(fake.address, files=(("", root),)) as http:
        yield http


def raw(http: httpx.Client, target: str) -> bytes:
    """The answer to a request whose path no client library has changed."""
    with socket.create_connection((http.base_url.host, http.base_url.port or 0), timeout=60) as connection:
        connection.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        content = b""
        while piece := connection.recv(65_536):
            content += piece
        return content


def test_folders_are_listed(files: httpx.Client) -> None:
    top = files.get("/files").json()
    assert [(each["name"], each["kind"]) for each in top["entries"]] == [
        ("churn", "folder"),
        ("empty.txt", "file"),
        ("scores.csv", "file"),
    ]
    assert (top["path"], top["truncated"]) == ("", False)
    for path in ("/files/churn/1.0.0", "/files/churn/1.0.0/"):
        inner = files.get(path).json()
        assert inner["path"] == "churn/1.0.0"
        assert [(each["name"], each["bytes"]) for each in inner["entries"]] == [("report.html", len(REPORT))]


def test_a_report_comes_with_its_digest_and_runs_nothing(files: httpx.Client) -> None:
    answer = files.get("/files/churn/1.0.0/report.html")
    assert (answer.status_code, answer.text) == (200, REPORT)
    digest = base64.b64encode(hashlib.sha256(REPORT.encode()).digest()).decode()
    assert answer.headers["Repr-Digest"] == f"sha-256=:{digest}:"
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.headers["Content-Length"] == str(len(REPORT))
    assert answer.headers.get_list("Content-Security-Policy") == [
        "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:;"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    ]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Accept-Ranges"] == "bytes"
    head = files.head("/files/churn/1.0.0/report.html")
    assert (head.status_code, head.content) == (200, b"")
    same = ("etag", "repr-digest", "content-length", "content-type", "last-modified", "content-disposition")
    assert {name: head.headers[name] for name in same} == {name: answer.headers[name] for name in same}


def test_ranges_of_a_file(files: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering, "_PIECE_BYTES", 7)
    path = "/files/churn/1.0.0/report.html"
    whole = files.get(path)
    part = files.get(path, headers={"Range": "bytes=5-20", "If-Range": whole.headers["ETag"]})
    assert (part.status_code, part.text) == (206, REPORT[5:21])
    assert part.headers["Content-Range"] == f"bytes 5-20/{len(REPORT)}"
    assert part.headers["Repr-Digest"] == whole.headers["Repr-Digest"]
    assert files.get(path, headers={"Range": "bytes=-3"}).text == REPORT[-3:]
    other = files.get(path, headers={"Range": "bytes=5-20", "If-Range": '"other"'})
    assert (other.status_code, other.text) == (200, REPORT)
    beyond = files.get(path, headers={"Range": "bytes=1000-"})
    assert (beyond.status_code, beyond.headers["Content-Range"]) == (416, f"bytes */{len(REPORT)}")
    assert beyond.json()["error"]["reason"] == "RANGE_NOT_SATISFIABLE"
    empty = files.get("/files/empty.txt")
    assert (empty.status_code, empty.content, empty.headers["Content-Length"]) == (200, b"", "0")


def test_conditions_save_the_download(files: httpx.Client) -> None:
    whole = files.get("/files/scores.csv")
    assert whole.headers["Content-Disposition"] == 'attachment; filename="scores.csv"'
    again = files.get("/files/scores.csv", headers={"If-None-Match": whole.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["ETag"] == whole.headers["ETag"]
    assert files.get("/files/scores.csv", headers={"If-Match": '"x"'}).status_code == 412


def test_a_new_version_has_another_digest(files: httpx.Client, root: Path) -> None:
    before = files.get("/files/scores.csv").headers
    (root / "scores.new").write_text("a\n2\n")
    (root / "scores.new").rename(root / "scores.csv")
    answer = files.get("/files/scores.csv", headers={"If-None-Match": before["ETag"]})
    assert (answer.status_code, answer.text) == (200, "a\n2\n")
    assert answer.headers["Repr-Digest"] != before["Repr-Digest"]


@pytest.mark.parametrize(
    "target",
    [
        "/files/../secret.txt",
        "/files/%2e%2e/secret.txt",
        "/files/%2e%2e%2fsecret.txt",
        "/files/..%2fsecret.txt",
        "/files/churn/..%2f..%2fsecret.txt",
        "/files/churn/%2e%2e/%2e%2e/secret.txt",
        "/files/%252e%252e/secret.txt",
        "/files/..%5csecret.txt",
        "/files//etc/passwd",
        "/files/%2fetc%2fpasswd",
        "/files/link.txt",
        "/files/.secret",
        "/files/scores.csv%00.txt",
        "/files/%ff",
        "/files/scores.csv/x",
        "/files/none",
        "/files/" + "a/" * 2000,
        "/files/" + "a" * 5000,
    ],
)
def test_no_path_leaves_the_folder(files: httpx.Client, target: str) -> None:
    content = raw(files, target)
    assert content.startswith(b"HTTP/1.1 404 "), content[:200]
    assert b"secret\n" not in content
    assert b"root:" not in content


def test_a_file_that_becomes_shorter_cuts_the_answer(fake: FakeServer, root: Path) -> None:
    large = root / "large.bin"
    large.write_bytes(b"x" * 20_000_000)
    with gateway_thread(fake.address, files=(("", root),)) as http:
        with (
            http.stream("GET", "/files/large.bin") as answer,
            pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"),
        ):
            shorten_after_first(answer.iter_raw(), large)
        assert http.get("/files/scores.csv").status_code == 200


def test_a_client_that_goes_away_leaves_no_open_file(
    fake: FakeServer, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, left = threading.Event(), threading.Event()
    real_open = Folder.open

    def slow_open(self: Folder, names: Sequence[str]) -> OpenFile | Listing:
        found = real_open(self, names)
        opened.set()
        assert left.wait(TIMEOUT_SECONDS)
        return found

    def is_open() -> bool:
        return any(each.samefile(path) for each in Path("/proc/self/fd").iterdir() if each.exists())

    path = root / "scores.csv"
    monkeypatch.setattr(Folder, "open", slow_open)
    with gateway_thread(fake.address, files=(("", root),), max_connections=1) as http:
        with connection(http) as raw_connection:
            raw_connection.sendall(b"GET /files/scores.csv HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert opened.wait(TIMEOUT_SECONDS)
            assert is_open()
        wait_until(lambda: http.get("/health").status_code == 200, "room for another connection")
        left.set()
        wait_until(lambda: not is_open(), "the end of the file")


def shorten_after_first(pieces: Iterator[bytes], path: Path) -> None:
    next(pieces)
    path.write_bytes(b"")
    for _ in pieces:
        pass


def test_several_folders_have_names(fake: FakeServer, root: Path, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more/b.txt").write_text("b")
    with gateway_thread(fake.address, files=(("reports", root), ("more", tmp_path / "more"))) as http:
        assert [each["name"] for each in http.get("/files").json()["entries"]] == ["more", "reports"]
        assert http.get("/files/more/b.txt").text == "b"
        assert http.get("/files/reports/scores.csv").text == "a\n1\n"
        for path in ("/files/b.txt", "/files/other/b.txt", "/files/", "/files/more/../reports/scores.csv"):
            assert raw(http, path).startswith(b"HTTP/1.1 404 ")


def test_without_folders_there_are_no_files(http: httpx.Client) -> None:
    for path in ("/files", "/files/a.txt"):
        answer = http.get(path)
        assert (answer.status_code, answer.json()["error"]["reason"]) == (404, "FILES_OFF")


def test_settings_of_folders(tmp_path: Path) -> None:
    def read(text: str) -> tuple[tuple[str, Path], ...]:
        return read_settings({"server": "127.0.0.1:1", "files": text}, {}).files

    assert read(str(tmp_path)) == (("", tmp_path),)
    assert read(f"a={tmp_path}, b={tmp_path}") == (("a", tmp_path), ("b", tmp_path))
    for text in (f"{tmp_path},b={tmp_path}", f"a={tmp_path},a={tmp_path}", f"a/b={tmp_path}", "a=", ""):
        with pytest.raises(SettingError, match="files"):
            read(text)
    with pytest.raises(SettingError, match="is not a folder"):
        read(str(tmp_path / "none"))


def test_the_schema_and_the_typed_service_of_a_model(http: httpx.Client, fake: FakeServer) -> None:
    schema = http.get("/models/churn/schema")
    assert schema.headers["Content-Disposition"].endswith('filename="churn-1.0.0.schema.json"')
    described = http.get("/models/churn").json()
    assert schema.json() == {"model": "churn", "version": "1.0.0"} | described["schema"]
    proto = http.get("/models/churn/proto", params={"version": "1.0.0"})
    with Client(fake.address) as client:
        assert proto.text == client.model("churn").proto
    assert proto.headers["Content-Type"] == "text/plain; charset=utf-8"
    for path in ("schema", "proto"):
        assert http.get(f"/models/none/{path}").status_code == 404
