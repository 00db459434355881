"""Compiles a version's graph into a program of the kernel, and proves the program.

Golden rows are scored by both, by the program and by onnxruntime. A program must
give the scores of the golden rows within their tolerance, and must give each row the
same scores, to the last bit, alone and in runs of any size: the kernel scores rows in
other ways where there are many. A program that fails never serves; onnxruntime then
runs the graph.
"""

from __future__ import annotations

import numpy as np

from scorewire_contract.bundle import Bundle
from scorewire_contract.scoring import RunGraph, Scorer, score_golden
from scorewire_contract.service.logs import log_fault, logger
from scorewire_contract.service.printable import printable
from scorewire_server.engine.runs_on import KERNEL, ONNXRUNTIME, CompileGraph, RunsOn, UnsupportedGraphError
from scorewire_server.loading.golden_rows import GoldenRows

_PROOF_ROWS = 256
# Sizes of runs: one of each range that may have its own form of the trees (`ENDS` in the kernel's
# `choice.rs`), and one larger than the kernel's blocks of rows.
_PROOF_SIZES = (2, 5, 16, 100, 250, 300, 1500)
_MAX_DETAILS = 1000


def choose_runner(bundle: Bundle, session: RunGraph, compile_graph: CompileGraph) -> tuple[RunGraph, RunsOn]:
    """The program of a bundle's graph where the kernel runs it right, else the session; and why.

    Args:
        bundle: a bundle whose graph was audited.
        session: onnxruntime's session of the graph, which gives golden rows the expected scores.
        compile_graph: compiles the graph.
    """
    try:
        program = compile_graph(bundle.graph)
        _prove(bundle, program)
    except UnsupportedGraphError as error:
        return session, _onnxruntime(str(error))
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        # A fault of the kernel, perhaps a panic. The session was proven, so the version can serve.
        reason = str(error)
        # Wrong scores are ValueErrors, of which a traceback tells no more.
        if not isinstance(error, ValueError):
            log_fault(f"compile {bundle.model} {bundle.version.text}", error)
            reason = f"{type(error).__name__}: {reason}"
        runs_on = _onnxruntime(f"the kernel's program was refused: {reason}")
        log = logger().bind(model=bundle.model, version=bundle.version.text)
        log.error("program refused, onnxruntime runs the graph", reason=runs_on.details)
        return session, runs_on
    return program, RunsOn(KERNEL, program.description)


def _onnxruntime(reason: str) -> RunsOn:
    # The reason may quote names and texts of the graph.
    return RunsOn(ONNXRUNTIME, printable(reason[:_MAX_DETAILS]))


def _prove(bundle: Bundle, program: RunGraph) -> None:
    """Check the scores of golden rows.

    Raises:
        ValueError: a score is not the expected one, or changes with the number of rows.
        Exception: the program fails.
    """
    score_golden(bundle, program)
    scorer = Scorer(bundle.manifest.schema, bundle.manifest.coding, program)
    golden = GoldenRows(bundle, scorer, _PROOF_ROWS)
    alone = dict(zip(golden.indices.tolist(), golden.score_alone(), strict=True))
    for size in _PROOF_SIZES:
        chosen = np.resize(golden.indices, size)
        if golden.score(chosen) != [alone[row] for row in chosen.tolist()]:
            raise ValueError(f"golden rows have other scores in a run of {size} rows than alone")
