from __future__ import annotations

import csv
import datetime as dt
import gc
import math
import os
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from scorewire import Client, Code
from scorewire.tables import reading, writing
from scorewire.tables.scoring import parse_numbers, score_table
from scorewire.testing import FakeModel, FakeServer
from scorewire_contract.cli import main
from tests.certificates import SERVER_NAME, Certificates
from tests.fake_models import CHURN

HEADER = "id,country,age"
ADDED = ["score", "label", "probabilities_no", "probabilities_yes", "error"]


def run(server: FakeServer | str, source: Path, target: Path, *options: str, model: str = "churn") -> Result:
    address = server if isinstance(server, str) else server.address
    arguments = ["predict", "--model", model, "--address", address]
    arguments += ["--input", str(source), "--output", str(target), *options]
    return CliRunner().invoke(main, arguments)


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_csv_is_scored_row_by_row(server: FakeServer, tmp_path: Path) -> None:
    source = write(tmp_path / "in.csv", HEADER, "007,pe,40", "008,pe,80", "009,de,")
    result = run(server, source, tmp_path / "out.csv")
    assert result.exit_code == 0, result.output
    assert "2 of 3 rows scored by churn 1.0.0" in result.output
    assert "1 rows have no score" in result.output
    first, second, third = rows_of(tmp_path / "out.csv")
    assert list(first) == [*HEADER.split(","), *ADDED]
    assert first == {
        "id": "007",
        "country": "pe",
        "age": "40",
        "score": "0.4",
        "label": "no",
        "probabilities_no": "0.6",
        "probabilities_yes": "0.4",
        "error": "",
    }
    assert (second["score"], second["label"], second["error"]) == ("0.8", "yes", "")
    assert (third["age"], third["score"], third["label"], third["error"]) == ("", "", "", "age is missing")


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("batch_rows", [1, 7, 100])
def test_rows_keep_their_place_whatever_becomes_of_them(
    server: FakeServer, tmp_path: Path, suffix: str, batch_rows: int
) -> None:
    ages = [str(i) if i % 3 else ["", "many", "1_0"][i // 3 % 3] for i in range(60)]
    source = write(tmp_path / "in.csv", HEADER, *(f"{i},pe,{age}" for i, age in enumerate(ages)))
    target = tmp_path / f"out{suffix}"
    result = run(server, source, target, "--batch-rows", str(batch_rows))
    assert result.exit_code == 0, result.output
    assert "40 of 60 rows scored" in result.output
    reader = pd.read_csv if suffix == ".csv" else pd.read_parquet
    frame: pd.DataFrame = reader(target)
    assert frame["id"].astype(int).tolist() == list(range(60))
    for i, (score, error) in enumerate(zip(frame["score"], frame["error"], strict=True)):
        if i % 3:
            assert score == i / 100
            assert pd.isna(error)
        else:
            assert math.isnan(score)
            assert error in {
                "age is missing",
                "age: takes a number, not the text 'many'",
                "age: takes a number, not the text '1_0'",
            }


def test_rows_that_are_not_sent_are_not_held_to_the_end(server: FakeServer) -> None:
    taken = 0

    class Source(reading.TableReader):
        names = ["x", "y"]  # noqa: RUF012 - as in the class it stands for

        def chunks(self, rows: int) -> Iterator[reading.Chunk]:
            nonlocal taken
            for index in range(1000):
                taken += 1
                yield reading.TextChunk(self.names, [["1" if index % 400 == 399 else "none?", "2"]] * rows)

        def arrow_type(self, name: str) -> pa.DataType:  # noqa: ARG002 - all are alike
            return pa.string()

        def close(self) -> None:
            pass

    with Client(server.address) as client:
        errors = []
        for given, (_, columns) in enumerate(
            score_table(client, client.model("sum"), Source(), 2, ["score", "value", "error"]), 1
        ):
            assert taken - given < 50
            errors.append(columns["error"][0])
    assert [index for index, error in enumerate(errors) if error is None] == [399, 799]
    assert len(errors) == 1000


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_ids_are_a_column_of_their_own(server: FakeServer, tmp_path: Path, suffix: str) -> None:
    server.records = True
    source = write(tmp_path / "in.csv", HEADER, "a,pe,1", "b,pe,many", "c,pe,", "d,pe,2")
    target = tmp_path / f"out{suffix}"
    result = run(server, source, target, "--ids", "--batch-rows", "3")
    assert result.exit_code == 0, result.output
    frame = pd.read_csv(target) if suffix == ".csv" else pd.read_parquet(target)
    assert list(frame) == [*HEADER.split(","), *ADDED, "record_id"]
    first, unsent, refused, last = frame["record_id"]
    assert first.endswith("-0/0")
    # It was never sent, so that the row after it is the second of its call; and an error is recorded, too.
    assert pd.isna(unsent)
    assert refused.endswith("-0/1")
    assert last.endswith("-1/0")


def test_without_records_the_column_of_ids_is_empty(server: FakeServer, tmp_path: Path) -> None:
    source = write(tmp_path / "in.csv", HEADER, "a,pe,1")
    assert run(server, source, tmp_path / "out.csv", "--ids").exit_code == 0
    assert [row["record_id"] for row in rows_of(tmp_path / "out.csv")] == [""]


def test_an_input_that_has_ids_already_is_refused(server: FakeServer, tmp_path: Path) -> None:
    source = write(tmp_path / "in.csv", f"{HEADER},record_id", "a,pe,1,x")
    result = run(server, source, tmp_path / "out.csv", "--ids")
    assert result.exit_code == 1
    assert "'record_id'" in result.output
    assert run(server, source, tmp_path / "out.csv").exit_code == 0


def test_only_what_the_model_takes_is_sent(server: FakeServer, tmp_path: Path) -> None:
    source = write(tmp_path / "in.csv", HEADER, "secret,pe,1")
    assert run(server, source, tmp_path / "out.csv").exit_code == 0
    assert [call.rows for call in server.calls if call.rows] == [({"age": 1.0, "country": "pe"},)]


def test_a_file_is_scored_by_one_version(server: FakeServer, tmp_path: Path) -> None:
    source = write(tmp_path / "in.csv", HEADER, *["1,pe,1"] * 10)
    assert run(server, source, tmp_path / "out.csv", "--batch-rows", "2").exit_code == 0
    streamed = [call for call in server.calls if call.method == "PredictStream"]
    assert len(streamed) == 5
    assert {call.version for call in streamed} == {"1.0.0"}


def test_a_parquet_file_keeps_its_types(server: FakeServer, tmp_path: Path) -> None:
    table = pa.table(
        {
            "when": pa.array([dt.datetime(2024, 1, 2), None], pa.timestamp("ns")),
            "tags": pa.array([["a"], []], pa.list_(pa.string())),
            "age": pa.array([40, None], pa.int32()),
            "country": pa.array(["pe", "de"]).dictionary_encode(),
        }
    )
    pq.write_table(table, tmp_path / "in.parquet")
    result = run(server, tmp_path / "in.parquet", tmp_path / "out.parquet")
    assert result.exit_code == 0, result.output
    scored = pq.read_table(tmp_path / "out.parquet")
    assert scored.column_names == [*table.column_names, *ADDED]
    assert scored.select(table.column_names).equals(table)
    assert scored["score"].to_pylist() == [0.4, None]
    assert scored["label"].to_pylist() == ["no", None]
    assert scored["error"].to_pylist() == [None, "age is missing"]


def test_a_parquet_file_may_leave_as_csv(server: FakeServer, tmp_path: Path) -> None:
    frame = pd.DataFrame({"country": ["pe", None], "age": [12.5, 50.0]})
    frame.to_parquet(tmp_path / "in.parquet")
    assert run(server, tmp_path / "in.parquet", tmp_path / "out.csv").exit_code == 0
    first, second = rows_of(tmp_path / "out.csv")
    assert (first["age"], first["country"], first["score"]) == ("12.5", "pe", "0.125")
    assert (second["country"], second["score"]) == ("", "0.25")


def test_values_of_the_wrong_type_are_errors_of_their_rows(server: FakeServer, tmp_path: Path) -> None:
    frame = pd.DataFrame({"country": [5, 7], "age": pd.to_datetime(["2024-01-01", None])})
    frame.to_parquet(tmp_path / "in.parquet")
    result = run(server, tmp_path / "in.parquet", tmp_path / "out.csv")
    assert result.exit_code == 0, result.output
    assert "0 of 2 rows scored" in result.output
    first, second = rows_of(tmp_path / "out.csv")
    assert first["error"].startswith("age: takes a number, not the ")
    assert second["error"] == "country: takes a text, not the int 7"


def test_a_regression_has_no_label(server: FakeServer, tmp_path: Path) -> None:
    source = write(tmp_path / "in.csv", "x,y", "1,2")
    assert run(server, source, tmp_path / "out.csv", model="sum").exit_code == 0
    assert rows_of(tmp_path / "out.csv") == [
        {"x": "1", "y": "2", "score": "3.0", "value": "3.0", "error": ""}
    ]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_without_rows_stays_one(server: FakeServer, tmp_path: Path, suffix: str) -> None:
    source = write(tmp_path / "in.csv", HEADER)
    target = tmp_path / f"out{suffix}"
    result = run(server, source, target)
    assert result.exit_code == 0, result.output
    assert "0 of 0 rows" in result.output
    frame = pd.read_csv(target) if suffix == ".csv" else pd.read_parquet(target)
    assert list(frame) == [*HEADER.split(","), *ADDED]
    assert len(frame) == 0


def test_a_csv_leaves_as_it_came(server: FakeServer, tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    content = '\ufeffid,country,age,note\r\n1,"pe","1","a ""b"", c"\r\n\r\n2,Perú,2,"two\nlines"\r\n'
    source.write_bytes(content.encode())
    assert run(server, source, tmp_path / "out.csv").exit_code == 0
    first, second = rows_of(tmp_path / "out.csv")
    assert (first["id"], first["note"], first["score"]) == ("1", 'a "b", c', "0.01")
    assert (second["country"], second["note"], second["score"]) == ("Perú", "two\nlines", "0.25")


def test_a_value_with_a_carriage_return_stays_one_value(server: FakeServer, tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_bytes(b'id,country,age,"no\rte"\n1,pe,1,"two\rlines"\n2,pe,2,"end\r\n"\n')
    assert run(server, source, tmp_path / "out.csv").exit_code == 0
    assert [row["no\rte"] for row in rows_of(tmp_path / "out.csv")] == ["two\rlines", "end\r\n"]
    # The line ends stay as they were.
    assert (tmp_path / "out.csv").read_bytes().count(b"\r\n") == 1


def test_large_tables_are_written_in_few_row_groups(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "_ROW_GROUP_ROWS", 100)
    source = write(tmp_path / "in.csv", "word", *["abc"] * 250)
    result = run(server, source, tmp_path / "out.parquet", "--batch-rows", "10", model="text")
    assert result.exit_code == 0, result.output
    parquet = pq.ParquetFile(tmp_path / "out.parquet")
    assert [parquet.metadata.row_group(i).num_rows for i in range(parquet.num_row_groups)] == [100, 100, 50]


# What ends a run


def failing(result: Result, code: int = 1) -> str:
    assert result.exit_code == code, result.output
    assert not isinstance(result.exception, SystemExit) or result.exception.code == code
    assert "Traceback" not in result.output
    return " ".join(result.output.split())


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "in.csv")


def test_an_output_is_not_replaced_without_force(server: FakeServer, tmp_path: Path) -> None:
    source = write(tmp_path / "in.csv", HEADER, "1,pe,1")
    target = write(tmp_path / "out.csv", "precious")
    assert "replace it with --force" in failing(run(server, source, target))
    assert target.read_text(encoding="utf-8") == "precious\n"
    assert run(server, source, target, "--force").exit_code == 0
    assert rows_of(target)[0]["score"] == "0.01"


# A warning from a writer that is garbage-collected would fail the test.
@pytest.mark.parametrize("name", ["out.csv", "out.parquet"])
def test_a_run_that_fails_leaves_nothing(server: FakeServer, tmp_path: Path, name: str) -> None:
    source = write(tmp_path / "in.csv", HEADER, *["1,pe,1"] * 50)
    server.fail(Code.INTERNAL, "a bug")
    result = run(server, source, tmp_path / name, "--batch-rows", "5")
    assert "INTERNAL: a bug" in failing(result)
    del result
    gc.collect()
    assert leftovers(tmp_path) == []


def test_a_file_that_appears_meanwhile_is_kept(server: FakeServer, tmp_path: Path) -> None:
    target = tmp_path / "out.csv"

    def score(row: dict[str, Any]) -> float:
        write(target, "precious")
        return 1.0

    server.serve(FakeModel(name="slow", features={"age": float}, score=score))
    result = run(server, write(tmp_path / "in.csv", "age", "1"), target, model="slow")
    assert "has appeared meanwhile" in failing(result)
    assert target.read_text(encoding="utf-8") == "precious\n"
    assert leftovers(tmp_path) == ["out.csv"]


def test_a_server_that_is_away_is_named(tmp_path: Path) -> None:
    with FakeServer() as gone:
        address = gone.address
    result = run(address, write(tmp_path / "in.csv", HEADER), tmp_path / "out.csv")
    assert f"no answer from a server at {address}" in failing(result)


def test_a_model_that_is_not_there_is_named(server: FakeServer, tmp_path: Path) -> None:
    source = write(tmp_path / "in.csv", HEADER)
    assert "there is no model 'absent'" in failing(run(server, source, tmp_path / "out.csv", model="absent"))
    assert "no version '9.0.0'" in failing(run(server, source, tmp_path / "out.csv", "--version", "9.0.0"))


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["id,age"], "no column 'country', which churn takes"),
        (["Country,age"], "(its column 'Country' looks like it)"),
        (["id"], "no column 'age', which churn takes, nor 1 more that it needs"),
        ([f"{HEADER},score"], "a column 'score', which the output needs: rename it"),
        (["age,country,age"], "more than one column 'age'"),
        ([HEADER, "1,pe"], "line 2: 2 values for 3 columns"),
        ([HEADER, '1,pe,"1'], "line"),
        ([""], "no header"),
    ],
)
def test_tables_that_cannot_be_scored_are_refused(
    server: FakeServer, tmp_path: Path, lines: list[str], words: str
) -> None:
    result = run(server, write(tmp_path / "in.csv", *lines), tmp_path / "out.csv")
    assert words in failing(result)
    assert leftovers(tmp_path) == []


def test_files_that_are_no_tables_are_refused(server: FakeServer, tmp_path: Path) -> None:
    (tmp_path / "latin.csv").write_bytes("country,age\nPerú,1\n".encode("latin-1"))
    assert "byte 0xfa shows: save it as UTF-8" in failing(
        run(server, tmp_path / "latin.csv", tmp_path / "out.csv")
    )
    write(tmp_path / "no.parquet", "not at all")
    assert "is not a Parquet file" in failing(run(server, tmp_path / "no.parquet", tmp_path / "out.csv"))
    assert "does not exist" in failing(run(server, tmp_path / "absent.csv", tmp_path / "out.csv"), 2)
    source = write(tmp_path / "in.txt", HEADER)
    assert "--input ends in .csv or .parquet" in failing(run(server, source, tmp_path / "out.csv"), 2)
    good = write(tmp_path / "in.csv", HEADER)
    assert "--output ends in .csv or .parquet" in failing(run(server, good, tmp_path / "out.xlsx"), 2)
    assert "cannot be written" in failing(run(server, good, tmp_path / "absent" / "out.csv"))


def test_too_many_rows_in_a_request_say_what_to_do(server: FakeServer, tmp_path: Path) -> None:
    server.fail(Code.RESOURCE_EXHAUSTED, "at most 10 rows", reason="TOO_MANY_ROWS")
    result = run(server, write(tmp_path / "in.csv", HEADER, "1,pe,1"), tmp_path / "out.csv")
    assert "RESOURCE_EXHAUSTED: at most 10 rows; try a smaller --batch-rows than 1000" in failing(result)


def test_a_command_takes_addresses_as_the_sdk_does(server: FakeServer, tmp_path: Path) -> None:
    source = write(tmp_path / "in.csv", HEADER, "1,pe,40")
    for number, address in enumerate(
        (f"{server.address},localhost:{server.port}", f"dns:///{server.address}")
    ):
        assert run(address, source, tmp_path / f"{number}.csv").exit_code == 0
    for address, told in (
        (f"http://{server.address}", f"not a URL like 'http://{server.address}': write '{server.address}'"),
        ("scores:http", "--address: an address is HOST or HOST:PORT, with a port from 1 to 65535"),
    ):
        result = run(address, source, tmp_path / "out.csv")
        assert result.exit_code == 2
        assert told in result.stderr


def test_a_command_tells_that_the_server_uses_tls(tmp_path: Path, certificates: Certificates) -> None:
    source = write(tmp_path / "in.csv", HEADER, "1,pe,40")
    credentials = grpc.ssl_server_credentials([certificates.server_pair()])
    with FakeServer(CHURN, credentials=credentials) as server:
        result = run(server, source, tmp_path / "out.csv")
    assert result.exit_code == 1
    assert f"the server at {server.address} uses TLS, and this client does not" in result.stderr
    assert "--tls" in result.stderr


def test_options_of_tls_reach_the_connection(tmp_path: Path, certificates: Certificates) -> None:
    credentials = grpc.ssl_server_credentials([certificates.server_pair()])
    root = certificates.authority
    source = write(tmp_path / "in.csv", "x", "2")
    model = FakeModel(name="same", features={"x": float}, score=lambda row: row["x"])
    with FakeServer(model, credentials=credentials) as server:
        options = ["--tls-ca", str(root), "--tls-server-name", SERVER_NAME]
        result = run(server, source, tmp_path / "out.csv", *options, model="same")
        assert result.exit_code == 0, result.output
        assert "no answer from a server" in failing(run(server, source, tmp_path / "o.csv", model="same"))
        result = run(server, source, tmp_path / "o.csv", "--tls-cert", str(root), model="same")
        assert "come together" in failing(result, 2)


def test_without_the_extra_the_command_says_how_to_get_it(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scorewire._cli.extras.find_spec", lambda name: None if name == "pyarrow" else name)
    result = run(server, write(tmp_path / "in.csv", HEADER), tmp_path / "out.csv")
    assert "pyarrow not installed: pip install 'scorewire[pandas]'" in failing(result)


def test_help_shows_examples_as_they_are_typed() -> None:
    output = CliRunner().invoke(main, ["predict", "--help"]).output
    assert "  scorewire predict --model churn --input users.csv --output scores.csv\n" in output


def test_the_output_has_the_permissions_of_a_new_file(server: FakeServer, tmp_path: Path) -> None:
    source = write(tmp_path / "in.csv", HEADER, "1,pe,1")
    assert run(server, source, tmp_path / "out.csv").exit_code == 0
    plain = write(tmp_path / "plain", "x")
    assert os.stat(tmp_path / "out.csv").st_mode == os.stat(plain).st_mode  # noqa: PTH116 - both alike


# Numbers in files


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1", 1.0),
        ("-1.5", -1.5),
        ("+.5", 0.5),
        ("1.", 1.0),
        (" 2 ", 2.0),
        ("1e3", 1000.0),
        ("1E-3", 0.001),
        ("inf", math.inf),
        ("-Infinity", -math.inf),
        ("0009", 9.0),
        ("9007199254740992", 2.0**53),
        ("1e300", 1e300),
    ],
)
def test_numbers_are_read_from_text(text: str, number: float) -> None:
    for texts in ([text], [text, "NA"]):
        found, faults = parse_numbers(texts)
        assert found[0] == number
        assert faults == {}


def test_nan_of_a_parquet_file_is_empty_in_a_csv(server: FakeServer, tmp_path: Path) -> None:
    source = tmp_path / "in.parquet"
    table = {"age": [40.0, math.nan, None], "country": ["pe", "nan", None], "other": [math.nan, 1.5, None]}
    pq.write_table(pa.table(table), source)
    assert run(server, source, tmp_path / "out.csv").exit_code == 0
    assert [
        (row["age"], row["country"], row["other"], row["score"]) for row in rows_of(tmp_path / "out.csv")
    ] == [
        ("40.0", "pe", "", "0.4"),
        ("", "nan", "1.5", ""),
        ("", "", "", ""),
    ]


@pytest.mark.parametrize("text", ["", " ", "NA", "n/a", "NaN", "null", "None", "nan", "-nan", "+NaN"])
def test_some_texts_are_missing_numbers(text: str) -> None:
    # In a column of other texts.
    for texts in (["1", text], ["1", text, "NA"]):
        found, faults = parse_numbers(texts)
        assert np.array_equal(found[:2], [1, math.nan], equal_nan=True)
        assert faults == {}


@pytest.mark.parametrize(
    "text", ["x", "1,5", "1_000", "٣", "0x10", "1e", "--1", "9007199254740993", "9" * 5000, "True", "1 2"]
)
def test_other_texts_are_no_numbers(text: str) -> None:
    found, faults = parse_numbers(["1", text, "3"])
    assert np.array_equal(found, [1, math.nan, 3], equal_nan=True)
    assert list(faults) == [1]


def test_typed_values_are_numbers_too() -> None:
    found, faults = parse_numbers([1, None, 2.5, Decimal("0.5"), True, dt.date(2024, 1, 1)])
    assert np.array_equal(found, [1, math.nan, 2.5, 0.5, 1, math.nan], equal_nan=True)
    assert list(faults) == [5]
