"""The log of a service in the process of the tests; a conftest imports both names."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import pytest
import structlog

from scorewire_contract.service.logs import configure_logs, flush_logs


@pytest.fixture(autouse=True)
def service_logs() -> Iterator[None]:
    """The log as a service writes it."""
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
