"""The native generator with servers on loopback that answer, fail, stall or go away."""

from __future__ import annotations

import ipaddress
import math
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from google.rpc import code_pb2
from rich.console import Console

from scorewire import TLS
from scorewire_contract.bundle import Bundle
from scorewire_loadtest.calls import PreparedCall, from_bundle
from scorewire_loadtest.pacing import Constant, Poisson
from scorewire_loadtest.plan import ClosedLoop, OpenLoop, Plan
from scorewire_loadtest.progress import ProgressBar
from scorewire_loadtest.results import Results
from scorewire_loadtest.target import Target
from scorewire_proto.v1 import prediction_pb2
from tests.certificates import SERVER_NAME, Certificates, make_certificates
from tests.processes import wait_until
from tests.scorewire_loadtest.fake_server import FakeServer, failure, serving, stuck

native_generator = pytest.importorskip("scorewire_loadtest.native_generator")
MODES = ["unary", "stream"]
OPEN = OpenLoop(Constant(200), 1_000)


def plan_of(bundle: Bundle, target: Target | str, mode: str = "unary", **others: Any) -> Plan:
    settings: dict[str, Any] = {
        "target": target if isinstance(target, Target) else Target(target),
        "source": bundle,
        "load": ClosedLoop(4),
        "rows_per_call": 1,
        "connections": 2,
        "streams": 2 if mode == "stream" else None,
        "warmup_s": 0.0,
        "duration_s": 0.3,
        "timeout_s": 10.0,
    }
    return Plan(**{**settings, **others})


def run(plan: Plan, calls: Sequence[PreparedCall] | None = None) -> Results:
    assert not isinstance(plan.source, str)
    made = from_bundle(plan.source, rows_per_call=plan.rows_per_call) if calls is None else calls
    bar = ProgressBar(Console(file=sys.stderr, force_terminal=False), warmup_s=0.0, duration_s=1.0)
    results = native_generator.run(plan, made, bar)
    assert isinstance(results, Results)
    return results


def answered_by(server: FakeServer, mode: str = "unary", **others: Any) -> Results:
    return run(plan_of(server.bundle, server.address, mode, **others))


@pytest.mark.parametrize("mode", MODES)
def test_an_open_loop_makes_every_call_that_is_due_in_turn(fake_server: FakeServer, mode: str) -> None:
    results = answered_by(fake_server, mode, load=OPEN, duration_s=0.5)
    assert (results.calls, results.answered, results.wrong) == (100, 100, 0)
    assert (results.generator.name, results.generator.unsent, results.generator.held) == ("native", 0, 0)
    assert sum(second.answered for second in results.seconds) == 100
    assert len(fake_server.peers) == 2
    if mode == "unary":
        calls = [call.request for call in from_bundle(fake_server.bundle, rows_per_call=1)]
        sent = [request.SerializeToString() for request in fake_server.requests]
        assert all(sent.count(call) in (100 // len(calls), 100 // len(calls) + 1) for call in calls)


def test_a_run_that_spins_makes_the_same_calls_and_does_not_sleep(fake_server: FakeServer) -> None:
    sleeps, spins = (
        answered_by(fake_server, load=OPEN, duration_s=0.5, spins=spins) for spins in (False, True)
    )
    assert (spins.calls, spins.answered, spins.wrong) == (sleeps.calls, sleeps.answered, 0) == (100, 100, 0)
    assert spins.generator.busy > 2 * sleeps.generator.busy


def test_poisson_arrivals_have_the_rate(fake_server: FakeServer) -> None:
    results = answered_by(fake_server, load=OpenLoop(Poisson(400, seed=-3), 1_000), duration_s=0.5)
    assert results.answered == results.calls == pytest.approx(200, abs=70)


@pytest.mark.parametrize("mode", MODES)
def test_an_open_loop_keeps_its_rate_while_the_server_is_slow(fake_server: FakeServer, mode: str) -> None:
    with stuck(fake_server) as (begun, release):
        timer = threading.Thread(target=lambda: (begun.wait(30) and time.sleep(0.4)) or release.set())
        timer.start()
        results = answered_by(fake_server, mode, load=OPEN, duration_s=0.5)
        timer.join()
    # The calls of the stall were made all the same, and their wait counts.
    assert (results.answered, results.generator.held, results.generator.unsent) == (100, 0, 0)
    assert results.latency_us[50.0] > 100_000
    assert results.max_us >= 400_000


def test_sends_that_wait_for_room_are_told_apart(fake_server: FakeServer) -> None:
    def slow(request: prediction_pb2.PredictRequest) -> prediction_pb2.PredictResponse:
        time.sleep(0.02)
        return fake_server.score(request)

    fake_server.answer = slow
    results = answered_by(fake_server, load=OpenLoop(Constant(400), 2), duration_s=0.5)
    assert results.generator.held > 20
    assert results.generator.unsent > 0
    assert results.calls + results.generator.unsent == 200
    assert results.max_us > 200_000


@pytest.mark.parametrize("mode", MODES)
def test_a_call_without_an_answer_times_out_and_counts_with_its_wait(
    fake_server: FakeServer, mode: str
) -> None:
    release = threading.Event()

    def wait(request: prediction_pb2.PredictRequest) -> prediction_pb2.PredictResponse:
        release.wait(30)
        return fake_server.score(request)

    fake_server.answer = wait
    try:
        results = answered_by(fake_server, mode, timeout_s=0.2)
    finally:
        release.set()
    assert results.answered == 0
    assert [error.code for error in results.errors] == ["DEADLINE_EXCEEDED"]
    # Each of four callers makes a call at once, and another one if that has timed out before the end.
    assert 4 <= results.calls <= 8
    assert results.min_us >= 199_000


@pytest.mark.parametrize("mode", MODES)
def test_failures_are_told_by_status_reason_and_message(fake_server: FakeServer, mode: str) -> None:
    fake_server.answer = lambda _: failure(code_pb2.RESOURCE_EXHAUSTED, "TOO_MANY_IN_FLIGHT", "später, 50 %")
    results = answered_by(fake_server, mode, load=OPEN)
    (error,) = results.errors
    assert (error.code, error.reason, error.count) == ("RESOURCE_EXHAUSTED", "TOO_MANY_IN_FLIGHT", 60)
    assert error.example == "später, 50 %"
    assert results.latency_us == {}


@pytest.mark.parametrize("mode", MODES)
def test_an_answer_that_is_always_wrong_in_another_way_is_always_checked(
    fake_server: FakeServer, mode: str
) -> None:
    numbers = iter(range(10**9))

    def answer(request: prediction_pb2.PredictRequest) -> prediction_pb2.PredictResponse:
        response = fake_server.score(request)
        number = next(numbers)
        if number % 2:
            response.outputs[0].numbers[0] = 1e9 + number
        # These are in no comparison.
        response.server_time_us, response.model_time_us = number, 2 * number
        return response

    fake_server.answer = answer
    results = answered_by(fake_server, mode, load=OPEN, duration_s=1.0)
    assert (results.answered, results.wrong) == (200, 100)
    assert len(results.wrong_examples) == 5
    assert all("expected" in example for example in results.wrong_examples)


@pytest.mark.parametrize("mode", MODES)
def test_equal_answers_of_a_server_that_records_are_checked_once(
    fake_server: FakeServer, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = iter(range(10**9))

    def answer(request: prediction_pb2.PredictRequest) -> prediction_pb2.PredictResponse:
        response = fake_server.score(request)
        response.prediction_id = f"0199e2a4-0000-7000-8000-000000000001-{next(numbers)}"
        return response

    checked = []
    check = native_generator._Judge._check

    def counted(judge: Any, call: int, data: bytes) -> tuple[str, int]:
        checked.append(call)
        return check(judge, call, data)

    monkeypatch.setattr(native_generator._Judge, "_check", counted)
    fake_server.answer = answer
    results = answered_by(fake_server, mode, load=OPEN, duration_s=1.0)
    assert (results.answered, results.wrong) == (200, 0)
    assert sorted(checked) == sorted(set(checked))


def test_row_errors_are_counted_with_each_answer(fake_server: FakeServer) -> None:
    bundle = fake_server.bundle
    refused = len(bundle.golden.expected.errors)
    assert refused > 0
    results = answered_by(fake_server, load=OPEN, duration_s=bundle.golden.rows.row_count / 200)
    assert results.row_errors == refused


def test_answers_out_of_order_are_wrong_and_end_the_stream(fake_server: FakeServer) -> None:
    fake_server.correlation_shift = 1
    results = answered_by(fake_server, "stream", load=ClosedLoop(2))
    assert results.answered == results.wrong > 0
    assert results.wrong_examples == ["an answer came out of order"]
    assert fake_server.stream_count > 2


@pytest.mark.parametrize("mode", MODES)
def test_a_stream_that_the_server_ends_is_opened_again(fake_server: FakeServer, mode: str) -> None:
    calls = iter(range(10**9))

    def answer(request: prediction_pb2.PredictRequest) -> Any:
        if next(calls) == 10:
            return failure(code_pb2.UNAVAILABLE, "", "draining")
        return fake_server.score(request)

    fake_server.answer = answer
    # A closed loop bounds the calls that are in flight when the stream ends.
    results = answered_by(fake_server, mode, load=ClosedLoop(4), duration_s=1.0)
    assert 1 <= results.failed <= 4
    assert [(error.code, error.example) for error in results.errors] == [("UNAVAILABLE", "draining")]
    # The first ten came before the failure.
    assert results.answered > 40


def test_connections_that_the_server_ends_in_peace_lose_no_call(sum_bundle: Bundle) -> None:
    options = [("grpc.max_connection_age_ms", 50), ("grpc.max_connection_age_grace_ms", 10_000)]
    with serving(sum_bundle, options=options) as server:
        results = answered_by(server, load=OPEN, duration_s=1.0)
        assert (results.answered, results.failed) == (200, 0)
        assert len(server.peers) > 4


@pytest.mark.parametrize("mode", MODES)
def test_without_a_server_calls_fail_and_the_run_does_not_spin(sum_bundle: Bundle, mode: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        # Bound, and not listening.
        results = run(plan_of(sum_bundle, f"127.0.0.1:{taken.getsockname()[1]}", mode))
    assert results.answered == 0
    (error,) = results.errors
    assert error.code == "UNAVAILABLE"
    assert "refused" in error.example
    # An attempt takes a pause of 100 ms.
    assert results.calls <= 4 * 5


def test_a_server_that_comes_back_is_found_again(sum_bundle: Bundle) -> None:
    with serving(sum_bundle) as first:
        address = first.address
    found: list[Results] = []
    plan = plan_of(sum_bundle, address, load=OpenLoop(Constant(50), 1_000), duration_s=3.0)
    thread = threading.Thread(target=lambda: found.append(run(plan)))
    thread.start()
    with serving(sum_bundle, listen=address) as again:
        thread.join()
        assert again.requests
    (results,) = found
    assert results.calls == 150
    assert results.answered > 0
    assert {error.code for error in results.errors} <= {"UNAVAILABLE"}


@pytest.mark.parametrize("mode", MODES)
def test_a_server_that_goes_away_under_load_ends_no_call_twice_or_never(
    sum_bundle: Bundle, mode: str
) -> None:
    found: list[Results] = []
    with serving(sum_bundle) as server:
        plan = plan_of(sum_bundle, server.address, mode, load=OpenLoop(Constant(500), 64), duration_s=1.0)
        thread = threading.Thread(target=lambda: found.append(run(plan)))
        thread.start()
        wait_until(lambda: bool(server.requests or server.stream_count), "the first call")
    thread.join(60)
    (results,) = found
    assert results.calls + results.generator.unsent == 500
    assert {error.code for error in results.errors} <= {"UNAVAILABLE", "CANCELLED", "UNKNOWN"}


@contextmanager
def saying(content: bytes) -> Iterator[str]:
    """A server that sends the same bytes to everyone, and closes the connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        done = threading.Event()

        def serve() -> None:
            while not done.is_set():
                try:
                    connection, _ = listener.accept()
                except TimeoutError:
                    continue
                with connection:
                    connection.sendall(content)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            done.set()
            thread.join()


@pytest.mark.parametrize("content", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", bytes(1_000), b"\xff" * 64])
def test_a_server_that_does_not_speak_http2_fails_the_calls(sum_bundle: Bundle, content: bytes) -> None:
    with saying(content) as address:
        results = run(plan_of(sum_bundle, address, load=OpenLoop(Constant(50), 100)))
    assert results.answered == 0
    assert {error.code for error in results.errors} == {"UNAVAILABLE"}


def test_a_unix_socket_is_a_server(sum_bundle: Bundle, tmp_path: Path) -> None:
    with serving(sum_bundle, listen=f"unix:{tmp_path}/s") as server:
        for address in (f"unix:{tmp_path}/s", f"unix://{tmp_path}/s"):
            results = run(plan_of(sum_bundle, address, load=OPEN))
            assert (results.answered, results.wrong) == (60, 0)
        assert server.requests
    missing = run(plan_of(sum_bundle, f"unix:{tmp_path}/none", load=OPEN))
    assert (missing.answered, missing.failed) == (0, 60)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", [None, SERVER_NAME])
def test_tls_in_both_directions(
    sum_bundle: Bundle, certificates: Certificates, mode: str, name: str | None
) -> None:
    credentials = grpc.ssl_server_credentials(
        [certificates.server_pair()], certificates.authority.read_bytes(), require_client_auth=True
    )
    tls = TLS(
        root_certificates=certificates.authority.read_bytes(),
        certificate_chain=certificates.client.read_bytes(),
        private_key=certificates.client_key.read_bytes(),
        server_name=name,
    )
    with serving(sum_bundle, credentials=credentials) as server:
        results = run(plan_of(sum_bundle, Target(server.address, tls), mode, load=OPEN))
    assert (results.answered, results.wrong, results.failed) == (60, 0, 0)


def test_a_server_with_a_certificate_of_another_authority_is_not_trusted(
    sum_bundle: Bundle, certificates: Certificates, tmp_path: Path
) -> None:
    other = make_certificates(tmp_path)
    credentials = grpc.ssl_server_credentials([certificates.server_pair()])
    with serving(sum_bundle, credentials=credentials) as server:
        tls = TLS(root_certificates=other.authority.read_bytes())
        results = run(plan_of(sum_bundle, Target(server.address, tls), load=OPEN))
        shipped = run(plan_of(sum_bundle, Target(server.address, TLS()), load=OPEN))
    for found in (results, shipped):
        assert found.answered == 0
        assert "invalid peer certificate" in found.errors[0].example
        # There is a pause after each attempt.
        assert found.errors[0].count == 60


@pytest.mark.parametrize(("name", "answered"), [(None, 60), ("other.example", 0)])
def test_a_certificate_that_signed_itself_can_be_trusted(
    sum_bundle: Bundle, name: str | None, answered: int
) -> None:
    key, certificate = self_signed()
    with serving(sum_bundle, credentials=grpc.ssl_server_credentials([(key, certificate)])) as server:
        tls = TLS(root_certificates=certificate, server_name=name)
        results = run(plan_of(sum_bundle, Target(server.address, tls), load=OPEN))
    assert results.answered == answered


def self_signed() -> tuple[bytes, bytes]:
    """The key and the certificate of a server for 127.0.0.1, which is an authority as well."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "own")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    addresses = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = builder.add_extension(addresses, critical=False).sign(key, hashes.SHA256())
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem, certificate.public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize(
    ("tls", "message"),
    [
        (TLS(root_certificates=b"nonsense"), "no certificate of an authority"),
        (TLS(certificate_chain=b"x", private_key=b"y"), "the key cannot be read"),
    ],
)
def test_tls_settings_that_are_wrong_are_told(sum_bundle: Bundle, tls: TLS, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run(plan_of(sum_bundle, Target("127.0.0.1:1", tls)))


@pytest.mark.parametrize("address", ["unix-abstract:s", "vsock:1:2", "xds:///s"])
def test_addresses_that_only_grpc_knows_are_refused(sum_bundle: Bundle, address: str) -> None:
    with pytest.raises(ValueError, match="--generator python"):
        run(plan_of(sum_bundle, address))


@pytest.mark.parametrize("form", ["localhost:{port}", "dns:///localhost:{port}", "ipv4:127.0.0.1:{port}"])
def test_a_server_has_many_addresses(fake_server: FakeServer, form: str) -> None:
    address = form.format(port=fake_server.address.rpartition(":")[2])
    results = run(plan_of(fake_server.bundle, address, load=OPEN))
    assert results.answered >= 30
    # A name may stand for an address where nobody listens; such a name spreads calls over all of them.
    assert results.failed == 0 or form.startswith("dns:")


def test_connections_go_to_several_servers_in_turn(sum_bundle: Bundle, fake_server: FakeServer) -> None:
    with serving(sum_bundle) as other:
        results = run(plan_of(sum_bundle, f"{fake_server.address},{other.address}", load=OPEN))
        assert (len(fake_server.requests), len(other.requests)) == (30, 30)
    assert (results.answered, results.failed) == (60, 0)


def test_a_host_without_an_address_is_told(sum_bundle: Bundle) -> None:
    with pytest.raises(OSError, match=r"(?i)name|resolve|address"):
        run(plan_of(sum_bundle, "no-such-host.invalid:80"))


@pytest.mark.parametrize("mode", MODES)
def test_large_messages_go_both_ways(fake_server: FakeServer, mode: str) -> None:
    rows = 20_000
    results = answered_by(
        fake_server, mode, rows_per_call=rows, load=OpenLoop(Constant(10), 10), timeout_s=60.0
    )
    assert (results.answered, results.rows, results.wrong) == (3, 3 * rows, 0)


def test_the_same_run_is_measured_alike_by_both_generators(fake_server: FakeServer) -> None:
    from scorewire_loadtest import python_generator

    plan = plan_of(fake_server.bundle, fake_server.address, load=OPEN, warmup_s=0.1)
    made = from_bundle(fake_server.bundle, rows_per_call=1)
    bar = ProgressBar(Console(file=sys.stderr, force_terminal=False), warmup_s=0.1, duration_s=0.3)
    told = [generator.run(plan, made, bar) for generator in (native_generator, python_generator)]
    assert [(found.calls, found.answered, found.rows, found.wrong) for found in told] == [(60, 60, 60, 0)] * 2
    for found in told:
        assert set(found.latency_us) == {50.0, 90.0, 95.0, 99.0, 99.9, 99.99}
        assert 0 < found.min_us <= found.latency_us[50.0] <= found.max_us
        assert found.elapsed_s >= 0.3
        assert 0 < found.generator.busy <= 1
        assert not math.isnan(found.mean_us)


def test_memory_files_and_threads_are_given_back(fake_server: FakeServer) -> None:
    process = psutil.Process()

    def held() -> tuple[int, int]:
        return process.num_fds(), len([t for t in Path("/proc/self/task").iterdir() if _is_generator(t)])

    answered_by(fake_server)
    answered_by(fake_server, "stream")
    before = held()
    for _ in range(5):
        answered_by(fake_server, duration_s=0.05, connections=20, load=ClosedLoop(40))
        answered_by(fake_server, "stream", duration_s=0.05)
    assert held() == before
    assert before[1] == 0


def _is_generator(task: Path) -> bool:
    try:
        return (task / "comm").read_text(encoding="ascii").strip() == "generator"
    except OSError:
        return False


def test_a_run_that_is_forgotten_ends(sum_bundle: Bundle, fake_server: FakeServer) -> None:
    import scorewire_loadtest_native

    plan = plan_of(sum_bundle, fake_server.address, duration_s=3_600.0)
    settings = native_generator._settings(plan, from_bundle(sum_bundle, rows_per_call=1))
    attack = scorewire_loadtest_native.Run(settings)
    assert not attack.wait(0.01)
    with pytest.raises(RuntimeError, match="has not ended"):
        attack.totals()
    del attack
    assert not any(_is_generator(task) for task in Path("/proc/self/task").iterdir())
