"""Bundles that the tests of the server share."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
import structlog

from scorewire_contract.bundle import Bundle, read_bundle
from scorewire_server.logs import configure_logs, flush_logs
from tests import bundles


@pytest.fixture(scope="session")
def sum_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The bundle of `write_sum_bundle`, read."""
    return read_bundle(bundles.write_sum_bundle(tmp_path_factory.mktemp("models")))


@pytest.fixture(autouse=True)
def _logs() -> Iterator[None]:
    """The log as a server writes it."""
    configure_logs("json", "info")
    yield
    flush_logs()
    structlog.reset_defaults()


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    """Flush the log at the end of each test, so that its lines are captured with it."""
    result = yield
    flush_logs()
    return result


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """An empty folder of bundles."""
    folder = tmp_path / "models"
    folder.mkdir()
    return folder
