"""Shows where the native engine spends the time of a call: `python -m tests.bench.call_profile`.

perf samples the server while calls come in whose rows all differ. The table groups the samples by what the
engine does. The extension must have its symbols, which wheels leave out:

    CARGO_PROFILE_RELEASE_DEBUG=1 maturin build --release --strip false ...
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import click

from tests.bench import servers
from tests.bench.call_loads import SHAPES, CallLoads
from tests.bench.measure import cores, pinned
from tests.bench.scored_model import make_model
from tests.bench.servers import Server

DIFFERENT_CALLS = 5_000
# The first pattern that fits "LIBRARY SYMBOL" names the group.
_GROUPS = (
    ("operating system", r"^\[kernel|^\[guest|^vmlinux"),
    ("clock reads", r"vdso|clock_gettime|Timespec::now|Instant.*::now"),
    ("allocation", r"malloc|calloc|realloc|cfree|_int_free|free\b|__rust_alloc|__rust_dealloc|alloc::alloc"),
    ("HPACK", r"nghttp2_hd|hd_|lookup_token|search_hd|search_static|memeq"),
    ("HTTP/2", r"nghttp2|::http2::"),
    ("copies and comparisons", r"mem(cpy|move|set|cmp|chr)|bcmp"),
    ("the model", r"onnxruntime|kernel::"),
    ("the runtime", r"tokio|mio::|LocalSet|epoll"),
    ("the engine", r"scorewire_native"),
)


@click.command(help=__doc__)
@click.option("--seconds", type=click.FloatRange(min=0.5), default=5.0, show_default=True)
@click.option(
    "--load",
    "shape",
    type=click.Choice([shape.name.replace(" × ", "x") for shape in SHAPES]),
    default="64x1",
    show_default=True,
    help="Connections x calls in flight on each.",
)
@click.option(
    "--symbols", type=click.IntRange(min=0), default=40, show_default=True, help="Rows of the list."
)
def main(seconds: float, shape: str, symbols: int) -> None:
    if shutil.which("perf") is None:
        raise click.ClickException("perf is missing: apt-get install linux-perf")
    (chosen,) = (each for each in SHAPES if each.name.replace(" × ", "x") == shape)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        model = make_model(folder / "models", train_rows=20_000)
        calls = model.calls(rows_per_call=1, count=DIFFERENT_CALLS)
        server_core, generator_core = cores()
        with pinned(server_core):
            server = stack.enter_context(servers.engine("native", folder, folder / "models"))
        loads = CallLoads(model, generator_core, seconds)
        with ThreadPoolExecutor() as pool:
            sampling = pool.submit(_sample, server, seconds, folder)
            found = loads.closed(server, calls, chosen)
            samples = sampling.result()
    click.echo(f"{chosen.name}: {found.calls_per_second:,.0f} calls/s, {found.processor_us:.2f} us a call")
    _show(samples, symbols)


def _sample(server: Server, seconds: float, folder: Path) -> Counter[tuple[str, str]]:
    """How many samples each function has, by library and symbol.

    Raises:
        click.ClickException: perf fails, or takes no samples.
    """
    data = folder / "perf.data"
    record = ["perf", "record", "-q", "-e", "cpu-clock", "-F", "4999", "-o", data, "-p", str(server.pid)]
    _run([*record, "--", "sleep", str(seconds)])
    told = _run(["perf", "report", "-i", data, "--stdio", "-q", "-F", "sample,dso,symbol", "-t", "\t"])
    found: Counter[tuple[str, str]] = Counter()
    for line in told.splitlines():
        cells = [cell.strip() for cell in line.split("\t")]
        if len(cells) == 3 and cells[0].isdecimal():
            found[cells[1], re.sub(r"^\[.\] ", "", cells[2])] += int(cells[0])
    if not found:
        raise click.ClickException("perf has taken no samples")
    return found


def _run(command: list[str | Path]) -> str:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise click.ClickException(f"{' '.join(map(str, command))}: {result.stderr}")
    return result.stdout


def _show(samples: Counter[tuple[str, str]], symbols: int) -> None:
    groups: Counter[str] = Counter()
    for (library, symbol), count in samples.items():
        named = (name for name, pattern in _GROUPS if re.search(pattern, f"{library} {symbol}"))
        groups[next(named, "other")] += count
    total = sum(samples.values())
    click.echo("\n| group | share |\n|---|---|")
    for name, count in groups.most_common():
        click.echo(f"| {name} | {count / total:.1%} |")
    click.echo("\n| symbol | library | share |\n|---|---|---|")
    for (library, symbol), count in samples.most_common(symbols):
        click.echo(f"| {symbol} | {library} | {count / total:.2%} |")


if __name__ == "__main__":
    main()
