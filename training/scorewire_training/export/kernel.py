"""Runs graphs in the kernel, which gives trees the bits of their library; it is an extra."""

from __future__ import annotations

from scorewire_contract.scoring import RunGraph


def open_in_kernel(graph: bytes) -> RunGraph | None:
    """The function that runs a graph in the kernel; None if it is not installed or refuses the graph."""
    try:
        import scorewire_kernel  # noqa: PLC0415 - an extra
    except ModuleNotFoundError:
        return None
    try:
        return scorewire_kernel.Program(graph).run
    except scorewire_kernel.UnsupportedError:
        return None
