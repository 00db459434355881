"""A family's graph in the kernel against its library, bit for bit."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from scorewire_contract.scoring import RunGraph, Scorer
from scorewire_training.export.frames import FrameCodec, WireRows
from scorewire_training.export.lowering import lower
from scorewire_training.export.parity.exactness import same_bits
from scorewire_training.export.parity.fitted_model import FittedModel
from scorewire_training.export.parity.input_limits import InputLimitSearch
from scorewire_training.export.schema import build_schema
from tests.families import Data, Family
from tests.kernel.hard_rows import random_hard_rows
from tests.kernel.library import margins

# The margins as an output of the graph.
_MARGINS = "margins"
_ROWS_AT_ONCE = 20_000
_SEED = 20_240_229
_DTYPES = {TensorProto.FLOAT: np.float32, TensorProto.DOUBLE: np.float64, TensorProto.INT64: np.float64}

# Makes the function that runs a graph, and tells what runs it.
Open = Callable[[bytes], tuple[RunGraph, str]]


@dataclass(slots=True)
class Differences:
    """Rows that differ, and the largest difference in units in the last place."""

    rows: int = 0
    ulps: int = 0

    def add(self, pairs: Iterable[tuple[NDArray[np.float64], NDArray[np.float64], Any]]) -> None:
        """Compare pairs of arrays, [rows, width], whose numbers are of a format."""
        differ: NDArray[np.bool_] | bool = False
        for found, wanted, dtype in pairs:
            same = same_bits(found, wanted)
            differ = differ | ~same.all(axis=1)
            self.ulps = max(self.ulps, int(_ulps(found[~same], wanted[~same], dtype).max(initial=0.0)))
        self.rows += int(np.sum(differ))


@dataclass(slots=True)
class Outcome:
    """What was compared.

    `margins` is None where the library has none, or the graph has no ensemble of trees
    with as many.
    """

    rows: int = 0
    margins: Differences | None = None
    outputs: Differences = field(default_factory=Differences)
    description: str = ""

    @property
    def differ(self) -> bool:
        """Whether any row differs."""
        return self.outputs.rows > 0 or (self.margins is not None and self.margins.rows > 0)


class Comparison:
    """A fitted family: its graph, and rows that its library takes."""

    def __init__(self, family: Family, data: Data, size: int) -> None:
        frame = family.prepare(data.frame)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # small fits do not converge; that is not at stake
            self._model = family.fit(frame, data.targets[family.target], size)
        lowered = lower(self._model, frame)
        self._lowered = lowered
        self._codec = FrameCodec(frame, lowered.features, lowered.missing_texts, lowered.coded_features)
        self._sample = self._codec.to_rows(frame)
        self._fitted = FittedModel(self._model, lowered.outputs)
        search = InputLimitSearch(self._fitted, self._codec, lowered.features, self._sample)
        self._limits = search.find(lowered.known_texts, lowered.domains, only_near=lowered.only_near)
        self._schema = build_schema(
            lowered.features,
            lowered.outputs,
            rows=self._sample,
            input_limits=self._limits,
            known_texts=lowered.known_texts,
            descriptions={},
        )
        own = margins(self._model, frame.iloc[:2])
        self._has_margins = own is not None and add_margins(lowered.graph, own.shape[1])
        self._dtypes = {
            output.name: _DTYPES[output.type.tensor_type.elem_type] for output in lowered.graph.graph.output
        }

    @property
    def is_exact(self) -> bool:
        """Whether the export claims equal bits."""
        return self._lowered.is_exact

    @property
    def graph(self) -> bytes:
        """The graph, with the margins as another output where the library has them."""
        return bytes(self._lowered.graph.SerializeToString(deterministic=True))

    def run(self, open_: Open, count: int, report: Callable[[int], None] = lambda _: None) -> Outcome:
        """Compare `count` rows; `report` is told how many are done."""
        graph, description = open_(self.graph)
        outcome = Outcome(description=description, margins=Differences() if self._has_margins else None)
        kept: list[NDArray[Any]] = []
        scorer = Scorer(self._schema, self._lowered.coding, self._keeping_margins(graph, kept))
        for rows in self._rows(count):
            scores = scorer.score(len(rows), rows.numbers.ravel(), rows.flat_texts())
            assert not scores.errors, scores.errors[:3]
            frame = self._codec.to_frame(rows)
            dtypes = [self._dtypes[output.name] for output in self._lowered.outputs]
            outcome.outputs.add(zip(scores.outputs, self._fitted.score(frame), dtypes, strict=True))
            if outcome.margins is not None:
                wanted = margins(self._model, frame)
                assert wanted is not None
                found = kept.pop().astype(np.float64).reshape(wanted.shape)
                outcome.margins.add([(found, wanted, self._dtypes[_MARGINS])])
            outcome.rows += len(rows)
            report(outcome.rows)
        return outcome

    def _rows(self, count: int) -> Iterator[WireRows]:
        """The sample, then hard rows, in parts."""
        first = self._sample.take(slice(None, min(count, len(self._sample))))
        for begin in range(0, len(first), _ROWS_AT_ONCE):
            yield first.take(slice(begin, begin + _ROWS_AT_ONCE))
        lowered = self._lowered
        for part, begin in enumerate(range(len(first), count, _ROWS_AT_ONCE)):
            yield random_hard_rows(
                self._sample,
                lowered.features,
                lowered.thresholds,
                lowered.known_texts,
                self._limits,
                count=min(_ROWS_AT_ONCE, count - begin),
                seed=_SEED + part,
            )

    def _keeping_margins(self, run: RunGraph, kept: list[NDArray[Any]]) -> RunGraph:
        """Runs the graph, and keeps the margins."""
        if not self._has_margins:
            return run

        def run_and_keep(names: list[str], feeds: dict[str, NDArray[Any]]) -> Sequence[NDArray[Any]]:
            *answers, last = run([*names, _MARGINS], feeds)
            kept.append(last)
            return answers

        return run_and_keep


def add_margins(model: onnx.ModelProto, width: int) -> bool:
    """Make the margins an output of the graph; False if no single ensemble has that many."""
    graph = model.graph
    found = [node for node in graph.node if node.op_type == "TreeEnsemble"]
    if len(found) != 1:
        return False
    (trees,) = found
    attributes = {attribute.name: attribute for attribute in trees.attribute}
    if attributes["n_targets"].i != width:
        return False
    tensor, element = trees.output[0], attributes["leaf_weights"].t.data_type
    graph.node.append(helper.make_node("Identity", [tensor], [_MARGINS]))
    shape = [None, attributes["n_targets"].i]
    graph.output.append(helper.make_tensor_value_info(_MARGINS, element, shape))
    return True


def _ulps(found: NDArray[np.float64], wanted: NDArray[np.float64], dtype: Any) -> NDArray[np.float64]:
    """Distances in units in the last place of a format; a large number where only one is NaN."""
    integer = np.int32 if dtype == np.float32 else np.int64
    with np.errstate(all="ignore"):
        one, other = (_ordinals(values.astype(dtype).view(integer)) for values in (found, wanted))
    # Of different signs, the difference may be beyond 64 bits.
    apart = np.abs(one.astype(np.float64) - other.astype(np.float64))
    distance = np.where((one < 0) == (other < 0), np.abs(one - other), apart)
    return np.where(np.isnan(found) != np.isnan(wanted), 1e18, distance)


def _ordinals(bits: NDArray[Any]) -> NDArray[np.int64]:
    """Whole numbers in the order of floats, both zeros at 0."""
    least = np.iinfo(bits.dtype).min
    return np.where(bits < 0, least - bits, bits).astype(np.int64)
