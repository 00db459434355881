"""One row in three encodings gets outputs with the same bits."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest

from tests.conformance.inference import infer, infer_request, told
from tests.conformance.typed import TypedService
from tests.conformance.wire import Wire, sum_request, values

SPECIAL = [0.0, -0.0, 1e-310, 5e-324, 0.1, 1 / 3, 2.0**53, -(2.0**53), 1e30, -1e30, np.nextafter(1, 2)]
COUNTRIES = ["de", " DE ", "pe", "?", "", "ß\0x"]


def rows(count: int) -> list[tuple[float, float, str]]:
    """Rows of the model `sum`; the second number may be missing."""
    generator = np.random.default_rng(8)
    first = [*SPECIAL, *generator.normal(scale=1e6, size=count).tolist()]
    second = [*reversed(SPECIAL), *generator.standard_cauchy(size=count).tolist()]
    second[3] = float("nan")
    return [(a, b, COUNTRIES[i % len(COUNTRIES)]) for i, (a, b) in enumerate(zip(first, second, strict=True))]


def bits(found: Any) -> list[bytes]:
    return [struct.pack("<d", value) for value in found]


@pytest.mark.parametrize("version", ["1.0.0", "1.1.0"])
def test_rows_tensors_and_typed_messages_give_the_same_bits(wire: Wire, version: str) -> None:
    table = rows(120)
    numbers = [number for row in table for number in row[:2]]
    texts = [row[2] for row in table]
    positional = wire.predict(sum_request(numbers, texts, len(table), version=version))
    tensors = {
        "x0": ("FP64", [len(table), 1], [row[0] for row in table]),
        "x1": ("FP64", [len(table), 1], [row[1] for row in table]),
        "country": ("BYTES", [len(table), 1], texts),
    }
    inferred = told(infer(wire, infer_request("sum", tensors, model_version=version)))["value"]
    service = TypedService(wire, "scorewire.models.sum.v1.SumService")
    named = [{"x0": row[0], "x1": row[1], "country": row[2]} for row in table]
    metadata = (("scorewire-version", version),)
    assert bits(inferred) == bits(values(positional))
    # The graph adds the numbers of a single row in another order than those of several rows.
    for row, (x0, x1, country) in zip(named[:20], table[:20], strict=True):
        alone = values(wire.predict(sum_request([x0, x1], [country], version=version)))
        assert bits([service.predict(metadata, **row).value]) == bits(alone)
    if version == positional.version == "1.1.0":
        assert bits(each.value for each in service.predict_batch(*named)) == bits(inferred)
        assert bits(each.value for each in service.predict_stream(*named)) == bits(inferred)


def test_probabilities_and_classes_agree(wire: Wire) -> None:
    inputs = [*np.linspace(-40, 40, 41).tolist(), 1e30]
    tensors = {"x": ("FP64", [len(inputs), 1], inputs)}
    inferred = told(infer(wire, infer_request("classes", tensors)))
    fused = told(infer(wire, infer_request("classes", {"all": ("FP64", [len(inputs), 1], inputs)})))
    assert fused == inferred
    service = TypedService(wire, "scorewire.models.classes.v1.ClassesService")
    typed = service.predict_batch(*({"x": x} for x in inputs))
    positional = wire.predict(sum_request(inputs, [], len(inputs), model="classes"))
    assert bits(values(positional, "probabilities")) == bits(inferred["probabilities"])
    assert bits(p for each in typed for p in each.probabilities) == bits(inferred["probabilities"])
    assert [["no", "yes"][index] for index in inferred["label"]] == [each.label for each in typed]
    assert values(positional, "label") == inferred["label"]


def test_texts_and_whole_numbers_agree(wire: Wire) -> None:
    service = TypedService(wire, "scorewire.models.tensors.v1.TensorsService")
    tensors = {"pair": ("INT32", [1, 2], [-(2**30), 7]), "word": ("BYTES", [1], ["ß\0"])}
    inferred = told(infer(wire, infer_request("tensors", tensors)))
    typed = service.predict(pair_0=-(2**30), pair_1=7, word="ß\0")
    assert inferred == {"twice": [-(2**31), 14], "echo": ["ß\0"]}
    assert (list(typed.twice), typed.echo) == (inferred["twice"], "ß\0")
