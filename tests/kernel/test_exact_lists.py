"""Operators whose results have the same bits everywhere are listed for the kernel, and for the export."""

from __future__ import annotations

import re
from pathlib import Path

from scorewire_training.export.lowering.exact_inputs import _EXACT

_COMPILER = Path("server/native/kernel/src/program/compile/mod.rs")


def test_what_is_exact_for_the_kernel_is_exact_for_the_export() -> None:
    source = _COMPILER.read_text(encoding="utf-8")
    (listed,) = re.findall(r"^const EXACT: .*?= \[(.*?)\];$", source, re.MULTILINE | re.DOTALL)
    in_kernel = set(re.findall(r'"(\w+)"', listed))
    assert {"Add", "TreeEnsemble"} <= in_kernel
    assert in_kernel <= _EXACT
