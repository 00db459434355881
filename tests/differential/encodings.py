"""Sends the same rows to both engines in all three encodings, and compares the outputs bit by bit."""

from __future__ import annotations

import random
import struct
from collections import Counter
from dataclasses import dataclass
from typing import Any, TypeAlias

from scorewire_contract.typed import EXPLANATION, PREDICTION_ID
from scorewire_proto.v1 import errors_pb2, prediction_pb2
from tests.conformance.inference import INFER, infer, infer_request, told
from tests.conformance.typed import TypedService
from tests.conformance.wire import Wire
from tests.differential.comparison import DisagreementError
from tests.differential.requests import NUMBERS_OF_NOTE, TEXTS_OF_NOTE

# The result of each row: the feature and reason of its error, or its outputs, with doubles as bits.
Told: TypeAlias = "tuple[str, str] | dict[str, tuple[Any, ...]]"


@dataclass(frozen=True, slots=True)
class Spec:
    """A model of the suite, with the number of values per row in each of its tensors, numbers first."""

    model: str
    service: str
    numbers: tuple[str, ...]
    texts: tuple[str, ...]
    tensors: tuple[tuple[str, int], ...]
    whole: bool = False
    classes: tuple[str, ...] = ()


SPECS = (
    Spec("sum", "sum.v1.Sum", ("x0", "x1"), ("country",), (("x0", 1), ("x1", 1), ("country", 1))),
    Spec("classes", "classes.v1.Classes", ("x",), (), (("x", 1),), classes=("no", "yes")),
    Spec("greeting", "greeting.v1.Greeting", (), ("word",), (("word", 1),)),
    Spec("tensors", "tensors.v1.Tensors", ("pair_0", "pair_1"), ("word",), (("pair", 2), ("word", 0)), True),
)


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of a model, as columns by field name."""

    spec: Spec
    count: int
    columns: dict[str, list[Any]]

    def named(self) -> list[dict[str, Any]]:
        """The rows as typed messages; missing values are not set."""
        return [
            {
                name: column[row]
                for name, column in self.columns.items()
                if column[row] != "" and column[row] == column[row]
            }
            for row in range(self.count)
        ]

    def flat(self, names: tuple[str, ...]) -> list[Any]:
        """Some of the columns in row-major order."""
        return [self.columns[name][row] for row in range(self.count) for name in names]


# The fields of a typed prediction that are no outputs.
_ABOUT = ("version", "error", EXPLANATION, PREDICTION_ID)


def compare_encodings(reference: Wire, native: Wire, *, count: int, seed: int) -> Counter[str]:
    """Send generated batches in each encoding to both engines; returns counts of rows by result.

    Raises:
        DisagreementError: two results differ.
    """
    chance, outcomes = random.Random(seed), Counter[str]()
    services = {
        (wire, spec): TypedService(wire, f"scorewire.models.{spec.service}Service")
        for wire in (reference, native)
        for spec in SPECS
    }
    for _ in range(count):
        rows = draw(chance, chance.choice(SPECS))
        wanted = _positional(reference, rows)
        contents = chance.random() < 0.5
        for wire, name in ((reference, "reference"), (native, "native")):
            service = services[wire, rows.spec]
            answers = {
                "positional": _positional(wire, rows),
                "typed": [_typed(rows.spec, each) for each in service.predict_batch(*rows.named())],
                "tensors": _tensors(wire, rows, wanted, contents=contents),
            }
            if rows.count == 1:
                answers["streamed"] = [
                    _typed(rows.spec, each) for each in service.predict_stream(*rows.named())
                ]
            for encoding, found in answers.items():
                if found != wanted:
                    raise DisagreementError(f"{rows}\nwanted: {wanted}\n{name}, {encoding}: {found}")
        outcomes.update("OK" if isinstance(each, dict) else each[0] for each in wanted)
    return outcomes


def draw(chance: random.Random, spec: Spec) -> Rows:
    """Draw rows of a model, some of them bad."""
    odd = chance.random() < 0.5
    count = chance.choice((1, 1, 2, 17))

    def number() -> float:
        if odd and chance.random() < 0.1:
            return chance.choice(NUMBERS_OF_NOTE)
        return float(chance.randrange(-100, 100)) if spec.whole else chance.gauss(0, 100)

    def text() -> str:
        return chance.choice(TEXTS_OF_NOTE if odd else ["hello", "bye"])

    columns: dict[str, list[Any]] = {name: [number() for _ in range(count)] for name in spec.numbers}
    columns |= {name: [text() for _ in range(count)] for name in spec.texts}
    return Rows(spec, count, columns)


def _positional(wire: Wire, rows: Rows) -> list[Told]:
    spec = rows.spec
    sent = prediction_pb2.Rows(
        row_count=rows.count, numbers=rows.flat(spec.numbers), texts=rows.flat(spec.texts)
    )
    response = wire.predict(prediction_pb2.PredictRequest(model=spec.model, rows=sent))
    outputs = {each.name: list(each.numbers) or list(each.texts) for each in response.outputs}
    answers: list[Told] = _by_row(outputs, rows.count)
    for error in response.errors:
        answers[error.row] = _reason(error.reason), error.feature
    return answers


def _typed(spec: Spec, prediction: Any) -> Told:
    if prediction.HasField("error"):
        return prediction.error.reason, prediction.error.feature
    fields = [field.name for field in prediction.DESCRIPTOR.fields if field.name not in _ABOUT]
    outputs = {}
    for name in fields:
        value = getattr(prediction, name)
        values = [value] if isinstance(value, (str, float)) else list(value)
        is_class = name == "label" and spec.classes
        outputs[name] = [float(spec.classes.index(each)) for each in values] if is_class else values
    return _by_row(outputs, 1)[0]


def _tensors(wire: Wire, rows: Rows, wanted: list[Told], *, contents: bool) -> list[Told]:
    """The results of a tensor call; the expected results if a bad row fails the call."""
    spec, tensors = rows.spec, {}
    numbers, texts = list(spec.numbers), list(spec.texts)
    for name, width in spec.tensors:
        is_text = not numbers
        fields = [(texts if is_text else numbers).pop(0) for _ in range(max(width, 1))]
        shape = [rows.count, width] if width else [rows.count]
        tensors[name] = ("BYTES" if is_text else "FP64", shape, rows.flat(tuple(fields)))
    request = infer_request(spec.model, tensors)
    if contents:
        del request.raw_input_contents[:]
        for tensor, (datatype, _, values) in zip(request.inputs, tensors.values(), strict=True):
            if datatype == "BYTES":
                tensor.contents.bytes_contents.extend(value.encode() for value in values)
            else:
                tensor.contents.fp64_contents.extend(values)
    bad = next(((row, each) for row, each in enumerate(wanted) if not isinstance(each, dict)), None)
    if bad is None:
        return _by_row(told(infer(wire, request)), rows.count)
    failure = wire.failure(INFER, request.SerializeToString())
    if failure.reason != "INVALID_REQUEST" or f": row {bad[0]}: " not in failure.message:
        raise DisagreementError(f"{rows}\nwanted: the failure of row {bad[0]}\nfound: {failure}")
    return wanted


def _by_row(outputs: dict[str, list[Any]], count: int) -> list[Any]:
    def part(values: list[Any], row: int) -> tuple[Any, ...]:
        width = len(values) // count
        own = values[row * width : (row + 1) * width]
        return tuple(each if isinstance(each, str) else struct.pack("<d", each) for each in own)

    return [{name: part(values, row) for name, values in outputs.items()} for row in range(count)]


def _reason(reason: errors_pb2.ErrorReason.ValueType) -> str:
    return errors_pb2.ErrorReason.Name(reason).removeprefix("ERROR_REASON_")
