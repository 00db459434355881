"""A server that records: what its processes do, and what its ledger says."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from pyarrow import parquet

from scorewire import Client, RecordLedger
from tests.bundles import expected_value, write_sum_bundle
from tests.conformance.engines import ENGINES
from tests.conformance.wire import Wire, sum_request
from tests.metrics_page import documented_metrics
from tests.processes import ServerProcess, run_command, serving, wait_until

ROW = {"x0": 1.0, "x1": 2.0, "country": "de"}


@pytest.fixture
def models(tmp_path: Path) -> Path:
    write_sum_bundle(tmp_path / "models")
    return tmp_path / "models"


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server(engine: str, tmp_path: Path, models: Path) -> Iterator[ServerProcess]:
    """A server that records in the folder `records`."""
    with serving(tmp_path, models, "--engine", engine, "--records", tmp_path / "records") as running:
        yield running


def _shipper(folder: Path, not_: int = 0) -> psutil.Process:
    """Wait for a shipper that tells of its work, other than one."""
    status = folder / "records" / "_spool" / "shipper.json"
    wait_until(lambda: status.exists() and json.loads(status.read_bytes())["pid"] != not_, "a shipper")
    return psutil.Process(json.loads(status.read_bytes())["pid"])


def _ended(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _ledger(client: Client) -> RecordLedger:
    ledger = client.record_ledger()
    assert ledger is not None
    return ledger


def _rows(folder: Path) -> list[dict[str, Any]]:
    """All rows of the Parquet files."""
    files = sorted((folder / "records").glob("**/*.parquet"))
    return [row for path in files for row in parquet.read_table(path).to_pylist()]


def _last_ledger(server: ServerProcess) -> dict[str, Any]:
    """The ledger in the log of a server that has stopped; both its sums must hold."""
    (ledger,) = server.log("records of this start")
    assert ledger["offered"] == sum(
        ledger[each] for each in ("sampled_out", "dropped", "buffered", "spooled")
    )
    assert ledger["spooled"] == sum(ledger[each] for each in ("stored", "pending", "set_aside", "expired"))
    return ledger


def _told_rows(server: ServerProcess) -> tuple[float, float]:
    """The rows that were offered, and those whose place the metrics tell."""
    samples = server.metrics().items()
    told = {(name, *dict(labels).values()): value for (name, labels), value in samples if "_record_" in name}
    assert {name for name, *_ in told} == {name for name in documented_metrics() if "_record_" in name}
    ends = {
        f"scorewire_record_rows_{end}_total" for end in ("sampled_out", "set_aside", "expired", "dropped")
    }
    places = ends | {"scorewire_record_rows_held"}
    known = sum(value for (name, *_), value in told.items() if name in places)
    return told["scorewire_record_rows_offered_total",], known


def test_a_call_of_the_largest_message_has_a_record(engine: str, tmp_path: Path) -> None:
    write_sum_bundle(tmp_path / "models", number_count=180)
    rows = 10_000
    with serving(
        tmp_path, tmp_path / "models", "--engine", engine, "--records", tmp_path / "records"
    ) as server:
        wire = Wire(server.address)
        with wire.channel:
            # 14.4 MB, of 16 MiB.
            wire.predict(sum_request([1.0] * 180 * rows, ["de"] * rows, row_count=rows))
        assert server.stop() == 0
    ledger = _last_ledger(server)
    assert ledger["offered"] == ledger["stored"] == rows


def test_every_answer_is_in_the_store_after_a_stop(server: ServerProcess, tmp_path: Path) -> None:
    with Client(server.address) as client:
        client.set_alias("sum", "champion", "1.0.0")
        answers = [client.predict("sum", ROW)]
        answers += client.predict("sum", [ROW, {**ROW, "x0": None}, ROW], version="champion")
        answers += client.predict_stream("sum", ({**ROW, "x0": float(number)} for number in range(50)))
        # A call that fails has no record.
        wire = Wire(server.address)
        with wire.channel:
            wire.predict_failure(sum_request([], [], row_count=0))
        wait_until(lambda: _ledger(client).offered == len(answers), "the count of all answers")
    wait_until(lambda: _told_rows(server) == (len(answers), len(answers)), "metrics that add up")
    assert server.stop() == 0
    ledger_line = _last_ledger(server)
    assert ledger_line["offered"] == ledger_line["stored"] == len(answers)
    stored = {f"{row['prediction_id']}/{row['row']}": row for row in _rows(tmp_path)}
    assert len(stored) == len(answers)
    for answer in answers:
        row = stored[answer.id]
        assert (row["model"], row["version"]) == (answer.model, answer.version)
        if answer.error is None:
            assert row["output_value"] == answer.score
            assert row["error_reason"] is None
        else:
            assert (row["error_reason"], row["error_feature"]) == (answer.error.reason, answer.error.feature)
    assert {row["route"] for row in stored.values()} == {"", "champion"}


def test_a_policy_leaves_rows_out_and_is_read_again(engine: str, tmp_path: Path, models: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text('[default]\nshare = 0.5\nsample_by = "routing_key"\nkeep_errors = true')
    flags = ["--engine", engine, "--records", tmp_path / "records", "--records-policy", policy]
    with serving(tmp_path, models, *flags) as server, Client(server.address) as client:
        keys = [f"user-{number}" for number in range(100)]
        first, second = ([client.predict("sum", ROW, routing_key=key).id for key in keys] for _ in range(2))
        kept = sum(map(bool, first))
        assert 20 < kept < 80
        assert list(map(bool, first)) == list(map(bool, second))
        assert client.predict("sum", {**ROW, "x0": None}, routing_key=keys[first.index("")]).id
        policy.write_text('[default]\nshare = 0\n[models.sum.features]\ncountry = "drop"')
        # Without a key, the policy of before leaves every other prediction out at random.
        sampled = next(key for key, record in zip(keys, first, strict=True) if record)
        wait_until(lambda: not client.predict("sum", ROW, routing_key=sampled).id, "the new policy")
        policy.write_text("[default]\nshar = 1")
        key = "scorewire_record_problem", frozenset[tuple[str, str]]()
        wait_until(lambda: server.metrics()[key] == 1, "the problem of the policy")
        assert "did you mean 'share'?" in _ledger(client).problem
        # The policy before stays.
        assert not client.predict("sum", ROW, routing_key=sampled).id
        assert client.health()
        assert server.stop() == 0
    line = _last_ledger(server)
    assert line["sampled_out"] > 2 * (100 - kept)
    assert line["stored"] == line["offered"] - line["sampled_out"] > 2 * kept


def test_a_folder_that_cannot_be_written_fails_no_call(engine: str, tmp_path: Path, models: Path) -> None:
    (tmp_path / "file").touch()
    with serving(tmp_path, models, "--engine", engine, "--records", tmp_path / "file" / "records") as server:
        with Client(server.address) as client:
            for _ in range(10):
                assert client.predict("sum", ROW).id
            wait_until(lambda: _ledger(client).dropped == {"disk": 10}, "the drops")
            wait_until(lambda: _ledger(client).problem != "", "the problem")
            assert client.health()
        assert server.logged("predictions are not recorded as they should be")
        assert server.stop() == 0
    assert _last_ledger(server)["dropped"] == 10


def test_a_disk_without_room_fails_no_call(engine: str, tmp_path: Path, models: Path) -> None:
    flags = ["--engine", engine, "--records", tmp_path / "records", "--records-free-bytes", str(1 << 50)]
    with serving(tmp_path, models, *flags) as server:
        with Client(server.address) as client:
            assert client.predict("sum", [ROW] * 7).ids[0]
            wait_until(lambda: _ledger(client).dropped == {"spool_full": 7}, "the drops")
            assert client.health()
            wait_until(lambda: "spool" in _ledger(client).problem, "the problem")
        assert server.stop() == 0
    assert _last_ledger(server)["dropped"] == 7


def test_a_database_that_is_away_fails_no_call(engine: str, tmp_path: Path, models: Path) -> None:
    # Nothing listens on the port of a socket that is bound only.
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        url = f"postgresql://nobody@127.0.0.1:{bound.getsockname()[1]}/scores"
        flags = ["--engine", engine, "--records", tmp_path / "records", "--records-to", url]
        with serving(tmp_path, models, *flags) as server:
            with Client(server.address) as client:
                wait_until(lambda: "cannot be stored" in _ledger(client).problem, "the problem")
                assert client.predict("sum", ROW).id
                wait_until(lambda: _ledger(client).spooled == 1, "the spool")
                assert client.health()
            assert server.metrics()["scorewire_record_problem", frozenset()] == 1
            assert server.stop() == 0
    assert _last_ledger(server)["pending"] == 1
    assert server.log("predictions are not recorded as they should be")


@pytest.mark.parametrize("generator", ["native", "python"])
@pytest.mark.parametrize("mode", ["unary", "stream"])
def test_every_answer_under_load_is_right_and_stored(
    server: ServerProcess, tmp_path: Path, models: Path, generator: str, mode: str
) -> None:
    if generator == "native":
        pytest.importorskip("scorewire_loadtest_native")
    report = tmp_path / "report.json"
    where = ["--bundle", models / "sum" / "1.0.0", "--address", server.address, "--json", report]
    how = ["--generator", generator, "--mode", mode, "--rate", "200/s", "--duration", "1s", "--warmup", "0s"]
    ended = run_command("load", *where, *how)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    told = json.loads(report.read_text())
    assert (told["answered"], told["wrong"]) == (200, 0)
    assert server.stop() == 0
    assert _last_ledger(server)["stored"] == len(_rows(tmp_path)) == 200


def test_a_start_after_a_kill_stores_what_was_spooled(engine: str, tmp_path: Path, models: Path) -> None:
    flags = ["--engine", engine, "--records", tmp_path / "records"]
    with serving(tmp_path / "a", models, *flags) as server, Client(server.address) as client:
        ids = client.predict("sum", [ROW] * 5).ids
        wait_until(lambda: _ledger(client).spooled == 5, "the spool")
        shipper = _shipper(tmp_path)
        server.signal(signal.SIGKILL)
        server.wait()
    wait_until(lambda: _ended(shipper), "the end of the shipper")
    with serving(tmp_path / "b", models, *flags) as server:
        assert server.stop() == 0
    assert sorted(f"{row['prediction_id']}/{row['row']}" for row in _rows(tmp_path)) == sorted(ids)


def test_the_shipper_ends_with_a_server_that_was_killed(server: ServerProcess, tmp_path: Path) -> None:
    shipper = _shipper(tmp_path)
    assert shipper.ppid() == server.pid
    assert shipper.nice() == 19
    server.signal(signal.SIGKILL)
    server.wait()
    wait_until(lambda: _ended(shipper), "the end of the shipper")


def test_a_shipper_that_was_killed_is_started_again_and_calls_go_on(
    server: ServerProcess, tmp_path: Path
) -> None:
    first = _shipper(tmp_path)
    first.kill()
    second = _shipper(tmp_path, not_=first.pid)
    assert server.metrics()["scorewire_record_shipper_restarts_total", frozenset()] == 1
    with Client(server.address) as client:
        assert client.health()
        assert client.predict("sum", ROW).score == expected_value([1.0, 2.0], "de")
    assert server.stop() == 0
    assert _ended(second)
    assert _last_ledger(server)["offered"] == 1


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        ("[models.sum]\nshar = 0.1", "did you mean 'share'?"),
        ('[models.sum.features]\ncontry = "drop"', "did you mean 'country'?"),
        ('[models.sum.features]\ncountry = "hash"', "hash_key_file"),
    ],
)
def test_a_wrong_policy_is_told_in_one_line(tmp_path: Path, models: Path, policy: str, says: str) -> None:
    (tmp_path / "policy.toml").write_text(policy)
    flags = ["--records", tmp_path / "records", "--records-policy", tmp_path / "policy.toml"]
    ended = run_command("serve", "--listen", "127.0.0.1:0", "--models", models, *flags)
    assert ended.returncode == 2
    (line,) = [line for line in ended.stderr.splitlines() if not line.startswith("{")]
    assert line.startswith("Error: --records-policy ")
    assert says in line


def test_a_password_in_the_url_is_refused_and_not_shown(tmp_path: Path, models: Path) -> None:
    flags = ["--records", tmp_path / "records", "--records-to", "postgresql://app:hunter2@db/scores"]
    ended = run_command("serve", "--models", models, *flags)
    assert ended.returncode == 2
    assert "--records-password-file" in ended.stderr
    assert "hunter2" not in ended.stderr
