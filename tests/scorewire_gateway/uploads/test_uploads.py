"""Tables that are uploaded come back with their predictions; bad ones are told before anything is sent."""

from __future__ import annotations

import contextlib
import io
import json
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from scorewire_gateway.metrics import Metrics
from scorewire_gateway.uploads import tables

from scorewire.tables import FileError
from scorewire.testing import FakeModel, FakeServer
from scorewire_contract.cli import main
from tests.fake_models import CHURN
from tests.processes import wait_until
from tests.scorewire_gateway.gateways import gateway_thread

CSV, PARQUET, LINES = "text/csv", "application/vnd.apache.parquet", "application/x-ndjson"
ROWS = 'id,country,age\n007,pe,40\n008,pe,many\n009,de,\n"a""b,\nc",de,80\n'
HEADER = "id,country,age,score,label,probabilities_no,probabilities_yes,error"


def upload(http: httpx.Client, content: bytes | str, kind: str = CSV, **headers: str) -> httpx.Response:
    return http.post("/models/churn:predict", content=content, headers={"Content-Type": kind, **headers})


def parquet(**columns: Any) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


def parquet_of(names: list[str]) -> bytes:
    """A table of one row with columns of these names, which may be the same."""
    file = io.BytesIO()
    pq.write_table(pa.table([pa.array([1])] * len(names), names=names), file)
    return file.getvalue()


def told(answer: httpx.Response, code: int = 400) -> str:
    assert answer.status_code == code, answer.text
    return str(answer.json()["error"]["message"])


def command(fake: FakeServer, folder: Path, source: str, content: bytes, target: str) -> bytes:
    """What `scorewire predict` writes."""
    (folder / source).write_bytes(content)
    arguments = ["predict", "--model", "churn", "--address", fake.address, "--force"]
    arguments += ["--input", str(folder / source), "--output", str(folder / target)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    return (folder / target).read_bytes()


def test_csv_comes_back_as_the_command_writes_it(
    http: httpx.Client, fake: FakeServer, tmp_path: Path
) -> None:
    answer = upload(http, ROWS)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Scorewire-Version"] == "1.0.0"
    assert answer.content == command(fake, tmp_path, "in.csv", ROWS.encode(), "out.csv")
    assert answer.text.startswith(HEADER + "\n")


@pytest.mark.parametrize("kind", [CSV, PARQUET])
def test_parquet_comes_back_as_the_command_writes_it(
    http: httpx.Client, fake: FakeServer, tmp_path: Path, kind: str
) -> None:
    content = parquet(
        country=["pe", None, "de"], age=pa.array([40, None, 2**53 + 1]), when=[Decimal("1.5")] * 3
    )
    answer = upload(http, content, PARQUET, Accept=kind)
    assert answer.status_code == 200, answer.text
    target = "out.csv" if kind == CSV else "out.parquet"
    wanted = command(fake, tmp_path, "in.parquet", content, target)
    if kind == CSV:
        assert answer.content == wanted
    else:
        assert pq.read_table(io.BytesIO(answer.content)).equals(pq.read_table(io.BytesIO(wanted)))


def test_json_lines_have_a_row_each(http: httpx.Client) -> None:
    content = parquet(
        country=["pe", "pe"], age=[40.0, None], when=[Decimal("1.5")] * 2, nested=[{"a": [b"x"]}, None]
    )
    first, second = map(json.loads, upload(http, content, PARQUET, Accept=LINES).text.splitlines())
    assert (first["score"], first["label"], first["error"]) == (0.4, "no", None)
    assert (first["when"], first["nested"]) == ("1.5", {"a": ["x"]})
    assert (second["age"], second["score"], second["error"]) == (None, None, "age is missing")


@pytest.mark.parametrize("name", ["rows.csv", "rows"])
def test_a_form_with_a_file_is_a_table(http: httpx.Client, name: str) -> None:
    wanted = upload(http, ROWS).content
    kind = "application/octet-stream" if name == "rows.csv" else CSV
    answer = http.post("/models/churn/versions/1.0.0:predict", files={"file": (name, ROWS, kind)})
    assert (answer.status_code, answer.content) == (200, wanted)


BOUNDARY = "multipart/form-data; boundary=b"


def part(head: str, content: str = "country,age\npe,1\n") -> str:
    return f"--b\r\n{head}\r\n\r\n{content}\r\n"


OTHER = 'Content-Disposition: form-data; name="a"'
FILE = 'Content-Disposition: form-data; name="file"; filename="rows.csv"'


@pytest.mark.parametrize(
    ("kind", "body", "code", "message"),
    [
        ("multipart/form-data", part(FILE) + "--b--", 400, "its Content-Type has no boundary"),
        (BOUNDARY, part(FILE), 400, "it ends before its last boundary"),
        (BOUNDARY, part(FILE) + part(FILE) + "--b--", 400, "its part named file is not the last one"),
        (BOUNDARY, "--b--", 400, "it has no part named file"),
        (BOUNDARY, part(OTHER) + "--b--", 400, "it has no part named file"),
        (BOUNDARY, part(OTHER) + part(FILE) + "--b--", 400, "the form has a part 'a'; its only part is"),
        (BOUNDARY, part(FILE.replace(".csv", ".exe")) + "--b--", 415, "the body is 'of no type'"),
        (BOUNDARY, part(FILE + "\r\nX: " + "y" * 5000) + "--b--", 400, "the form cannot be read"),
        (
            BOUNDARY,
            part("\r\n".join([FILE, *(f"X{i}: y" for i in range(9))])),
            400,
            "the form cannot be read",
        ),
        (BOUNDARY, "nonsense", 400, "the form cannot be read"),
    ],
)
def test_what_is_no_form_with_a_table_is_refused(
    http: httpx.Client, kind: str, body: str, code: int, message: str
) -> None:
    assert message in told(upload(http, body, kind), code)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no header"),
        (b"\n\n", "no header"),
        (b"id;country;age\n1;pe;2\n", "the input has no column 'age', which churn takes (a comma separates"),
        (b"id,country,Age\n1,pe,2\n", "(its column 'Age' looks like it)"),
        (b"country,age\npe,1,2\n", "line 2: 3 values for 2 columns"),
        (b"country,age\npe,1\nde\n", "line 3: 1 values for 2 columns"),
        (b'country,age\n"pe,1\n', "after line 2: unexpected end of data"),
        (b'country,age\n"p"e,1\n', "after line 2: ',' expected after '\"'"),
        ("country,age\npe,1\n".encode("utf-16"), "it is not UTF-8, as its byte 0xff shows"),
        ("country,age\nPerú,1\n".encode() + "Perú,2\n".encode("latin-1"), "its byte 0xfa shows"),
        (b"country,age,country\npe,1,2\n", "more than one column 'country'"),
        (b"country,age,score\npe,1,2\n", "a column 'score', which the output needs: rename it"),
        (b"country,age\n" + b"x" * 200_000 + b",1\n", "field larger than field limit"),
        (",".join(f"c{i}" for i in range(10_000)).encode(), "10,000 columns, more than 4,096"),
    ],
)  # fmt: skip
def test_bad_csv_is_told(http: httpx.Client, content: bytes, message: str) -> None:
    answer = upload(http, content)
    assert message in told(answer)
    assert answer.json()["error"]["reason"] == "INVALID_TABLE"


def test_csv_may_have_a_byte_order_mark_quotes_and_no_rows(http: httpx.Client) -> None:
    answer = upload(http, b'\xef\xbb\xbf"country","age"\r\n"pe","40"\r\n')
    assert answer.text.splitlines()[1].startswith("pe,40,0.4,no")
    assert upload(http, "id,country,age\n").text == HEADER + "\n"


def test_many_columns_are_scored(http: httpx.Client) -> None:
    names = ["country", "age", *(f"c{i}" for i in range(4000))]
    answer = upload(http, ",".join(names) + "\n" + ("pe,40" + ",x" * 4000 + "\n") * 60)
    assert answer.status_code == 200, answer.text
    assert len(answer.text.splitlines()) == 61


def bomb() -> bytes:
    """A file of a few KB with one value of 60 MB."""
    file = io.BytesIO()
    pq.write_table(
        pa.table({"country": ["x" * 60_000_000], "age": [1.0]}),
        file,
        compression="zstd",
        use_dictionary=False,
        write_statistics=False,
    )
    return file.getvalue()


def test_a_file_that_unpacks_to_too_much_is_refused(
    http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = bomb()
    assert len(content) < 100_000
    assert "more than 16 MiB" in told(upload(http, content, PARQUET))
    monkeypatch.setattr(tables, "MEMORY_BYTES", 32 << 20)
    assert "needs more than 32 MiB of memory" in told(upload(http, content, PARQUET))


def test_a_dictionary_that_stands_for_too_much_is_refused(
    http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "MEMORY_BYTES", 256 << 20)
    text = pa.DictionaryArray.from_arrays(np.zeros(100_000, dtype=np.int32), ["x" * 1_000_000])
    content = parquet(country=text, age=np.zeros(100_000))
    assert len(content) < 1_000_000
    assert "needs more than 256 MiB of memory" in told(upload(http, content, PARQUET))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PAR1", "not a Parquet file that can be read"),
        (b"country,age\npe,1\n" * 10, "not a Parquet file that can be read"),
        (parquet(country=["pe"] * 9, age=[1.0] * 9)[:-9], "not a Parquet file that can be read"),
        (parquet(country=["pe"], age=[1.0], error=["x"]), "a column 'error', which the output needs"),
        (parquet(country=["pe"]), "no column 'age'"),
        (parquet_of(["x" * 200_000] * 2), "more than one column 'xxx"),
        (parquet(**{f"c{i}": [1] for i in range(5000)}), "5,000 columns, more than 4,096"),
    ],
)  # fmt: skip
def test_bad_parquet_is_told(http: httpx.Client, content: bytes, message: str) -> None:
    assert message in told(upload(http, content, PARQUET))


def test_damaged_parquet_is_told_before_anything_is_sent(http: httpx.Client) -> None:
    rng = np.random.default_rng(1)
    content = bytearray(parquet(country=["pe"] * 20_000, age=rng.normal(size=20_000)))
    for position in range(len(content) // 2, len(content) // 2 + 2000):
        content[position] ^= 0xFF
    answer = upload(http, bytes(content), PARQUET)
    assert answer.status_code in (200, 400)
    content = bytearray(parquet(country=["pe"] * 20_000, age=["x" * 9 + str(i) for i in range(20_000)]))
    for position in range(len(content) // 2, len(content) // 2 + 2000):
        content[position] = 0xFF
    assert "the upload" in told(upload(http, bytes(content), PARQUET))


@pytest.mark.parametrize(("kind", "content"), [(CSV, "x,y\n" + "1,2\n" * 11), (PARQUET, parquet(x=[1] * 11))])
def test_rows_have_a_bound(fake: FakeServer, kind: str, content: Any) -> None:
    with gateway_thread(fake.address, max_upload_rows=10) as http:
        assert "rows" in told(upload(http, content, kind))
        assert "send it in parts" in told(upload(http, content, kind))


def test_bytes_have_a_bound(fake: FakeServer) -> None:
    with gateway_thread(fake.address, max_upload_bytes=2000) as http:
        assert "longer than 2000 bytes" in told(upload(http, "country,age\n" + "pe,1\n" * 500), 413)

        def pieces() -> Iterator[bytes]:
            yield b"country,age\n"
            for _ in range(500):
                yield b"pe,1\n"

        answer = http.post("/models/churn:predict", content=pieces(), headers={"Content-Type": CSV})
        assert answer.status_code == 413
        assert upload(http, ROWS).status_code == 200


def test_other_refusals(http: httpx.Client) -> None:
    assert "send application/json, text/csv" in told(upload(http, ROWS, "text/plain"), 415)
    assert "without Content-Encoding" in told(upload(http, ROWS, **{"Content-Encoding": "gzip"}), 415)
    assert "no format of tables" in told(upload(http, ROWS, Accept="application/json"), 406)
    assert "there is no model 'none'" in told(
        http.post("/models/none:predict", content=ROWS, headers={"Content-Type": CSV}), 404
    )
    answer = http.post("/models/churn:predict?ids=maybe", content=ROWS, headers={"Content-Type": CSV})
    assert "ids is true or false" in told(answer)


def test_ids_of_records_are_a_column(
    http: httpx.Client, fake: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake, "records", True)
    answer = http.post("/models/churn:predict?ids=true", content=ROWS, headers={"Content-Type": CSV})
    header, first, *_ = answer.text.splitlines()
    assert header.endswith(",record_id")
    assert first.endswith("-0/0")


def test_an_answer_over_http_1_0_is_refused(http: httpx.Client) -> None:
    with connected(http) as connection:
        connection.sendall(request(ROWS.encode()).replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert received(connection).startswith(b"HTTP/1.1 505 ")


def score_once(row: dict[str, Any]) -> float:
    if row["x"] == 30_000:
        raise ValueError("a fault of the model")
    return float(row["x"])


@pytest.mark.parametrize("accept", [CSV, PARQUET, LINES])
def test_a_failure_in_the_middle_cuts_the_answer_short(accept: str, cut: Callable[[str], float]) -> None:
    once = FakeModel(name="once", features={"x": float}, score=score_once)
    rows = "x\n" + "".join(f"{i}\n" for i in range(60_000))
    headers = {"Content-Type": CSV, "Accept": accept}
    with FakeServer(once) as fake, gateway_thread(fake.address) as http:
        pieces: list[bytes] = []
        with (
            http.stream("POST", "/models/once:predict", content=rows, headers=headers) as answer,
            pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"),
        ):
            pieces.extend(answer.iter_bytes())
        content = b"".join(pieces)
        assert answer.status_code == 200
        if accept != PARQUET:
            assert 1000 < len(content.splitlines()) <= 30_002
        if accept == LINES:
            assert set(json.loads(content.splitlines()[-1])["error"]) >= {"status", "message"}
        assert (cut("server"), cut("client")) == (1, 0)
        assert upload(http, "x\n1\n").status_code == 404  # the gateway goes on


def test_a_client_that_does_not_read_is_left(fake: FakeServer, cut: Callable[[str], float]) -> None:
    with gateway_thread(fake.address, max_stall_seconds=0.3, max_uploads=1, max_connections=1) as http:
        with connected(http) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.sendall(request(LARGE))
            assert connection.recv(15) == b"HTTP/1.1 200 OK"
            wait_until(lambda: cut("client") == 1, "the end of the answer")
            # Its connection has ended, too, though the client holds it.
            wait_until(lambda: is_healthy(http), "room for another connection")
        wait_until(lambda: upload(http, ROWS).status_code == 200, "room for another upload")


def is_healthy(http: httpx.Client) -> bool:
    """Whether the gateway takes another connection."""
    try:
        return http.get("/health").status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.parametrize("kind", [CSV, PARQUET])
def test_a_client_that_goes_away_is_left(fake: FakeServer, cut: Callable[[str], float], kind: str) -> None:
    before, unnamed = pipes(), unnamed_files()
    content = LARGE if kind == CSV else parquet(country=["pe"] * 200_000, age=[1.0] * 200_000)
    with gateway_thread(fake.address, max_uploads=1) as http:
        with connected(http) as connection:
            connection.sendall(request(content, kind))
            assert connection.recv(15) == b"HTTP/1.1 200 OK"
            assert told(upload(http, ROWS), 429).startswith("the gateway answers 1 uploads already")
        wait_until(lambda: cut("client") == 1, "the end of the answer")
        wait_until(lambda: upload(http, ROWS).status_code == 200, "room for another upload")
        wait_until(lambda: unnamed_files() <= unnamed, "the end of the file of the upload")
    wait_until(lambda: pipes() <= before, "the end of the process that reads Parquet")


def test_a_client_that_goes_away_during_the_check_is_left(
    fake: FakeServer, cut: Callable[[str], float], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = threading.Event()

    def wait(self: tables.Opening) -> Any:
        begun.set()
        while not self._stopped.wait(1):
            pass
        self._upload.file.close()
        raise FileError("the opening was stopped")

    monkeypatch.setattr(tables.Opening, "open", wait)
    with gateway_thread(fake.address) as http:
        with connected(http) as connection:
            connection.sendall(request(ROWS.encode()))
            assert begun.wait(60)
        wait_until(lambda: cut("client") == 1, "the end of the upload")


def test_a_client_that_goes_away_while_it_sends_is_left(fake: FakeServer) -> None:
    unnamed = unnamed_files()
    with gateway_thread(fake.address, max_uploads=1) as http:
        with connected(http) as connection:
            connection.sendall(request(LARGE)[:100_000])
            wait_until(lambda: upload(http, ROWS).status_code == 429, "the upload")
        wait_until(lambda: upload(http, ROWS).status_code == 200, "room for another upload")
        wait_until(lambda: unnamed_files() <= unnamed, "the end of the file of the upload")


LARGE = b"country,age\n" + b"pe,40\n" * 400_000


def request(content: bytes, kind: str = CSV) -> bytes:
    head = f"POST /models/churn:predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content


@contextmanager
def connected(http: httpx.Client) -> Iterator[socket.socket]:
    with socket.create_connection((http.base_url.host, http.base_url.port or 0)) as connection:
        connection.settimeout(60)
        yield connection


def received(connection: socket.socket) -> bytes:
    content = b""
    while piece := connection.recv(65_536):
        content += piece
    return content


def unnamed_files() -> set[str]:
    """The open files of this process that have no name any more."""
    return {
        each for each in open_files() if each.startswith(tempfile.gettempdir()) and each.endswith("(deleted)")
    }


def pipes() -> set[str]:
    """The pipes of this process, such as those to a process of its own."""
    return {each for each in open_files() if each.startswith("pipe:")}


def open_files() -> list[str]:
    found = []
    for each in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found.append(str(each.readlink()))
    return found


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeServer]:
    """A fake server that the tests of this module share."""
    with FakeServer(CHURN) as server:
        yield server


@pytest.fixture(scope="module")
def http(fake: FakeServer) -> Iterator[httpx.Client]:
    """An HTTP client of a gateway in front of `fake`, for all tests of this module."""
    with gateway_thread(fake.address) as client:
        yield client


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], float]:
    """Counts the answers that were cut short, by cause, in a gateway that is made after this."""
    metrics = Metrics()
    monkeypatch.setattr("scorewire_gateway.app.Metrics", lambda: metrics)

    def count(cause: str) -> float:
        name = "scorewire_gateway_uploads_cut_total"
        return metrics.registry.get_sample_value(name, {"cause": cause}) or 0.0

    return count
