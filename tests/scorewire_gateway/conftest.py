"""Gateways in front of the SDK's fake server, and of a real one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from scorewire.testing import FakeServer
from tests.bundles import write_classifier_bundle, write_greeting_bundle, write_sum_bundle
from tests.fake_models import CHURN, SUM
from tests.processes import ServerProcess, serving
from tests.scorewire_gateway.gateways import gateway_thread
from tests.scorewire_gateway.routed import routed_server
from tests.service_logs import pytest_runtest_call, service_logs

__all__ = ["pytest_runtest_call", "service_logs"]


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    """A fake server of the models `churn` and `sum`."""
    with FakeServer(CHURN, SUM) as server:
        yield server


@pytest.fixture
def http(fake: FakeServer) -> Iterator[httpx.Client]:
    """An HTTP client of a gateway in front of `fake`."""
    with gateway_thread(fake.address) as client:
        yield client


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A real server of the models `sum`, `classes` and `greeting`."""
    folder = tmp_path_factory.mktemp("gateway")
    for write in (write_sum_bundle, write_classifier_bundle, write_greeting_bundle):
        write(folder / "models")
    with serving(folder, folder / "models") as process:
        yield process


@pytest.fixture(scope="session")
def real(server: ServerProcess) -> Iterator[httpx.Client]:
    """An HTTP client of a gateway in front of `server`; for tests that change nothing of it."""
    with gateway_thread(server.address) as client:
        yield client


@pytest.fixture(scope="session")
def routed_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of `routed`, with its records."""
    return tmp_path_factory.mktemp("routed")


@pytest.fixture(scope="session")
def routed(routed_folder: Path) -> Iterator[ServerProcess]:
    """A real server with a split, a shadow, aliases, and calls that were answered; see `routed_server`."""
    with routed_server(routed_folder) as server:
        yield server
