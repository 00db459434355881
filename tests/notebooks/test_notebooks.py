"""Every notebook runs in an empty folder and is committed without output."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from scorewire_contract.bundle import read_bundle

FOLDER = Path(__file__).resolve().parents[2] / "training" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def test_there_is_one_for_each_use_case() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["game_revenue", "repurchase"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_committed_without_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    # A notebook only calls functions of the package and defines no functions.
    assert not any(word in cell.source for cell in code for word in ("def ", "class ", "lambda", "while "))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_leaves_a_bundle(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=500, kernel_name="python3", resources=resources).execute()
    bundle = tmp_path / "models" / path.stem.replace("_", "-") / "1.0.0"
    assert {"report.html", "model_card.md"} <= {entry.name for entry in bundle.iterdir()}
    assert read_bundle(bundle).manifest.metrics
    printed = "".join(str(cell.get("outputs", "")) for cell in notebook.cells)
    assert "Traceback" not in printed
    assert "Reproduce it" in printed
