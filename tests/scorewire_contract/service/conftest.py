"""Tests here read the log, as those of the server do."""

from __future__ import annotations

from tests.service_logs import pytest_runtest_call, service_logs

__all__ = ["pytest_runtest_call", "service_logs"]
