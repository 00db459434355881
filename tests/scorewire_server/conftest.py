"""Bundles that the tests of the server share."""

from __future__ import annotations

from pathlib import Path

import pytest

from scorewire_contract.bundle import Bundle, read_bundle
from tests import bundles
from tests.service_logs import pytest_runtest_call, service_logs

__all__ = ["pytest_runtest_call", "service_logs"]


@pytest.fixture(scope="session")
def sum_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The bundle of `write_sum_bundle`, read."""
    return read_bundle(bundles.write_sum_bundle(tmp_path_factory.mktemp("models")))


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """An empty folder of bundles."""
    folder = tmp_path / "models"
    folder.mkdir()
    return folder
