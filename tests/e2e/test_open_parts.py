"""What needs no credential: health, and what the access file opens while the server runs."""

from __future__ import annotations

import http.client
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2

from tests.access_files import Key, write_access
from tests.bundles import write_sum_bundle
from tests.conformance.engines import ENGINES
from tests.conformance.typed import REFLECTION
from tests.conformance.wire import TIMEOUT_SECONDS, Failure, Wire, failure_of
from tests.processes import ServerProcess, run_command, serving

STATISTICS = "/scorewire.v1.ModelService/GetStatistics"
QUESTION = reflection_pb2.ServerReflectionRequest(list_services="").SerializeToString()
HEALTHCHECK = (sys.executable, "-m", "scorewire_server.healthcheck", "--timeout-seconds", "60")


@dataclass(frozen=True, slots=True)
class Served:
    """A server, and its access file with two principals."""

    server: ServerProcess
    wire: Wire
    file: Path
    observer: Key
    guest: Key

    def reread(self, **changes: Any) -> None:
        """Change the access file, and have it read."""
        before = len(self.server.log("access replaced"))
        _write(self.file, self.observer, self.guest, **changes)
        self.server.hang_up()
        self.server.logged("access replaced", before + 1)

    def reason(self, path: str, key: Key | None = None) -> str:
        """The reason of a call's failure; "" if it is answered."""
        metadata = () if key is None else key.metadata
        try:
            if path == REFLECTION:
                list(self.wire.stream([QUESTION], path, metadata=metadata))
            else:
                self.wire.call(path, b"", metadata=metadata)
        except grpc.RpcError as error:
            return failure_of(error).reason
        return ""

    def page(self, authorization: str | None = None) -> tuple[int, bytes, str | None]:
        """Status and content of the page of metrics, and the header that asks for a credential."""
        connection = http.client.HTTPConnection(self.server.metrics_address, timeout=TIMEOUT_SECONDS)
        headers = {} if authorization is None else {"Authorization": authorization}
        connection.request("GET", "/metrics", headers=headers)
        answer = connection.getresponse()
        found = answer.status, answer.read(), answer.getheader("WWW-Authenticate")
        connection.close()
        return found


def _write(file: Path, observer: Key, guest: Key, *, observe: str = "*", **opened: bool) -> None:
    write_access(
        file,
        {
            "observer": {"observe": [observe], "keys": [observer.entry()]},
            "guest": {"predict": ["*"], "observe": ["sum"], "keys": [guest.entry()]},
        },
        open=opened,
    )


@pytest.fixture(params=ENGINES)
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Served]:
    write_sum_bundle(tmp_path / "models")
    file = tmp_path / "access.toml"
    keys = Key.make(), Key.make()
    _write(file, *keys)
    flags = ("--engine", request.param, "--access", file, "--watch", "off")
    with serving(tmp_path, tmp_path / "models", *flags) as server:
        wire = Wire(server.address)
        yield Served(server, wire, file, *keys)
        wire.channel.close()


def test_the_check_of_health_needs_no_credential(served: Served) -> None:
    for service in ("", "sum", "grpc.health.v1.Health"):
        asked = run_command(served.server.address, "--service", service, command=HEALTHCHECK)
        assert (asked.returncode, asked.stdout) == (0, "SERVING\n")


@pytest.mark.parametrize(("path", "name"), [(STATISTICS, "statistics"), (REFLECTION, "reflection")])
def test_what_the_file_opens_is_open_as_long_as_it_says(served: Served, path: str, name: str) -> None:
    assert served.reason(path) == "UNAUTHENTICATED"
    assert served.reason(path, served.guest) == ""
    served.reread(**{name: True})
    assert served.reason(path) == ""
    # Whatever a call shows.
    assert served.reason(path, Key.make()) == ""
    others = {STATISTICS, REFLECTION, "/scorewire.v1.ModelService/ListModels"} - {path}
    assert {served.reason(other) for other in others} == {"UNAUTHENTICATED"}
    served.reread()
    assert served.reason(path) == "UNAUTHENTICATED"


def test_a_stream_ends_when_the_file_opens_its_method_no_more(served: Served) -> None:
    served.reread(reflection=True)
    questions, failure = _ask(served, ())
    served.reread()
    questions.put(QUESTION)
    assert failure().reason == "UNAUTHENTICATED"


def test_the_next_question_of_a_stream_is_refused_once_the_last_right_is_gone(served: Served) -> None:
    questions, failure = _ask(served, served.observer.metadata)
    write_access(served.file, {"observer": {"keys": [served.observer.entry()]}})
    served.server.hang_up()
    served.server.logged("access replaced")
    questions.put(QUESTION)
    assert failure().reason == "PERMISSION_DENIED"


def test_the_page_of_metrics_needs_the_key_of_who_observes_all_models(served: Served) -> None:
    refused = {
        served.page(value)
        for value in (
            None,
            f"Bearer {served.guest.text}",
            f"Bearer {Key.make().text}",
            f"Basic {served.observer.text}",
            served.observer.text,
            "Bearer e30.e30.e30",
        )
    }
    assert refused == {(401, b"401 Unauthorized\n", "Bearer")}
    status, page, _ = served.page(f"Bearer {served.observer.text}")
    assert status == 200
    assert b"scorewire_build_info" in page
    served.reread(observe="sum")
    assert served.page(f"Bearer {served.observer.text}")[0] == 401
    served.reread(metrics=True)
    assert served.page()[0] == 200
    assert served.page(f"Bearer {Key.make().text}")[0] == 200
    served.reread()
    assert served.page()[0] == 401


def test_changes_from_other_machines_need_an_access_file(tmp_path: Path) -> None:
    write_sum_bundle(tmp_path / "models")
    flags = ("--models", tmp_path / "models", "--control", "on", "--listen", "0.0.0.0:0")
    ended = run_command("serve", *flags)
    assert ended.returncode == 2
    assert "--control on would let everybody who reaches --listen 0.0.0.0:0" in ended.stderr
    assert "give --access" in ended.stderr


def _ask(served: Served, metadata: Any) -> tuple[SimpleQueue[bytes], Any]:
    """Begin to ask reflection: where further questions go, and what waits for the end by a failure."""
    questions: SimpleQueue[bytes] = SimpleQueue()
    questions.put(QUESTION)
    answers = served.wire.stream(iter(questions.get, b""), REFLECTION, metadata=metadata)
    assert next(answers)

    def failure() -> Failure:
        try:
            with pytest.raises(grpc.RpcError) as ended:
                next(answers)
            return failure_of(ended.value)
        finally:
            questions.put(b"")

    return questions, failure
