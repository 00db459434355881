"""The control methods that a server registers with its engine."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scorewire_server import app as app_module
from scorewire_server.app import App
from scorewire_server.engine.factory import choose_engine
from scorewire_server.engine.port import ControlMethod, Engine
from scorewire_server.settings import Settings


def registered_methods(models: Path, monkeypatch: pytest.MonkeyPatch) -> list[ControlMethod]:
    """The control methods that a server with a folder of bundles hands to its engine."""
    kind = choose_engine("reference")
    registered: list[ControlMethod] = []

    def make(settings: Settings, control: Iterable[ControlMethod], *others: Any, **more: Any) -> Engine:
        registered.extend(control)
        return kind.make(settings, registered, *others, **more)

    monkeypatch.setattr(app_module, "choose_engine", lambda *_: replace(kind, make=make))
    App(Settings(models=models, listen="127.0.0.1:0"))
    return registered
