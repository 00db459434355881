"""Chooses the engine that answers calls."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from importlib.metadata import version
from importlib.util import find_spec
from typing import Protocol

from scorewire_contract.scoring import RunGraph
from scorewire_contract.service.start import StartError
from scorewire_server.engine.access import AccessOptions
from scorewire_server.engine.explaining import OpenTrees
from scorewire_server.engine.port import ControlMethod, Engine
from scorewire_server.engine.recording import RecordOptions
from scorewire_server.engine.runs_on import CompileGraph, refuse_programs
from scorewire_server.engine.tracing import TraceOptions
from scorewire_server.settings import Settings, silence_onnxruntime

EXTENSION = "scorewire_native"


class OpenSession(Protocol):
    """Opens a session for an audited graph; `threads` may work on one run."""

    def __call__(self, graph: bytes, threads: int) -> RunGraph: ...  # noqa: D102


class MakeEngine(Protocol):
    """Makes an engine from the settings and the control methods.

    It records only with `records`, traces only with `traces`, and asks who calls only with `access`.
    """

    def __call__(  # noqa: D102
        self,
        settings: Settings,
        control: Iterable[ControlMethod],
        records: RecordOptions | None = None,
        traces: TraceOptions | None = None,
        access: AccessOptions | None = None,
    ) -> Engine: ...


@dataclass(frozen=True, slots=True)
class EngineKind:
    """A kind of engine.

    Attributes:
        name: native or reference.
        description: the name with versions, for people.
        onnxruntime_version: the version of the runtime that runs graphs.
        make: makes an engine.
        open_session: opens a session for a graph, in the runtime of this engine.
        compile_graph: compiles a graph that this engine then runs without the runtime.
        open_trees: makes the trees whose contributions explain an output.
    """

    name: str
    description: str
    onnxruntime_version: str
    make: MakeEngine
    open_session: OpenSession
    compile_graph: CompileGraph
    open_trees: OpenTrees


def choose_engine(name: str, kernel: str = "auto") -> EngineKind:
    """The kind of engine with a name; `auto` is native if the extension is installed, else reference.

    Only the chosen engine is imported, so that the process has one onnxruntime.

    Args:
        name: auto, native or reference.
        kernel: auto compiles graphs where that is possible; onnxruntime never does.

    Raises:
        StartError: the native engine was asked for and is not installed, or has no onnxruntime.
    """
    kind = _choose_engine(name)
    if kernel == "auto":
        return kind
    return replace(kind, compile_graph=refuse_programs("--kernel is onnxruntime"))


def _choose_engine(name: str) -> EngineKind:
    silence_onnxruntime()
    installed = find_spec(EXTENSION) is not None
    if name == "reference" or (name == "auto" and not installed):
        import onnxruntime  # noqa: PLC0415

        from scorewire_server.engine.reference.contributions import KernelContributions  # noqa: PLC0415
        from scorewire_server.engine.reference.engine import ReferenceEngine  # noqa: PLC0415
        from scorewire_server.engine.reference.program import find_compiler  # noqa: PLC0415
        from scorewire_server.engine.reference.session import open_session  # noqa: PLC0415

        runtime = str(onnxruntime.__version__)
        return EngineKind(
            "reference",
            f"reference (onnxruntime {runtime})",
            runtime,
            ReferenceEngine,
            open_session,
            find_compiler(),
            KernelContributions,
        )
    if not installed:
        raise StartError(
            "--engine native needs the package scorewire-native; install it, or use --engine reference"
        )
    from scorewire_server.engine.native.contributions import open_trees  # noqa: PLC0415
    from scorewire_server.engine.native.engine import NativeEngine  # noqa: PLC0415
    from scorewire_server.engine.native.session import compile_graph, load_runtime  # noqa: PLC0415
    from scorewire_server.engine.native.session import open_session as open_native  # noqa: PLC0415

    runtime = load_runtime()
    description = f"native {version('scorewire-native')} (onnxruntime {runtime})"
    return EngineKind("native", description, runtime, NativeEngine, open_native, compile_graph, open_trees)
