"""Gateways with jobs. Their scoring server need not exist."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import pytest

from tests.scorewire_gateway.gateways import gateway_thread

# Where no server answers.
NOWHERE = "127.0.0.1:1"
Gateways: TypeAlias = Callable[..., httpx.Client]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of jobs."""
    return tmp_path / "jobs"


@pytest.fixture
def gateway(folder: Path) -> Iterator[Gateways]:
    """Starts a gateway with jobs and further settings; gives its client."""
    with ExitStack() as stack:

        def start(**settings: Any) -> httpx.Client:
            # Other tests may keep all cores busy.
            values = {"jobs": folder, "jobs_niceness": 0} | settings
            return stack.enter_context(gateway_thread(NOWHERE, server_access="off", **values))

        yield start
