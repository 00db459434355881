"""Loads a version: read the bundle, audit the graph, open a session, score the golden rows, compile, warm up.

A version that fails a step is refused with the reason, and never scores a caller's row.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import TypeAlias

import numpy as np

from scorewire_contract.bundle import Bundle, BundleError
from scorewire_contract.memory import explain_memory
from scorewire_contract.scoring import GoldenMismatchError, RunGraph, Scorer, score_golden
from scorewire_contract.service.logs import log_fault
from scorewire_proto.v1 import models_pb2
from scorewire_server.catalog.records import announce, refuse
from scorewire_server.catalog.repository import BundleFolder, read_folder
from scorewire_server.engine.explaining import OpenTrees, refuse_trees
from scorewire_server.engine.runs_on import CompileGraph, refuse_programs
from scorewire_server.engine.snapshot import LoadedVersion, VersionRecord
from scorewire_server.loading.audit import AuditError, audit, has_subgraphs
from scorewire_server.loading.explanations import explanations_of
from scorewire_server.loading.microbatching import max_shared_rows
from scorewire_server.loading.programs import choose_runner

# Opens a session for an audited graph.
OpenSession: TypeAlias = Callable[[bytes], RunGraph]
# Prepares an engine for a version.
Prepare: TypeAlias = Callable[[LoadedVersion], None]
_NO_PROGRAMS = refuse_programs("the server runs every graph with onnxruntime")
_NO_TREES = refuse_trees("the server explains nothing")
_WARM_UP_ROUNDS = 5
_WARM_UP_ROWS = 256


def load(
    folder: BundleFolder,
    open_session: OpenSession,
    prepare: Prepare | None = None,
    digest: str = "",
    *,
    compile_graph: CompileGraph = _NO_PROGRAMS,
    open_trees: OpenTrees = _NO_TREES,
) -> VersionRecord:
    """Load a version, or find the reason to refuse it. Never raises.

    Args:
        folder: the folder of the bundle.
        open_session: opens a session for the graph.
        prepare: the engine's; a version that the engine cannot hold is refused.
        digest: the digest that the bundle must have; "" takes any.
        compile_graph: compiles the graph, so that the version is run without onnxruntime where that is
            possible; by default onnxruntime runs all graphs.
        open_trees: makes the trees whose contributions explain an output; by default nothing is explained.
    """
    what = "it"
    try:
        bundle = read_folder(folder, digest)
        what = f"its graph of {len(bundle.graph)} bytes"
        loaded = _load(bundle, open_session, compile_graph, open_trees)
        if prepare is not None:
            prepare(loaded)
    except (BundleError, AuditError, GoldenMismatchError) as error:
        reason = str(error)
    except OSError as error:
        reason = f"it cannot be read: {error.strerror}"
    except Exception as error:
        # onnxruntime and the row coding raise types of their own for graphs and tables that are not valid.
        log_fault(f"load {folder.model} {folder.version}", error)
        text = f"{what} cannot be loaded: {type(error).__name__}: {error}"
        reason = explain_memory(text, "allow it more memory, or train a smaller model")
    else:
        return replace(
            announce(folder),
            state=models_pb2.VERSION_STATE_SERVING,
            serving_since=datetime.now(UTC),
            loaded=loaded,
        )
    return refuse(folder, reason)


def _load(
    bundle: Bundle, open_session: OpenSession, compile_graph: CompileGraph, open_trees: OpenTrees
) -> LoadedVersion:
    manifest = bundle.manifest
    audit(bundle.graph, manifest)
    session = open_session(bundle.graph)
    score_golden(bundle, session)
    run, runs_on = choose_runner(bundle, session, compile_graph)
    # Where a program runs the graph, this ends the session.
    del session
    scorer = Scorer(manifest.schema, manifest.coding, run)
    row_ns, graph_ns = _warm_up(bundle, scorer)
    if has_subgraphs(bundle.graph):
        # The row decides how long such a graph runs, so it never runs on a thread that other calls wait for.
        row_ns = graph_ns = math.inf
    return LoadedVersion(
        model=bundle.model,
        version=bundle.version.text,
        fingerprint=manifest.schema.fingerprint,
        manifest=manifest,
        scorer=scorer,
        row_ns=row_ns,
        max_shared_rows=max_shared_rows(bundle, scorer, graph_ns),
        digest=bundle.digest,
        runs_on=runs_on,
        explanations=explanations_of(
            bundle,
            scorer.coder,
            open_session=open_session,
            compile_graph=compile_graph,
            open_trees=open_trees,
        ),
    )


def _warm_up(bundle: Bundle, scorer: Scorer) -> tuple[float, float]:
    """Score golden rows, many at once and one alone, and measure the cost of a row.

    Returns:
        Nanoseconds per row of a large batch: in all, and in the graph alone. Where texts are cut into
        words, most of the time is outside the graph.
    """
    rows = bundle.golden.rows
    repeats = -(-_WARM_UP_ROWS // rows.row_count)
    row_count = rows.row_count * repeats
    numbers = np.tile(np.array(rows.numbers, dtype=np.float64), repeats)
    texts = list(rows.texts) * repeats
    best = best_of_graph = float("inf")
    for _ in range(_WARM_UP_ROUNDS):
        begin = time.perf_counter_ns()
        scores = scorer.score(row_count, numbers, texts)
        # The smallest of several, since every disturbance makes a measurement longer.
        best = min(best, (time.perf_counter_ns() - begin) / row_count)
        best_of_graph = min(best_of_graph, scores.model_ns / row_count)
        scorer.score(1, numbers[: scorer.number_count], texts[: scorer.text_count])
    return best, best_of_graph
