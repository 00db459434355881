"""Carries out a run: prepares the calls, and makes them by one of the two generators."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec

from rich.console import Console

from scorewire import ScorewireError, ServerInfo
from scorewire_contract.bundle import Bundle
from scorewire_loadtest import calls, python_generator
from scorewire_loadtest.calls import PreparedCall
from scorewire_loadtest.explained import explained
from scorewire_loadtest.plan import Plan
from scorewire_loadtest.progress import ProgressBar
from scorewire_loadtest.results import Results
from scorewire_loadtest.rows import read_table
from scorewire_loadtest.target import Target
from scorewire_loadtest.transport import ServerError, get_model

# The names of the generators, and `auto` for the native one where it is installed.
GENERATORS = ("auto", "native", "python")
# Makes the calls of a plan, and shows the progress.
Generator = Callable[[Plan, Sequence[PreparedCall], ProgressBar], Results]


class GeneratorError(Exception):
    """The generator that was asked for is not installed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """The results of a run, when it began, and what the server says of itself; None if it says nothing."""

    begun_at: datetime
    server: ServerInfo | None
    results: Results


def execute(plan: Plan, console: Console, *, generator: str = "auto") -> Measurement:
    """Carry out a run, with a progress bar if the console is a terminal.

    Raises:
        GeneratorError: the generator is not installed.
        ServerError: the server cannot be reached, or does not have the model or its schema.
        ValueError: the rows do not fit the model.
        OSError: the input file cannot be read.
    """
    chosen = choose(generator)
    prepared, server = asyncio.run(_prepare(plan))
    begun_at = datetime.now(UTC)
    with ProgressBar(console, warmup_s=plan.warmup_s, duration_s=plan.duration_s) as bar:
        return Measurement(begun_at=begun_at, server=server, results=chosen(plan, prepared, bar))


def choose(name: str) -> Generator:
    """The generator of a name.

    Raises:
        GeneratorError: it is not installed.
    """
    if name == "python" or (name == "auto" and find_spec("scorewire_loadtest_native") is None):
        return python_generator.run
    try:
        from scorewire_loadtest import native_generator  # noqa: PLC0415 - may not be installed
    except ImportError as error:
        raise GeneratorError(
            f"the native generator is not installed ({error}): install scorewire-loadtest[native], or use"
            f" --generator python, which is slower (Python {sys.version_info[0]}.{sys.version_info[1]})"
        ) from None
    return native_generator.run


async def _prepare(plan: Plan) -> tuple[list[PreparedCall], ServerInfo | None]:
    """Get the model from the server, and serialize the calls."""
    source = plan.source
    if isinstance(source, Bundle):
        found = await get_model(plan.target, source.model, source.manifest.version, timeout_s=plan.timeout_s)
        if found.schema.fingerprint != source.manifest.schema.fingerprint:
            raise ServerError(
                f"the server's {source.model} {source.version} takes other rows than the bundle:"
                f" its schema is {found.schema.fingerprint}, the bundle's"
                f" {source.manifest.schema.fingerprint}. Is it another bundle of the same version?"
            )
        prepared = calls.from_bundle(source, rows_per_call=plan.rows_per_call)
    else:
        found = await get_model(plan.target, source.model, source.version, timeout_s=plan.timeout_s)
        prepared = calls.from_table(
            read_table(source.path, found.schema),
            found.schema,
            model=source.model,
            version=source.version,
            rows_per_call=plan.rows_per_call,
        )
    if plan.explain is not None:
        prepared = explained(prepared, plan.explain)
    return prepared, await _server_info(plan.target, plan.timeout_s)


async def _server_info(target: Target, timeout_s: float) -> ServerInfo | None:
    """What the server says of itself; None if it does not have that method."""
    try:
        async with target.client(timeout_s) as client:
            return await client.server()
    except ScorewireError:
        return None
