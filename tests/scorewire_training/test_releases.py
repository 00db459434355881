"""The error message for a missing library."""

from __future__ import annotations

import subprocess
import sys

_WITHOUT_XGBOOST = """
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "xgboost" else found(name, *rest)
import scorewire_training
"""


def test_either_distribution_of_xgboost_is_asked_for_where_there_is_none() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_XGBOOST], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "'scorewire-training[xgboost-cpu]', or 'scorewire-training[xgboost]'" in done.stderr
