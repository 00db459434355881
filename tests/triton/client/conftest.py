"""The server under test."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--address", required=True, help="HOST:PORT of a server of tests.triton.serving")


@pytest.fixture
def address(request: pytest.FixtureRequest) -> str:
    """Where the server answers."""
    return str(request.config.getoption("--address"))
