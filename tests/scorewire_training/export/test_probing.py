from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures

from scorewire_proto.v1 import schema_pb2
from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.frames import FrameCodec
from scorewire_training.export.graph import ModelOutput
from scorewire_training.export.probing import FLOAT32_LIMIT, FLOAT64_LIMIT, Allowance, Prober
from scorewire_training.export.reference import Reference

FEATURES = [("x", schema_pb2.FEATURE_KIND_NUMBER), ("t", schema_pb2.FEATURE_KIND_TEXT)]
VALUE = [ModelOutput(name="value", kind=schema_pb2.OUTPUT_KIND_NUMBER, tensor="v", width=1)]
SAMPLE = pd.DataFrame({"x": [1.0, -3.0, 2.0], "t": pd.Series(["a", "b", "a"], dtype=object)})


class Picky(BaseEstimator):  # type: ignore[misc]  # untyped
    """A model that takes what a function takes."""

    def __init__(self, takes: Any) -> None:
        self.takes = takes

    def predict(self, frame: pd.DataFrame) -> Any:
        if not all(self.takes(x, t) for x, t in zip(frame["x"], frame["t"], strict=True)):
            raise ValueError("not that")
        return np.zeros(len(frame))


def _probe(takes: Any, known: tuple[str, ...] = ("a", "b")) -> dict[str, Allowance]:
    codec = FrameCodec(SAMPLE, FEATURES, {})
    prober = Prober(Reference(Picky(takes), VALUE), codec, FEATURES, codec.to_rows(SAMPLE))
    return prober.probe({"t": known})


def test_a_model_that_takes_all_refuses_nothing() -> None:
    assert _probe(lambda _x, _t: True) == {
        "x": Allowance(missing=True, magnitude_limit=np.inf),
        "t": Allowance(missing=True, unknown=True),
    }


def test_missing_values_that_raise_are_not_allowed() -> None:
    found = _probe(lambda x, t: not np.isnan(x) and t != "")
    assert not found["x"].missing
    assert not found["t"].missing
    assert found["t"].unknown


def test_unknown_text_that_raises_is_not_allowed() -> None:
    found = _probe(lambda _x, t: t in {"a", "b", ""})
    assert found["t"] == Allowance(missing=True, unknown=False)


def test_unknown_text_that_raises_needs_a_vocabulary() -> None:
    with pytest.raises(UnsupportedModelError, match="refuses some texts of 't'"):
        _probe(lambda _x, t: t in {"a", "b", ""}, known=())


@pytest.mark.parametrize(
    ("limit", "takes"),
    [
        (FLOAT64_LIMIT, lambda x, _t: not np.isinf(x)),
        (FLOAT32_LIMIT, lambda x, _t: bool(np.isnan(x) or abs(x) < 2.0**128 - 2.0**103)),
        (12345.678, lambda x, _t: not abs(x) > 12345.678),
        # What one sign allows and the other does not is not allowed.
        (1e6, lambda x, _t: not (x > 1e6 or x < -2e6)),
    ],
)
def test_the_largest_magnitude_is_found(limit: float, takes: Any) -> None:
    assert _probe(takes)["x"].magnitude_limit == limit


def test_a_limit_where_a_row_overflows_is_kept_away_from() -> None:
    assert _probe(lambda x, _t: not abs(x) > 1e300)["x"].magnitude_limit == pytest.approx(1e150)
    assert _probe(lambda x, _t: not abs(x) > 1e50)["x"].magnitude_limit == FLOAT32_LIMIT


@pytest.mark.parametrize("count", [2, 3])
def test_limits_are_those_of_features_that_are_large_together(count: int) -> None:
    names = [f"x{i}" for i in range(5)]
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(50, 5)), columns=names)
    products = PolynomialFeatures(count, interaction_only=True)
    model = make_pipeline(products, Ridge()).fit(frame, frame["x0"])
    codec = FrameCodec(frame, numbers := [(name, schema_pb2.FEATURE_KIND_NUMBER) for name in names], {})
    found = Prober(Reference(model, VALUE), codec, numbers, codec.to_rows(frame)).probe({})
    limit = found["x0"].magnitude_limit
    assert 1e60 < limit < FLOAT64_LIMIT ** (1 / count)
    assert {each.magnitude_limit for each in found.values()} == {limit}
    assert np.isfinite(model.predict(frame * 0 + limit)).all()


def test_many_features_are_asked_for_together() -> None:
    asked = []

    class Counting(Picky):
        def predict(self, frame: pd.DataFrame) -> Any:
            asked.append(len(frame))
            return np.zeros(len(frame))

    names = [f"x{i}" for i in range(300)]
    frame = pd.DataFrame(np.ones((2, 300)), columns=names)
    codec = FrameCodec(frame, numbers := [(name, schema_pb2.FEATURE_KIND_NUMBER) for name in names], {})
    Prober(Reference(Counting(None), VALUE), codec, numbers, codec.to_rows(frame)).probe({})
    assert len(asked) < 10


def test_float32_limit_is_the_last_double_that_float32_holds() -> None:
    with np.errstate(over="ignore"):
        assert np.isfinite(np.float32(FLOAT32_LIMIT))
        assert np.isinf(np.float32(np.nextafter(FLOAT32_LIMIT, np.inf)))


def test_a_model_that_refuses_ordinary_numbers_is_unsupported() -> None:
    with pytest.raises(UnsupportedModelError, match="ordinary numbers of 'x'.*handle_unknown"):
        _probe(lambda x, _t: x in {1.0, -3.0, 2.0})
