"""Which engine answers calls."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from typing import Protocol

from scorewire_contract.scoring import RunGraph
from scorewire_server.engine.port import ControlMethod, Engine
from scorewire_server.errors import StartError
from scorewire_server.settings import Settings, silence_onnxruntime

EXTENSION = "scorewire_native"


class OpenSession(Protocol):
    """Makes a session of an audited graph, of which so many threads may work on one call."""

    def __call__(self, graph: bytes, threads: int) -> RunGraph: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class EngineKind:
    """An engine, and how it opens graphs."""

    name: str
    description: str
    make: Callable[[Settings, Iterable[ControlMethod]], Engine]
    open_session: OpenSession


def choose_engine(name: str) -> EngineKind:
    """The engine of a name; `auto` is native where the extension is installed, and reference where not.

    Only the one that is chosen is imported, so that one onnxruntime is in the process.

    Raises:
        StartError: native is asked for, and cannot be used.
    """
    silence_onnxruntime()
    installed = find_spec(EXTENSION) is not None
    if name == "reference" or (name == "auto" and not installed):
        import onnxruntime  # noqa: PLC0415

        from scorewire_server.engine.reference.engine import ReferenceEngine  # noqa: PLC0415
        from scorewire_server.engine.reference.session import open_session  # noqa: PLC0415

        description = f"reference (onnxruntime {onnxruntime.__version__})"
        return EngineKind("reference", description, ReferenceEngine, open_session)
    if not installed:
        raise StartError("--engine native needs the package scorewire-native; install it, or take reference")
    from scorewire_server.engine.native.engine import NativeEngine  # noqa: PLC0415
    from scorewire_server.engine.native.session import load_runtime  # noqa: PLC0415
    from scorewire_server.engine.native.session import open_session as open_native  # noqa: PLC0415

    description = f"native {version('scorewire-native')} (onnxruntime {load_runtime()})"
    return EngineKind("native", description, NativeEngine, open_native)
