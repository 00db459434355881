"""Python modules import one way only, are short, and need no library that their users lack.

The arrows between the distributions are in `ARROWS`, those within a distribution
in `LAYERS`; `tests.architecture.graphs` describes layers.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture.graphs import Layers, circles, upward_imports
from tests.architecture.python_modules import read_package

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {
    "scorewire_contract": ROOT / "proto/python/scorewire_contract",
    "scorewire_training": ROOT / "training/scorewire_training",
    "scorewire_server": ROOT / "server/scorewire_server",
    "scorewire": ROOT / "clients/python/scorewire",
    "scorewire_loadtest": ROOT / "clients/loadtest/scorewire_loadtest",
    "scorewire_records": ROOT / "clients/records/scorewire_records",
    "scorewire_gateway": ROOT / "clients/gateway/scorewire_gateway",
}
# Package: which of our packages it may import besides itself.
ARROWS = {
    "scorewire_contract": {"scorewire_proto"},
    "scorewire_training": {"scorewire_proto", "scorewire_contract", "scorewire_kernel"},
    "scorewire_server": {"scorewire_proto", "scorewire_contract", "scorewire_kernel"},
    "scorewire": {"scorewire_proto", "scorewire_contract"},
    "scorewire_loadtest": {"scorewire_proto", "scorewire_contract", "scorewire"},
    "scorewire_records": {"scorewire_proto", "scorewire_contract"},
    "scorewire_gateway": {"scorewire_proto", "scorewire_contract", "scorewire", "scorewire_records"},
}
# Package: its modules and sub-packages, from the top to the bottom.
LAYERS: dict[str, Layers] = {
    "scorewire_contract": (
        ("__init__", "cli", "scoring", "typed"),
        ("bundle", "coding"),
        ("schema", "spelling", "words"),
        ("records.rows", "records.segments"),
        ("records.ledger", "records.source", "records.texts"),
        ("records.blocks",),
        ("folding", "links", "memory", "patterns", "tree_terms", "unicode", "records"),
        ("service.metrics_server", "service.stopping"),
        ("service.logs",),
        ("service.line_writer", "service.printable", "service.settings", "service.start"),
        ("service.durable", "service.file_lock", "service.stale_files"),
        ("service",),
    ),
    "scorewire_training": (
        ("__init__", "__main__"),
        ("cli",),
        ("game_revenue", "repurchase"),
        ("output",),
        ("export", "report"),
        ("training_result",),
        ("evaluation", "study"),
        ("config_file",),
        ("config",),
        ("tables",),
        ("export.bundling", "export.onnx_file", "export.saved_models"),
        ("export.bundle_writing", "export.schema"),
        ("export.explanation",),
        ("export.parity", "export.provenance", "export.sample_frame", "export.typed_schema"),
        (
            "export.frames",
            "export.kernel",
            "export.lowering",
            "export.runtime",
            "export.tolerance",
            "export.typed_fields",
        ),
        ("export.trees",),
        ("export.double_order", "export.graph", "export.zipmaps"),
        ("export.margins",),
        ("errors", "estimators", "export.errors"),
        ("releases",),
    ),
    "scorewire_server": (
        ("__init__", "cli", "healthcheck"),
        ("app", "allocator"),
        ("loading", "metrics"),
        ("callers",),
        ("control",),
        ("access", "records", "tracing"),
        ("catalog", "certificates", "problem_log"),
        ("engine.factory",),
        ("engine.native", "engine.reference"),
        ("engine.interpreted", "engine.tls"),
        ("engine.port",),
        ("engine",),
        ("engine.encodings",),
        ("engine.explaining",),
        ("engine.runs_on",),
        ("settings",),
        ("catalog.version_policy", "errors"),
    ),
    "scorewire": (
        ("_cli",),
        ("__init__", "comparison", "options", "tables", "testing"),
        ("_client", "_async_client"),
        ("_async_stream", "_control", "_sync_stream"),
        ("_stream",),
        ("_stream_steps",),
        ("_base_client",),
        ("_flows",),
        ("_attempts", "_async_hedge", "_sync_hedge"),
        ("_hedging",),
        ("_readiness",),
        ("_codec", "_credentials"),
        ("_predictions",),
        ("_contributions",),
        ("_rows", "_waterfall"),
        (
            "_breaker",
            "_channels",
            "_explain",
            "_metadata",
            "_methods",
            "_models",
            "_ledger",
            "_retries",
            "_statistics",
            "_values",
        ),
        ("addresses", "_diagnosis"),
        ("_errors",),
    ),
    "scorewire_loadtest": (
        ("__init__", "cli"),
        ("options",),
        ("run", "plot"),
        ("native_generator", "python_generator", "page"),
        ("attack", "streams", "report", "progress"),
        ("plan", "recorder", "saturation", "slo", "environment"),
        ("transport", "results"),
        ("explained",),
        ("calls", "meter"),
        ("rows", "pacing", "target", "timer"),
        ("quantities",),
    ),
    "scorewire_records": (
        ("__init__", "__main__"),
        ("cli",),
        ("folder_reader", "follow", "opening", "postgresql.reader", "reader", "shipping"),
        ("ledger_report", "snapshot", "statistics"),
        ("postgresql.rows",),
        ("database",),
        ("selection",),
        ("postgresql.arrow", "postgresql.store"),
        ("postgresql.accounts", "postgresql.catalog", "postgresql.retention"),
        ("postgresql.schema", "postgresql.views"),
        ("postgresql.connection", "postgresql.layout"),
        ("postgresql.copying", "postgresql.identifiers"),
        ("parquet_store", "shipper_status"),
        ("parquet_files", "shipper", "spool_end"),
        ("kept_segments", "spool_folder", "tables", "walk"),
        ("joining", "start_state", "store"),
        ("ahead", "postgresql"),
    ),
    "scorewire_gateway": (
        ("__init__", "cli"),
        ("serving",),
        ("app",),
        ("routes",),
        ("uploads.answering",),
        ("files.answering",),
        ("files.conditions", "files.digests", "files.media"),
        ("files.folder",),
        (
            "console",
            "documents",
            "files",
            "limits",
            "open_inference",
            "recorded",
            "security",
            "state",
            "uploads",
        ),
        ("guard", "jobs.opening", "openapi"),
        ("jobs.jobs",),
        ("jobs.intake", "jobs.run"),
        ("jobs.results",),
        ("jobs.folder", "jobs.metrics", "jobs.process", "jobs.request"),
        ("jobs.child", "jobs.job", "jobs.limits"),
        ("calls", "descriptions", "explaining", "jobs", "json_values", "metrics"),
        ("uploads.formats",),
        ("connection", "errors", "settings"),
    ),
}
OURS = set(PACKAGES) | {"scorewire_kernel", "scorewire_proto"}
# Libraries that server and SDK must not import at the top of a module.
HEAVY = {"pandas", "sklearn", "xgboost", "lightgbm", "skl2onnx", "onnxmltools", "pyarrow", "matplotlib"}
UNSAFE = {"pickle", "cPickle", "joblib", "dill", "cloudpickle", "shelve", "marshal"}
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "misc"}
MAX_LINES = 500


def _modules(package: str) -> list[Path]:
    return sorted(PACKAGES[package].rglob("*.py"))


def _imports(path: Path, *, top_level_only: bool = False) -> Iterator[str]:
    """The top-level package of every absolute import of a module."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_only_along_the_arrows(package: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in _modules(package)
        for name in _imports(path)
        if name in OURS - ARROWS[package] - {package}
    ]
    assert wrong == []


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_only_public_modules_of_others(package: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {node.module}"
        for path in _modules(package)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in OURS - {package}
        for name in (*node.module.split("."), *(alias.name for alias in node.names))
        if name.startswith("_")
    ]
    assert wrong == []


@pytest.mark.parametrize("package", LAYERS)
def test_modules_import_only_downwards(package: str) -> None:
    wrong = upward_imports(read_package(PACKAGES[package]), LAYERS[package])
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("package", PACKAGES)
def test_no_modules_import_each_other_in_a_circle(package: str) -> None:
    found = circles(read_package(PACKAGES[package]))
    assert not found, "\n".join(map(" <-> ".join, found))


@pytest.mark.parametrize("package", PACKAGES)
def test_modules_are_small_and_named_for_what_they_do(package: str) -> None:
    modules = _modules(package)
    assert modules
    long = {
        str(path.relative_to(ROOT)): lines
        for path in modules
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > MAX_LINES
    }
    assert long == {}
    assert [path.name for path in modules if path.stem in VAGUE_NAMES] == []


@pytest.mark.parametrize("package", ["scorewire_contract", "scorewire_server", "scorewire"])
def test_server_and_sdk_need_no_training_library(package: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in _modules(package)
        for name in _imports(path, top_level_only=package == "scorewire")
        # pandas is an extra of the SDK, and is imported only within functions.
        if name in HEAVY
    ]
    assert wrong == []


@pytest.mark.parametrize(
    "package",
    ["scorewire_contract", "scorewire_server", "scorewire", "scorewire_loadtest", "scorewire_gateway"],
)
def test_nothing_is_unpickled_on_the_serving_side(package: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in _modules(package)
        for name in _imports(path)
        if name in UNSAFE
    ]
    assert wrong == []


def test_only_settings_read_the_environment_of_the_server() -> None:
    readers = {
        path.name
        for path in _modules("scorewire_server")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv"}
    }
    assert readers <= {"settings.py"}


def test_tests_of_one_side_do_not_see_the_other() -> None:
    sides = {"scorewire_training", "scorewire_server"}
    wrong = [
        str(path.relative_to(ROOT))
        for folder in (
            "scorewire_training",
            "scorewire_server",
            "scorewire",
            "scorewire_contract",
            "conformance",
        )
        for path in (ROOT / "tests" / folder).rglob("*.py")
        if set(_imports(path))
        & (sides - {folder} - ({"scorewire_server"} if folder == "conformance" else set()))
    ]
    assert wrong == []


def test_no_path_of_a_machine_is_written_down() -> None:
    suffixes = {".py", ".md", ".toml", ".proto", ".yaml", ".rs", ".lock", ""}
    folders = ("proto", "server", "training", "clients", "tests", "models", "docs", ".ci")
    files = [
        path
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix in suffixes and not {"__pycache__", "target"} & set(path.parts)
    ]
    files += [
        ROOT / name
        for name in (
            *("README.md", "CONTRIBUTING.md", "CHANGELOG.md"),
            *("Makefile", "Dockerfile", "pyproject.toml", "Cargo.toml", "Cargo.lock"),
        )
    ]
    roots = ["/" + name + "/" for name in ("root", "home", "work", "Users")]
    wrong = [
        f"{path.relative_to(ROOT)}: {root}"
        for path in files
        if path.exists()
        for root in roots
        if any(
            root in line and not line.lstrip().startswith(("WORKDIR", "COPY", "ENV"))
            for line in path.read_text(encoding="utf-8", errors="ignore").splitlines()
        )
    ]
    assert wrong == []
