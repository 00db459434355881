"""Runs the commands of containers on this machine."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def moved(arguments: Iterable[str], folder: Path) -> list[str]:
    """The arguments of a container with its folders below a folder, and with free ports."""
    here = []
    for each in arguments:
        name, _, value = each.partition("=")
        if name == "--listen":
            value = "127.0.0.1:0"
        elif name == "--metrics-port":
            value = "0"
        elif value.startswith("/"):
            value = f"{folder}{value}"
        here.append(f"{name}={value}")
    return here
