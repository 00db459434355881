"""The services of deploy/compose work together: a call is stored in PostgreSQL and counted in Prometheus."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import psycopg
import pytest

from scorewire import Client
from tests.bundles import write_sum_bundle
from tests.deploy.compose import SERVICES
from tests.deploy.programs import COLLECTOR, MLFLOW, PROMETHEUS, needs
from tests.deploy.services import Stack, running_stack
from tests.processes import wait_until
from tests.scorewire_records.postgresql.server import binaries
from tests.stack import ask_prometheus, score

pytestmark = [
    pytest.mark.skipif(binaries() is None, reason="PostgreSQL is not installed"),
    needs(PROMETHEUS, COLLECTOR),
]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The whole stack, but for Grafana."""
    models = tmp_path_factory.mktemp("models")
    write_sum_bundle(models)
    with running_stack(models) as stack:
        if MLFLOW.exists():
            # Importing its libraries takes it long.
            stack.start("mlflow")
        yield stack


@pytest.fixture(autouse=True)
def logs(stack: Stack) -> Iterator[None]:
    """Show the logs of the services beside a test that fails."""
    yield
    print(stack.logs())


def _connect(stack: Stack, database: str, role: str, password: str) -> psycopg.Connection[tuple[object, ...]]:
    port = stack.postgres.port
    return psycopg.connect(
        host="127.0.0.1", port=port, dbname=database, user=role, password=password, autocommit=True
    )


def _reader(stack: Stack) -> psycopg.Connection[tuple[object, ...]]:
    return _connect(stack, "records", "reader", stack.secret("reader"))


def test_a_row_by_grpc_and_one_by_http_are_stored_and_counted(stack: Stack) -> None:
    with Client(stack.address("server")) as client:
        prediction = client.predict("sum", {"x0": 1.0, "x1": 2.0, "country": "de"})
    answer = httpx.post(
        f"http://{stack.address('gateway')}/models/sum:predict",
        json={"row": {"x0": 3.0, "x1": 4.0, "country": "pe"}},
    ).json()
    assert prediction.id is not None
    ids = {each.rpartition("/")[0] for each in (prediction.id, answer["record_id"])}
    with _reader(stack) as connection:

        def found() -> list[tuple[object, ...]]:
            try:
                return connection.execute(
                    "SELECT prediction_id, feature_x0, output_value FROM scorewire.sum"
                    " WHERE prediction_id = ANY (%s) ORDER BY feature_x0",
                    [list(ids)],
                ).fetchall()
            except psycopg.errors.UndefinedTable:
                return []  # the view comes with the first row

        wait_until(lambda: len(found()) == 2, "both rows in PostgreSQL")
        rows = found()
    assert [row[1] for row in rows] == [1.0, 3.0]
    assert [row[2] for row in rows] == [prediction.score, answer["prediction"]["value"]]
    prometheus = stack.address("prometheus")
    wait_until(
        lambda: ask_prometheus(prometheus, 'sum(scorewire_calls_total{model="sum"})') >= 2,
        "calls in Prometheus",
    )
    wait_until(lambda: ask_prometheus(prometheus, "sum(scorewire_gateway_requests_total)") >= 1, "requests")


def test_a_trace_arrives_at_the_collector(stack: Stack) -> None:
    trace = secrets.token_hex(16)
    with Client(stack.address("server")) as client:
        row = {"x0": 1.0, "x1": 2.0, "country": "de"}
        client.predict("sum", row, metadata={"traceparent": f"00-{trace}-b7ad6b7169203331-01"})
    collector = stack.services["collector"]
    wait_until(lambda: trace in collector.log(), "the trace in the collector's log")
    assert "PredictionService/Predict" in collector.log()


def test_the_gateway_tells_the_last_records(stack: Stack) -> None:
    url = f"http://{stack.address('gateway')}"
    body = {"row": {"x0": 7.0, "x1": 8.0, "country": "pe"}}
    record = httpx.post(f"{url}/models/sum:predict", json=body).json()["record_id"]
    prediction = record.partition("/")[0]
    wait_until(
        lambda: prediction in httpx.get(f"{url}/records", params={"model": "sum"}, timeout=30).text,
        "the record over HTTP",
    )


def test_the_gateway_offers_the_files_of_bundles(stack: Stack) -> None:
    path = "sum/1.0.0/manifest.json"
    found = httpx.get(f"http://{stack.address('gateway')}/files/{path}", timeout=30)
    assert found.content == (stack.models / path).read_bytes()


def test_the_end_of_make_stack_finds_its_rows(stack: Stack) -> None:
    addresses = {name: stack.address(name) for name in ("server", "gateway", "prometheus")}
    assert score(stack.models, addresses, rounds=2) > 0


def test_everything_is_scraped_and_no_alert_fires(stack: Stack) -> None:
    prometheus = stack.address("prometheus")
    wait_until(lambda: ask_prometheus(prometheus, "sum(up)") == 3, "all targets")
    alerts = httpx.get(f"http://{prometheus}/api/v1/alerts").json()["data"]["alerts"]
    assert [each for each in alerts if each["state"] == "firing"] == []
    rules = httpx.get(f"http://{prometheus}/api/v1/rules").json()["data"]["groups"]
    unwell = [rule for group in rules for rule in group["rules"] if rule["health"] == "err"]
    assert rules
    assert unwell == []


def test_roles_can_do_what_they_need_and_no_more(stack: Stack) -> None:
    with _reader(stack) as connection:
        assert connection.execute("SELECT count(*) FROM scorewire.models").fetchone() is not None
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            connection.execute("DELETE FROM scorewire.models")
        connection.execute("SET default_transaction_read_only = off")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("DELETE FROM scorewire.models")
    for role, database in (("reader", "mlflow"), ("mlflow", "records"), ("shipper", "mlflow")):
        with pytest.raises(psycopg.OperationalError, match="permission denied"):
            _connect(stack, database, role, stack.secret(role))
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        _connect(stack, "records", "reader", stack.secret("mlflow"))


def test_no_password_is_in_a_log_or_a_command_line(stack: Stack) -> None:
    passwords = [stack.secret(name) for name in ("postgres", "shipper", "reader", "mlflow", "grafana")]
    told = [service.log() for service in stack.services.values()]
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # a process that has ended
            told.append(path.read_text(encoding="utf-8", errors="replace"))
    assert not [each for each in passwords if any(each in text for text in told)]


@needs(MLFLOW)
def test_a_run_and_a_bundle_are_kept_by_mlflow(stack: Stack) -> None:
    import mlflow

    stack.wait_ready("mlflow")
    mlflow.set_tracking_uri(f"http://{stack.address('mlflow')}")
    with mlflow.start_run() as run:
        mlflow.log_param("version", "1.0.0")
        mlflow.log_artifacts(str(stack.models / "sum" / "1.0.0"), "bundle")
    kept = mlflow.MlflowClient().list_artifacts(run.info.run_id, "bundle")
    assert {"bundle/manifest.json", "bundle/model.onnx"} <= {each.path for each in kept}
    volume = stack.folder / "volumes" / "artifacts"
    assert list(volume.rglob("model.onnx"))


def test_services_end_in_order_when_they_are_stopped(stack: Stack) -> None:
    assert "server" in SERVICES
    for name in ("gateway", "server"):
        assert stack.services[name].stop() == 0, stack.services[name].log()
