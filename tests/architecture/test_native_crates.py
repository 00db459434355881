"""The modules of each native crate use each other one way only, and its items are for the crate alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.architecture.graphs import Layers, circles, edges, upward_imports
from tests.architecture.rust_modules import RustModule, read_crate, uses

ROOT = Path(__file__).resolve().parents[2]
MAX_LINES = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Crate:
    """A crate, and what its modules may do.

    Attributes:
        path: its folder.
        sources: the folders of its Rust files.
        files: the fewest files that it has.
        layers: its modules from the interface to Python down to bytes.
        public: the items that are not for the crate alone. The compiler finds dead code
            among the others only.
        unsafe: the modules that call C, or use instructions of a processor.
        whole: the folders whose files are one module, which hold the parts of one type.
    """

    path: Path
    sources: tuple[str, ...]
    files: int
    layers: Layers
    public: frozenset[str]
    unsafe: frozenset[str]
    whole: frozenset[str] = frozenset()

    def part(self, module: str) -> str:
        """The module, or the folder that it is a part of."""
        return next((each for each in self.whole if f"{module}.".startswith(f"{each}.")), module)


ENGINE = Crate(
    path=ROOT / "server" / "native",
    sources=("src", "examples", "fuzz/fuzz_targets"),
    files=40,
    layers=(
        ("python", "fuzzing"),
        ("server", "counts"),
        ("calls",),
        ("predict",),
        ("access",),
        ("bridge",),
        ("transport", "routing"),
        ("encodings",),
        ("rows",),
        ("statistics",),
        ("protocol", "onnx"),
    ),
    # What the fuzz targets call.
    public=frozenset({"fuzzing", "fuzzing.decode", "fuzzing.session"}),
    # These call onnxruntime and nghttp2, or are called by nghttp2.
    unsafe=frozenset(
        {
            *("onnx.binding", "onnx.library", "onnx.session", "onnx.tensor"),
            *(f"transport.http2.{name}" for name in ("callbacks", "fields", "memory", "session")),
        }
    ),
)
GENERATOR = Crate(
    path=ROOT / "clients" / "loadtest" / "native",
    sources=("src",),
    files=15,
    layers=(
        ("python",),
        ("run",),
        ("attack",),
        ("schedule", "shared", "lane", "connection"),
        ("grpc", "answers", "tally"),
        ("status", "settings"),
        ("http2", "socket"),
        ("tls",),
        ("histogram", "meter", "pacing", "protobuf", "timer"),
    ),
    public=frozenset(),
    # These call nghttp2.
    unsafe=frozenset({"http2.callbacks", "http2.session"}),
)
SPOOL = Crate(
    path=ENGINE.path / "spool",
    sources=("src", "tests", "examples"),
    files=15,
    layers=(
        ("recorder",),
        ("spool",),
        ("blocks", "disk"),
        ("shared", "segment", "space", "reader"),
        ("sources", "lane"),
        ("columns",),
        ("texts",),
        ("ring", "record", "source", "ledger", "block", "clock"),
        ("little_endian",),
    ),
    # What the engine uses, and what reads segments.
    public=frozenset(
        {
            *("block", "ledger", "reader"),
            *("block.Header", "block.kind"),
            *("lane.Lane", "lane.Recording", "lane::Lane", "lane::Recording"),
            *(
                "ledger.Count",
                "ledger.WriterLedger",
                "ledger.decode",
                "ledger::Count",
                "ledger::WriterLedger",
            ),
            *("reader.Piece", "reader.read_segment", "reader.sections", "reader.texts"),
            *("record.Filler", "record.Head", "record.Sizes"),
            *("record::Filler", "record::Head", "record::Sizes"),
            *("recorder.Counts", "recorder.Options", "recorder.Recorder"),
            *("recorder::Counts", "recorder::Options", "recorder::Recorder"),
            *("source.Output", "source.Source", "source.Treatment"),
            *("source::Output", "source::Source", "source::Treatment"),
            *("sources.DefinedSource", "sources::DefinedSource"),
        }
    ),
    # Two threads share the memory of a ring.
    unsafe=frozenset({"lane", "ring"}),
)
KERNEL = Crate(
    path=ENGINE.path / "kernel",
    sources=("src", "examples"),
    files=30,
    layers=(
        ("python",),
        ("contributions",),
        ("program",),
        ("trees",),
        ("values",),
    ),
    # What the engine and the example use.
    public=frozenset(
        {
            *("contributions", "contributions.Contributions", "contributions.Memory", "contributions.Term"),
            *("program", "program.Options", "program.Port", "program.Program", "program.Failure"),
            *("program.Unsupported", "program.memory.Memory", "program.memory::Memory"),
            *("trees", "trees.forms.FormName", "trees.forms::FormName"),
            *("trees.processor.Processor", "trees.processor::Processor"),
            *("trees.scored.Trees", "trees.scored::Trees", "trees.scratch.Scratch", "trees.scratch::Scratch"),
            *("values", "values.Values", "values.ValuesMut"),
        }
    ),
    # These use the instructions of a processor, or leave out the check of an index that was checked before.
    unsafe=frozenset(
        {
            *("trees.element", "trees.forms.deep.avx512", "trees.forms.descent", "trees.forms.heap.avx2"),
            *("trees.forms.heap.avx512", "trees.forms.masks.exclusions"),
            *("trees.forms.heap.fields", "trees.forms.heap.pick", "trees.forms.masks.avx512"),
            *("trees.forms.scalar", "trees.forms.sliced.evaluate"),
            *("trees.forms.sliced.slices", "trees.forms.sliced.wide", "trees.forms.sliced.words"),
            *(
                "trees.prefetch",
                "trees.scratch",
                "trees.search.bytes",
                "trees.search.levels",
                "trees.search.pairs",
            ),
            *("trees.search.registers", "trees.search.table"),
            *("trees.shap.quadrature", "trees.shap.quadrature.vector", "trees.shap.tables"),
            *("trees.shap.tables.columns", "trees.shap.tables.many", "trees.shap.tables.single"),
            "trees.shap.tables.slots",
        }
    ),
    whole=frozenset({"program", "python", "trees.forms", "trees.shap"}),
)
# The only layer below the engine's transport that it may use, because it knows nothing of models.
BELOW_TRANSPORT = {"protocol"}


@pytest.fixture(
    scope="module", params=[ENGINE, GENERATOR, SPOOL, KERNEL], ids=["engine", "generator", "spool", "kernel"]
)
def crate(request: pytest.FixtureRequest) -> Crate:
    of_test: Crate = request.param
    return of_test


@pytest.fixture(scope="module")
def modules(crate: Crate) -> dict[str, RustModule]:
    return read_crate(crate.path / "src")


def test_modules_use_each_other_only_downwards(crate: Crate, modules: dict[str, RustModule]) -> None:
    wrong = upward_imports(uses(modules), crate.layers)
    assert not wrong, "\n".join(wrong)


def test_the_engines_transport_knows_nothing_of_models() -> None:
    wrong = [
        f"{module} uses {used}"
        for module, used in edges(uses(read_crate(ENGINE.path / "src")))
        if module.split(".")[0] == "transport" and used.split(".")[0] not in {"transport", *BELOW_TRANSPORT}
    ]
    assert not wrong, "\n".join(wrong)


def test_no_modules_use_each_other_in_a_circle(crate: Crate, modules: dict[str, RustModule]) -> None:
    merged: dict[str, set[str]] = {}
    for module, used in uses(modules).items():
        merged.setdefault(crate.part(module), set()).update(map(crate.part, used))
    found = circles(merged)
    assert not found, "\n".join(map(" <-> ".join, found))


def test_files_are_short(crate: Crate) -> None:
    lengths = {
        str(path.relative_to(crate.path)): len(path.read_text(encoding="utf-8").splitlines())
        for folder in crate.sources
        for path in (crate.path / folder).rglob("*.rs")
    }
    assert len(lengths) > crate.files
    assert {name: lines for name, lines in lengths.items() if lines > MAX_LINES} == {}


def test_items_are_for_the_crate_alone(crate: Crate, modules: dict[str, RustModule]) -> None:
    public = {
        item if name == "lib" else f"{name}.{item}"
        for name, module in modules.items()
        for item in module.public
    }
    assert not public - crate.public, "\n".join(sorted(public - crate.public))
    assert not crate.public - public, "\n".join(sorted(crate.public - public))


def test_only_modules_that_need_it_are_unsafe(crate: Crate, modules: dict[str, RustModule]) -> None:
    assert {name for name, module in modules.items() if module.has_unsafe} == crate.unsafe
