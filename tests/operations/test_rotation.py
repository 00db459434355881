"""Credentials and certificates change under load; `python -m tests.operations` does so a hundred times."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.engines import ENGINES
from tests.operations.rotation import revoke, rotate


@pytest.mark.parametrize("engine", ENGINES)
async def test_keys_certificates_and_the_access_file_change_without_a_failed_call(
    tmp_path: Path, engine: str
) -> None:
    seen = await rotate(tmp_path, engine, keys=5, certificates=5, files=5)
    assert set(seen.versions) == {"1.0.0"}


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_revoked_key_is_refused_on_calls_and_open_streams_and_others_go_on(
    tmp_path: Path, engine: str
) -> None:
    seen = await revoke(tmp_path, engine, times=3)
    assert set(seen.versions) == {"1.0.0"}
