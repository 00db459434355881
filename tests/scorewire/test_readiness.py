from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from scorewire import (
    Code,
    DeadlineExceededError,
    FailedPreconditionError,
    ModelStatus,
    NotFoundError,
    PermissionDeniedError,
    Routing,
    VersionState,
    VersionStatus,
)
from scorewire._codec import Route
from scorewire._readiness import unreadiness
from scorewire.testing import FakeServer
from tests.fake_models import SUM
from tests.scorewire.test_client import wait_until


def model(default: str = "", **states: VersionState) -> ModelStatus:
    """A model; versions are named like `v1`, highest first."""
    versions = tuple(
        VersionStatus(
            version=f"{name[1:]}.0.0",
            state=state,
            reason="model.onnx is broken" if state is VersionState.REFUSED else "",
            serving_since=None,
        )
        for name, state in states.items()
    )
    routing = Routing(aliases={"stable": "1.0.0"})
    return ModelStatus(name="churn", default_version=default, versions=versions, routing=routing)


LOADING, SERVING, REFUSED = VersionState.LOADING, VersionState.SERVING, VersionState.REFUSED
UNLOADED, RETIRING = VersionState.UNLOADED, VersionState.RETIRING


@pytest.mark.parametrize(
    ("status", "version", "told"),
    [
        (model("1.0.0", v1=SERVING), "", ""),
        (model("1.0.0", v1=SERVING), "1.0.0", ""),
        (model("1.0.0", v1=SERVING), "stable", ""),
        (model("1.0.0", v2=REFUSED, v1=SERVING), "", ""),
        (model("1.0.0", v2=LOADING, v1=SERVING), "", ""),
        (model("1.0.0", v2=LOADING, v1=SERVING), "2.0.0", "churn 2.0.0 is LOADING"),
        (model("2.0.0", v2=SERVING, v1=LOADING), "stable", "churn 1.0.0 is LOADING"),
        (model("", v1=LOADING), "", "churn 1.0.0 is LOADING"),
        (
            model("", v2=REFUSED, v1=LOADING),
            "",
            "churn 2.0.0 is REFUSED (model.onnx is broken), churn 1.0.0 is LOADING",
        ),
        (model("", v1=UNLOADED), "", "churn 1.0.0 is UNLOADED"),
        (model("", v1=RETIRING), "1.0.0", "churn 1.0.0 is RETIRING"),
        (model("1.0.0", v1=SERVING), "3.0.0", "model 'churn' has no version or alias '3.0.0'"),
        (model(""), "", "model 'churn' has no version"),
    ],
)
def test_the_state_tells_what_is_waited_for(status: ModelStatus, version: str, told: str) -> None:
    assert unreadiness([status], Route(model="churn", version=version)) == told


@pytest.mark.parametrize(
    ("status", "version"),
    [
        (model("", v1=REFUSED), ""),
        (model("", v1=REFUSED), "stable"),
        (model("", v1=REFUSED, v0=UNLOADED), ""),
        (model("2.0.0", v2=SERVING, v1=REFUSED), "1.0.0"),
    ],
)
def test_what_was_refused_is_not_waited_for(status: ModelStatus, version: str) -> None:
    with pytest.raises(
        FailedPreconditionError, match=r"churn 1\.0\.0 is refused: model\.onnx is broken"
    ) as caught:
        unreadiness([status], Route(model="churn", version=version))
    assert caught.value.reason == "BUNDLE_REFUSED"


def test_a_model_that_is_not_there_may_be_misspelt() -> None:
    told = unreadiness([model("")], Route(model="chrun", version=""))
    assert told == "the server has no model 'chrun'; did you mean 'churn'?"
    assert unreadiness([], Route(model="churn", version="")) == "the server has no model 'churn'"


def test_what_serves_is_ready_at_once(client: Any) -> None:
    client.wait_ready()
    client.wait_ready("sum")
    client.wait_ready("sum", "1.0.0", timeout=5)


def test_the_last_state_is_told_when_the_time_is_over(client: Any, server: FakeServer) -> None:
    server.serving = False
    with pytest.raises(
        DeadlineExceededError, match=r"not ready after [0-9.]+ s: the server answers, and is not ready"
    ):
        client.wait_ready(timeout=2)
    with pytest.raises(DeadlineExceededError, match="did you mean 'churn'"):
        client.wait_ready("churns", timeout=2)


def test_a_server_that_does_not_answer_is_told(connect: Any) -> None:
    with FakeServer(SUM) as gone:
        address = gone.address
    with pytest.raises(DeadlineExceededError, match="no answer from the server: .*Connection refused"):
        connect(address).wait_ready("sum", timeout=3)


@pytest.fixture
def later() -> Iterator[Any]:
    """Does something in another thread while the test waits."""
    threads: list[threading.Thread] = []

    def start(action: Any) -> None:
        threads.append(threading.Thread(target=action))
        threads[-1].start()

    yield start
    for thread in threads:
        thread.join()


def test_a_server_that_starts_is_waited_for(connect: Any, later: Any) -> None:
    with FakeServer(SUM) as gone:
        port = gone.port
    servers: list[FakeServer] = []
    client = connect(f"127.0.0.1:{port}")
    with pytest.raises(DeadlineExceededError):
        client.wait_ready("sum", timeout=0.3)
    later(lambda: servers.append(FakeServer(SUM, port=port)))
    client.wait_ready("sum", timeout=60)
    assert client.predict("sum", {"x": 1}).score == 1
    servers[0].stop()


def test_a_version_that_appears_is_waited_for(client: Any, server: FakeServer, later: Any) -> None:
    def release() -> None:
        assert wait_until(lambda: sum(call.method == "ListModels" for call in server.calls) >= 3)
        server.serve(replace(SUM, version="2.0.0"))

    later(release)
    client.wait_ready("sum", "2.0.0", timeout=60)
    assert client.predict("sum", {"x": 1}, version="2.0.0").version == "2.0.0"


def test_another_error_is_not_waited_for(client: Any, server: FakeServer) -> None:
    server.fail(Code.PERMISSION_DENIED, "no", method="ListModels")
    with pytest.raises(PermissionDeniedError):
        client.wait_ready("sum")
    server.fail(Code.NOT_FOUND, "no", method="Check")
    with pytest.raises(NotFoundError):
        client.wait_ready()


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_the_time_to_wait_is_positive(client: Any, timeout: float) -> None:
    with pytest.raises(ValueError, match="positive number of seconds"):
        client.wait_ready("sum", timeout=timeout)
