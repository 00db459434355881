"""The life of a gateway as a process: start, TLS, a server that goes away, drain, stop."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import ssl
import threading
from contextlib import ExitStack
from pathlib import Path

import grpc
import httpx
import pytest

from scorewire.testing import FakeServer
from tests.certificates import SERVER_NAME, Certificates, make_certificates
from tests.fake_models import CHURN, SUM
from tests.processes import COMMAND, TIMEOUT_SECONDS, ServerProcess, run_command, service, wait_until
from tests.scorewire_gateway.gateways import gateway_process, gateway_thread
from tests.scorewire_gateway.sockets import HEAD, connection

ROW = {"age": 41, "country": "pe"}


def client_of(gateway: ServerProcess) -> httpx.Client:
    return httpx.Client(base_url=f"http://{gateway.address}", timeout=TIMEOUT_SECONDS, trust_env=False)


def test_a_gateway_serves_logs_and_counts(tmp_path: Path, fake: FakeServer) -> None:
    with gateway_process(tmp_path, fake.address) as gateway:
        (begun,) = gateway.logged("serving")
        assert (begun["address"], begun["server"]) == (gateway.address, fake.address)
        with client_of(gateway) as http:
            secret = {"Authorization": "Bearer top-secret"}
            assert http.post("/models/churn:predict", json={"row": ROW}, headers=secret).status_code == 200
            assert http.post("/models/churn:predict", json={"rows": [ROW] * 5}).status_code == 200
            assert http.get("/nothing", headers=secret).status_code == 404
        counted = gateway.metrics()
        assert counted["scorewire_gateway_rows_total", frozenset({("model", "churn")})] == 6
        labels = {("route", "/models/{name}:predict"), ("method", "POST"), ("code", "200")}
        assert counted["scorewire_gateway_requests_total", frozenset(labels)] == 2
        labels = {("route", "none"), ("method", "GET"), ("code", "404")}
        assert counted["scorewire_gateway_requests_total", frozenset(labels)] == 1
        assert counted["scorewire_gateway_requests_in_flight", frozenset()] == 0
        assert gateway.stop() == 0
        assert [line["event"] for line in gateway.log()][-2:] == ["draining", "stopped"]
        assert "secret" not in gateway.log_text()


def test_requests_in_flight_end_well_while_the_gateway_drains(tmp_path: Path, fake: FakeServer) -> None:
    answers: list[httpx.Response] = []
    with gateway_process(tmp_path, fake.address, "--drain-seconds", "3") as gateway:
        with client_of(gateway) as http:
            assert http.get("/health").status_code == 200
            fake.delay = 4.5

            def ask() -> None:
                answers.append(
                    httpx.post(
                        f"http://{gateway.address}/models/churn:predict",
                        json={"row": ROW},
                        timeout=TIMEOUT_SECONDS,
                        trust_env=False,
                    )
                )

            thread = threading.Thread(target=ask)
            thread.start()
            wait_until(lambda: fake.waiting == 1, "the call at the server")
            gateway.signal()
            gateway.logged("draining")
            assert http.get("/health").status_code == 503
            assert http.get("/models").status_code == 200
            thread.join(TIMEOUT_SECONDS)
        assert gateway.wait() == 0
    assert [answer.status_code for answer in answers] == [200]


def test_a_request_that_outlives_the_grace_is_ended(tmp_path: Path, fake: FakeServer) -> None:
    with (
        gateway_process(tmp_path, fake.address, "--grace-seconds", "1") as gateway,
        client_of(gateway) as http,
        connection(http) as raw,
    ):
        fake.delay = 600.0
        body = json.dumps({"row": ROW}).encode()
        raw.sendall(HEAD + b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        wait_until(lambda: fake.waiting == 1, "the call at the server")
        assert gateway.stop() == 0


def test_a_second_signal_ends_the_process_at_once(tmp_path: Path, fake: FakeServer) -> None:
    with gateway_process(tmp_path, fake.address, "--drain-seconds", "600") as gateway:
        gateway.signal()
        gateway.logged("draining")
        gateway.signal(signal.SIGINT)
        assert gateway.wait() == 130


def test_a_server_that_is_away_is_told_and_found_again(fake: FakeServer) -> None:
    port = fake.port
    with gateway_thread(fake.address, timeout=2.0) as http:
        assert http.post("/models/churn:predict", json={"row": ROW}).status_code == 200
        fake.stop()
        answer = http.post("/models/churn:predict", json={"row": ROW})
        assert answer.status_code == 503
        assert answer.json()["error"]["status"] == "UNAVAILABLE"
        assert http.get("/health").status_code == 503
        for path in ("/models", "/models/churn", "/status", "/openapi.json"):
            assert http.get(path).status_code == 503
        with FakeServer(CHURN, SUM, port=port):
            wait_until(lambda: http.get("/health").status_code == 200, "the server, found again")
            assert http.post("/models/churn:predict", json={"row": ROW}).status_code == 200


def test_a_gateway_starts_before_its_server(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    with gateway_process(tmp_path, f"127.0.0.1:{port}") as gateway, client_of(gateway) as http:
        assert http.get("/health").status_code == 503
        with FakeServer(CHURN, port=port):
            wait_until(lambda: http.get("/health").status_code == 200, "the server")


def test_tls_on_both_sides(tmp_path: Path, certificates: Certificates) -> None:
    credentials = grpc.ssl_server_credentials([certificates.server_pair()])
    with (
        FakeServer(CHURN, credentials=credentials) as fake,
        gateway_process(
            tmp_path,
            fake.address,
            *("--server-tls-ca", certificates.authority, "--server-tls-name", SERVER_NAME),
            *certificates.server_flags(),
        ) as gateway,
    ):
        trusting = ssl.create_default_context(cafile=str(certificates.authority))
        with httpx.Client(verify=trusting, timeout=TIMEOUT_SECONDS, trust_env=False) as http:
            answer = http.post(f"https://{gateway.address}/models/churn:predict", json={"row": ROW})
            assert answer.json()["score"] == 0.41
            # Without TLS, the port tells nothing.
            with pytest.raises(httpx.TransportError):
                http.get(f"http://{gateway.address}/health")


def test_a_new_certificate_is_read_on_sighup(tmp_path: Path, fake: FakeServer) -> None:
    for name in ("old", "new", "live"):
        (tmp_path / name).mkdir()
    old, new = make_certificates(tmp_path / "old"), make_certificates(tmp_path / "new")
    live, key = tmp_path / "live/cert.pem", tmp_path / "live/key.pem"
    shutil.copy(old.server, live)
    shutil.copy(old.server_key, key)
    with gateway_process(tmp_path, fake.address, "--tls-cert", live, "--tls-key", key) as gateway:
        url = f"https://{gateway.address}/health"

        def trusts(certificates: Certificates) -> bool:
            trusting = ssl.create_default_context(cafile=str(certificates.authority))
            with httpx.Client(verify=trusting, timeout=TIMEOUT_SECONDS, trust_env=False) as http:
                try:
                    return http.get(url).status_code == 200
                except httpx.ConnectError:
                    return False

        assert trusts(old)
        live.write_text("not a certificate", encoding="utf-8")
        gateway.hang_up()
        gateway.logged("the certificate is not replaced, the one before stays")
        assert trusts(old)
        shutil.copy(new.server, live)
        shutil.copy(new.server_key, key)
        gateway.hang_up()
        gateway.logged("certificate read again")
        assert trusts(new)
        assert not trusts(old)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "--server is missing"),
        (["--server", "http://a"], "--server: an address is HOST or HOST:PORT, not a URL"),
        (["--server", "a:1", "--listen", "8080"], "--listen is '8080'; it must be HOST:PORT"),
        (["--server", "a:1", "--tls-key", "key.pem"], "--tls-cert and --tls-key are given together"),
        (["--server", "a:1", "--server-tls-cert", "c.pem"], "--server-tls-cert and --server-tls-key"),
        (["--server", "a:1", "--server-tls-ca", "no.pem"], "no.pem cannot be read: No such file"),
        (["--server", "a:1", "--tls-cert", "no.pem", "--tls-key", "no.pem"], "cannot be used"),
        (["--server", "a:1", "--listen", "192.0.2.1:1"], "--listen 192.0.2.1:1 cannot be bound"),
        (["--server", "a:1", "--hosts", "a/b"], "--hosts is 'a/b'; it must be names of hosts"),
        (["--server", "a:1", "--cors-origin", "*"], "--cors-origin is '*'"),
        (["--server", "a:1", "--timeout", "nan"], "--timeout is 'nan'"),
    ],
    ids=range(11),
)
def test_wrong_settings_end_with_one_line(flags: list[str], message: str) -> None:
    ended = run_command("gateway", *flags)
    assert ended.returncode == 2
    assert message in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_a_gateway_takes_the_open_files_that_its_connections_need(tmp_path: Path, fake: FakeServer) -> None:
    few = ("/bin/sh", "-c", 'ulimit -S -n 100; exec "$@"', "sh", COMMAND, "gateway", "--server", fake.address)
    with service(tmp_path, *few, flags=("--max-connections", "200")) as gateway, ExitStack() as opened:
        host, _, port = gateway.address.rpartition(":")
        for _ in range(150):
            opened.enter_context(socket.create_connection((host, int(port)), TIMEOUT_SECONDS))
        with httpx.Client(
            base_url=f"http://{gateway.address}", timeout=TIMEOUT_SECONDS, trust_env=False
        ) as http:
            assert http.get("/models").status_code == 200


def test_a_port_that_is_taken_is_told(fake: FakeServer) -> None:
    ended = run_command("gateway", "--server", fake.address, "--listen", fake.address)
    assert ended.returncode == 2
    assert "cannot be bound: Address already in use" in ended.stderr


def test_help_teaches_with_examples() -> None:
    ended = run_command("gateway", "--help")
    assert ended.returncode == 0
    assert "curl http://127.0.0.1:8080/models/churn:predict" in ended.stdout
    assert "SCOREWIRE_GATEWAY_MAX_BODY_BYTES" in ended.stdout
