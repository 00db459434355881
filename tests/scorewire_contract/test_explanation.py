"""The files of an explanation are checked against the manifest when a bundle is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from scorewire_contract import bundle as bundles
from scorewire_proto.bundle.v1 import manifest_pb2
from tests.tree_bundles import Trees, write_trees_bundle

TREES = Trees(count=2)


def _rewrite(models: Path, content: bytes | None, graph: bytes) -> bundles.Bundle:
    """The bundle of trees with other files of its explanation; None and b"" leave them out."""
    bundle = bundles.read_bundle(write_trees_bundle(models / "before", TREES))
    files = {bundles.GRAPH: bundle.graph, bundles.GOLDEN: bundles.to_json(bundle.golden)}
    if content is not None:
        files[bundles.EXPLANATION] = content
    if graph:
        files[bundles.EXPLANATION_GRAPH] = graph
    return bundles.read_bundle(bundles.write_bundle(models / "after", bundle.manifest, files))


def test_an_explanation_reads_back(tmp_path: Path) -> None:
    told, graph = TREES.explanation()
    read = _rewrite(tmp_path, told.SerializeToString(), graph)
    assert (read.explanation, read.explanation_graph) == (told, graph)
    read = bundles.read_bundle(write_trees_bundle(tmp_path, TREES))
    assert read.explanation == told


def test_a_bundle_without_an_explanation_has_none(tmp_path: Path) -> None:
    read = _rewrite(tmp_path, None, b"")
    assert (read.explanation, read.explanation_graph) == (None, b"")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda output: setattr(output, "output", "nothing"), "names an output twice"),
        (lambda output: output.ClearField("constants"), "has no margins"),
        (lambda output: output.labels.extend(["no", "yes"]), "not one for each label"),
        (lambda output: output.labels.append("yes"), "other classes"),
        (lambda output: output.constants.append(0.0), "more margins"),
        (lambda output: setattr(output, "link", "é" * 501), "a link of more than 1000 bytes"),
        (lambda output: setattr(output.trees[0], "first_margin", 1), "a margin or a feature"),
        (lambda output: output.trees[0].features.__setitem__(0, 4), "a margin or a feature"),
        (lambda output: output.linear.add(values="x", features=[3]), "a feature that there is not"),
    ],
)
def test_an_explanation_that_does_not_fit_the_schema_is_refused(
    tmp_path: Path, change: Callable[[manifest_pb2.ExplainedOutput], None], reason: str
) -> None:
    told, graph = TREES.explanation()
    change(told.outputs[0])
    with pytest.raises(bundles.BundleError, match=reason):
        _rewrite(tmp_path, told.SerializeToString(), graph)


def test_an_output_is_explained_or_not(tmp_path: Path) -> None:
    told, graph = TREES.explanation()
    told.unexplained.add(output="value", reason="it is secret")
    with pytest.raises(bundles.BundleError, match="names an output twice"):
        _rewrite(tmp_path, told.SerializeToString(), graph)


def test_the_files_come_together(tmp_path: Path) -> None:
    told, graph = TREES.explanation()
    for i, (content, with_graph) in enumerate(
        [(None, graph), (told.SerializeToString(), b""), (b"", graph), (b"\xff", graph)]
    ):
        with pytest.raises(bundles.BundleError, match=r"explanation\.pb"):
            _rewrite(tmp_path / str(i), content, with_graph)
