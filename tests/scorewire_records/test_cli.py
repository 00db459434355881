"""The commands, as people and programs use them."""

from __future__ import annotations

import csv
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from scorewire_contract.records.segments import spool_folder
from scorewire_records.cli import COMMANDS, records
from scorewire_records.folder_reader import FolderReader
from scorewire_records.spool_folder import shipper_lock
from tests.processes import wait_until
from tests.scorewire_records.spools import DAY_US, TIME_US, SpoolWriter, source

SOURCE = source()
SHIP = [sys.executable, "-P", "-m", "scorewire_records", "ship", "--records"]


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[SpoolWriter]:
    with SpoolWriter(tmp_path) as writer:
        yield writer


def run(folder: Path, command: str, *arguments: str) -> Result:
    return CliRunner().invoke(records, [command, "--records", str(folder), *arguments])


def lines(result: Result) -> list[dict[str, object]]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_each_command_has_examples(command: str) -> None:
    result = CliRunner().invoke(records, [command, "--help"])
    assert result.exit_code == 0
    assert f"scorewire records {command}" in result.stdout


def test_a_shipper_of_files_needs_neither_duckdb_nor_psycopg() -> None:
    code = "import sys, scorewire_records.cli.ship; print({'duckdb', 'psycopg', 'rich'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "set()\n"


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    for command in ("status", "ship", "stats", "tail"):
        result = run(tmp_path / "nothing", command)
        assert result.exit_code == 2
        assert "does not exist" in result.output
    assert not (tmp_path / "nothing").exists()


def test_status_shows_the_ledger_and_fails_if_rows_wait_for_no_one(
    tmp_path: Path, writer: SpoolWriter
) -> None:
    writer.write(SOURCE, 10)
    writer.write_ledger(dropped=3)
    writer.close_segment()
    result = run(tmp_path, "status")
    assert result.exit_code == 1
    assert "offered 13 = sampled out 0 + dropped 3 (ring_full 3) + spooled 10" in result.output
    assert "spooled 10 = stored 0 + pending 10 + set aside 0 + expired 0" in result.output
    assert f"writer {writer.start}: of 13 sequence numbers, 3 were dropped" in result.output
    assert "no shipper works, and 10 rows wait" in result.output
    assert "3 rows were dropped (ring_full)" in result.output
    with shipper_lock(tmp_path):
        assert "no shipper works" not in run(tmp_path, "status").output


def test_status_is_well_when_all_is_stored(tmp_path: Path, writer: SpoolWriter) -> None:
    writer.write(SOURCE, 10)
    writer.stop()
    assert run(tmp_path, "ship", "--once").exit_code == 0
    result = run(tmp_path, "status", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["problems"] == []
    (start,) = told["starts"]
    assert (start["state"], start["stored"], start["pending"]) == ("stopped", 10, 0)
    assert json.loads(run(tmp_path, "status", "--json", "--since", "2100-01-01").stdout)["starts"] == []


def test_query_writes_tables_csv_and_json(tmp_path: Path, writer: SpoolWriter) -> None:
    writer.write(source(features=("a[red]b",), numbers=("a[red]b",), texts=()), 3)
    sql = "SELECT row, time, 'NaN'::DOUBLE AS n, output_probability AS p, NULL AS z, * FROM churn LIMIT 1"
    (row,) = lines(run(tmp_path, "query", sql, "--format", "json"))
    assert row["time"] == "2096-11-30T01:00:00Z"
    assert (row["n"], row["p"], row["z"]) == (None, [0.0, 0.0], None)
    (written,) = csv.DictReader(run(tmp_path, "query", sql, "--format", "csv").stdout.splitlines())
    assert (written["p"], written["z"]) == ("[0.0, 0.0]", "")
    table = run(tmp_path, "query", "SELECT '[bold]x[/bold]' || chr(27) AS \"a[red]b\"").stdout
    assert "a[red]b" in table
    assert "[bold]x[/bold]\N{REPLACEMENT CHARACTER}" in table
    refused = run(tmp_path, "query", "DROP VIEW records")
    assert refused.exit_code == 1
    assert "one SELECT" in refused.output


def test_stats_are_told_to_people_and_programs(tmp_path: Path, writer: SpoolWriter) -> None:
    writer.write(SOURCE, 10, per_call=2)
    shown = run(tmp_path, "stats").stdout
    assert "2096-11-30" in shown
    (told,) = json.loads(run(tmp_path, "stats", "--json").stdout)
    assert (told["model"], told["day"], told["calls"], told["rows"]) == ("churn", "2096-11-30", 10, 20)
    assert json.loads(run(tmp_path, "stats", "--json", "--until", "2096-11-30").stdout) == []
    assert json.loads(run(tmp_path, "stats", "--json", "--since", "2096-11-30").stdout) == [told]
    assert run(tmp_path, "stats", "--since", "soon").exit_code == 2
    assert run(tmp_path, "stats", "--since", "2096-11-30", "--until", "2096-11-30").exit_code == 2


def test_tail_shows_the_last_rows(tmp_path: Path, writer: SpoolWriter) -> None:
    writer.write(SOURCE, 20)
    writer.write(source(2, model="ltv"), 20, time_us=TIME_US + 100)
    shown = run(tmp_path, "tail", "-n", "3", "--model", "churn").stdout.splitlines()
    assert len(shown) == 3
    assert shown[2].startswith(f"2096-11-30T01:00:00.000019Z churn 1.0.0 {writer.start}-19[0] probability=[")
    (row,) = lines(run(tmp_path, "tail", "-n", "1", "--json"))
    assert (row["model"], row["feature_age"]) == ("ltv", 39.0)


def test_tail_follows_what_comes(tmp_path: Path, writer: SpoolWriter) -> None:
    writer.write(SOURCE, 3)
    command = [sys.executable, "-m", "scorewire_records", "tail", "--records", str(tmp_path), "-f", "-n", "2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            shown = [process.stdout.readline() for _ in range(2)]
            writer.write(SOURCE, 2)
            shown += [process.stdout.readline() for _ in range(2)]
            process.send_signal(signal.SIGINT)
            assert process.wait() == 0
        finally:
            process.kill()
    assert [line.split()[3] for line in shown] == [f"{writer.start}-{number}[0]" for number in (1, 2, 3, 4)]


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_export_writes_the_selected_rows(tmp_path: Path, writer: SpoolWriter, suffix: str) -> None:
    folder, file = tmp_path, tmp_path / f"out{suffix}"
    writer.write(SOURCE, 10)
    writer.close_segment()
    run(folder, "ship", "--once")
    writer.write(SOURCE, 10, time_us=TIME_US + DAY_US)
    writer.write(source(2, model="ltv"), 10, time_us=TIME_US + DAY_US)
    result = run(folder, "export", "--model", "churn", "--since", "2096-12-01", str(file))
    assert result.exit_code == 0, result.output
    if suffix == ".parquet":
        found = [row["feature_country"] for row in pq.read_table(file).to_pylist()]
    elif suffix == ".csv":
        with file.open(newline="") as rows:
            found = [row["feature_country"] for row in csv.DictReader(rows)]
    else:
        found = [json.loads(line)["feature_country"] for line in file.read_text().splitlines()]
    assert sorted(found) == [f"text-{number}" for number in range(10, 20)]
    before = file.read_bytes()
    assert "--force" in run(folder, "export", str(file)).output
    assert file.read_bytes() == before
    assert list(tmp_path.glob(".out*")) == []


def test_people_are_told_if_the_records_are_in_a_database(tmp_path: Path, writer: SpoolWriter) -> None:
    writer.write(SOURCE, 10)
    run(tmp_path, "ship", "--once")
    assert "database" not in run(tmp_path, "stats").stderr
    path = spool_folder(tmp_path) / "shipper.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "store": "postgresql://db.example/records"}))
    told = "The records of this folder go to postgresql://db.example/records"
    for command in ("stats", "status", "tail"):
        assert told in run(tmp_path, command).stderr


def test_export_tells_which_suffixes_it_knows(tmp_path: Path) -> None:
    result = run(tmp_path, "export", str(tmp_path / "out.xlsx"))
    assert result.exit_code == 2
    assert ".parquet, .csv, .jsonl" in result.output


def test_ship_once_tells_what_is_wrong(tmp_path: Path, writer: SpoolWriter) -> None:
    writer.write(SOURCE, 10)
    writer.stop()
    (tmp_path / "churn").write_text("a file")
    result = run(tmp_path, "ship", "--once")
    assert result.exit_code == 1
    assert "Problem: records cannot be stored" in result.output
    with shipper_lock(tmp_path):
        result = run(tmp_path, "ship", "--once")
    assert result.exit_code == 1
    assert "another shipper" in result.output


def status_of(folder: Path) -> dict[str, object]:
    path = spool_folder(folder) / "shipper.json"
    found: dict[str, object] = json.loads(path.read_bytes()) if path.exists() else {}
    return found


def test_not_everyone_may_read_what_the_shipper_writes(tmp_path: Path, writer: SpoolWriter) -> None:
    tmp_path.chmod(0o755)
    writer.write(SOURCE, 10)
    writer.close_segment(is_last=True)
    before = set(tmp_path.rglob("*"))
    subprocess.run([*SHIP, str(tmp_path), "--once"], check=True, umask=0o022)
    made = set(tmp_path.rglob("*")) - before
    assert any(path.suffix == ".parquet" for path in made)
    # The group may, if the umask of the server lets it.
    modes = {(path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in made}
    assert modes == {(True, 0o750), (False, 0o640)}


def test_the_shipper_leaves_the_umask_of_its_process(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        assert run(tmp_path, "ship", "--once").exit_code == 0
    finally:
        assert os.umask(before) == 0o022


def test_a_second_shipper_waits_until_the_first_one_is_gone(tmp_path: Path, writer: SpoolWriter) -> None:
    writer.write(SOURCE, 10)
    with subprocess.Popen([*SHIP, str(tmp_path)]) as first:
        try:
            wait_until(lambda: status_of(tmp_path).get("pid") == first.pid, "the first shipper")
            with subprocess.Popen([*SHIP, str(tmp_path)], stderr=subprocess.PIPE, text=True) as second:
                try:
                    assert second.stderr is not None
                    assert "this one waits" in second.stderr.readline()
                    first.kill()
                    wait_until(lambda: status_of(tmp_path).get("pid") == second.pid, "the second shipper")
                    second.send_signal(signal.SIGTERM)
                    assert second.wait() == 0
                finally:
                    second.kill()
        finally:
            first.kill()


def test_ctrl_c_ends_a_query_without_a_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise RuntimeError("Query interrupted")  # as DuckDB does

    monkeypatch.setattr(FolderReader, "query", interrupted)
    result = run(tmp_path, "query", "FROM records")
    assert (result.exit_code, result.stderr.strip()) == (1, "Aborted!")


@pytest.mark.parametrize("how", ["input", "signal"])
def test_a_supervised_shipper_makes_a_last_pass_when_it_is_told_to_end(
    tmp_path: Path, writer: SpoolWriter, how: str
) -> None:
    writer.write(SOURCE, 10)
    command = [*SHIP, str(tmp_path), "--supervised"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as shipper:
        try:
            wait_until(lambda: status_of(tmp_path).get("pid") == shipper.pid, "the shipper")
            # The server is alive, and has closed its last segment.
            writer.write(SOURCE, 10)
            writer.close_segment(is_last=True)
            if how == "input":
                assert shipper.stdin is not None
                shipper.stdin.close()
            else:
                os.kill(shipper.pid, signal.SIGTERM)
            assert shipper.wait() == 0
            assert shipper.stderr is not None
            assert shipper.stderr.read() == b""
        finally:
            shipper.kill()
    starts = status_of(tmp_path)["starts"]
    assert starts == {
        str(writer.start): {"seen": 20, "stored": 20, "pending": 0, "set_aside": 0, "expired": 0}
    }
    assert status_of(tmp_path)["problem"] is None
