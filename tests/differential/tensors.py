"""Sends tensors to both engines, and compares the responses byte for byte."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import grpc
import numpy as np

from scorewire_proto.inference import inference_pb2 as pb
from tests.conformance.inference import DTYPES, INFER, STREAM, raw
from tests.conformance.wire import Wire
from tests.differential.comparison import DisagreementError, outcome_of
from tests.differential.requests import TEXTS_OF_NOTE

# The tensors of each model: name, whether it has texts, and its shape without the rows.
MODELS: dict[str, list[tuple[str, bool, list[int]]]] = {
    "sum": [("x0", False, [1]), ("x1", False, [1]), ("country", True, [1])],
    "classes": [("x", False, [1])],
    "greeting": [("word", True, [1])],
    "tensors": [("pair", False, [2]), ("word", True, [])],
}
OUTPUTS = ["value", "probabilities", "label", "twice", "echo", "none"]
_CONTENTS = {
    "FP64": "fp64_contents", "FP32": "fp32_contents", "INT64": "int64_contents", "INT32": "int_contents",
    "INT8": "int_contents", "UINT8": "uint_contents", "UINT64": "uint64_contents", "BOOL": "bool_contents",
    "BYTES": "bytes_contents",
}  # fmt: skip
_TIMEOUT_SECONDS = 60


class TensorRequests:
    """Draws ModelInferRequests, good and bad; the same seed draws the same requests."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)

    def draw(self) -> bytes:
        """Draw a request, or bytes that are not one."""
        chance = self._chance
        data = bytearray(self.message().SerializeToString())
        kind = chance.random()
        if kind < 0.1 and data:
            data[chance.randrange(len(data))] = chance.randrange(256)
        elif kind < 0.15:
            del data[chance.randrange(len(data) or 1) :]
        return bytes(data)

    def message(self) -> pb.ModelInferRequest:
        """Draw a request."""
        chance = self._chance
        model = chance.choice([*MODELS, *MODELS, "nobody"])
        request = pb.ModelInferRequest(model_name=model, id=chance.choice(("", "7", "é")))
        request.parameters["routing_key"].string_param = f"user-{chance.randrange(1000)}"
        if chance.random() < 0.2:
            request.model_version = chance.choice(("1.0.0", "1.1.0", "2.0.0-rc.1", "9.9.9"))
        if chance.random() < 0.05:
            request.parameters[chance.choice(("priority", "binary_data_output"))].bool_param = False
        rows = chance.choice((0, 1, 1, 1, 2, 17, 1001))
        tensors = list(MODELS.get(model, MODELS["sum"]))
        if chance.random() < 0.1:
            tensors.pop(chance.randrange(len(tensors)))
        if model == "classes" and chance.random() < 0.5:
            tensors = [("all", False, [1])]
        if chance.random() < 0.3:
            chance.shuffle(tensors)
        as_contents = chance.random() < 0.2
        for name, is_text, dims in tensors:
            self._add(request, name, rows, dims, is_text=is_text, as_contents=as_contents)
        if chance.random() < 0.2:
            request.outputs.add(name=chance.choice(OUTPUTS))
        return request

    def _add(
        self,
        request: pb.ModelInferRequest,
        name: str,
        rows: int,
        dims: list[int],
        *,
        is_text: bool,
        as_contents: bool,
    ) -> None:
        chance = self._chance
        if chance.random() < 0.03:
            rows += 1
        if dims == [1] and chance.random() < 0.3:
            dims = []
        if chance.random() < 0.03:
            dims = [*dims, 2]
        whole = name == "pair"
        datatype = "BYTES" if is_text else chance.choice(["INT32", "INT8"] if whole else list(DTYPES))
        if chance.random() < 0.03:
            datatype = chance.choice(["BYTES", "FP64", "STRING"])
        count = rows * int(np.prod(dims)) if dims else rows
        tensor = request.inputs.add(name=name, datatype=datatype, shape=[rows, *dims])
        values = self._values(datatype, count)
        if as_contents and datatype in _CONTENTS:
            told: Any = [v.encode() for v in values] if datatype == "BYTES" else values.tolist()
            getattr(tensor.contents, _CONTENTS[datatype]).extend(told)
        else:
            with np.errstate(over="ignore"):
                content = raw("FP64" if datatype == "STRING" else datatype, values)
            request.raw_input_contents.append(content)

    def _values(self, datatype: str, count: int) -> Any:
        chance = self._chance
        if datatype == "BYTES":
            return [chance.choice(TEXTS_OF_NOTE) for _ in range(count)]
        if datatype == "BOOL":
            return np.array([chance.random() < 0.5 for _ in range(count)])
        if datatype in ("INT64", "UINT64"):
            return np.array([chance.choice((7, 2**53, 2**53 + 1)) for _ in range(count)], dtype=np.uint64)
        if datatype in ("INT32", "INT8", "UINT8"):
            return np.array([chance.randrange(100) for _ in range(count)])
        return np.array([chance.choice((chance.gauss(0, 9), float("nan"), 1e31)) for _ in range(count)])


def compare_tensors(reference: Wire, native: Wire, *, count: int, seed: int) -> Counter[str]:
    """Make generated calls to both engines, and send as many messages on streams; counts the outcomes.

    Raises:
        DisagreementError: two responses differ.
    """
    requests, outcomes = TensorRequests(seed), Counter[str]()
    messages = [requests.draw() for _ in range(count)]
    for data in messages:
        wanted, found = (_unary(wire, data) for wire in (reference, native))
        _check(data, wanted, found)
        outcomes[wanted[0]] += 1
    streams = (
        wire.channel.stream_stream(STREAM)(iter(messages), timeout=_TIMEOUT_SECONDS)
        for wire in (reference, native)
    )
    for data, wanted_answer, found_answer in zip(messages, *streams, strict=True):
        _check(data, wanted_answer, found_answer)
    return outcomes


def _unary(wire: Wire, data: bytes) -> tuple[str, object]:
    try:
        return "OK", wire.unary(INFER)(data, timeout=_TIMEOUT_SECONDS)
    except grpc.RpcError as error:
        return outcome_of(error)


def _check(data: bytes, wanted: object, found: object) -> None:
    if wanted != found:
        raise DisagreementError(f"{data[:2000]!r}\nreference: {wanted!r}\nnative: {found!r}")
