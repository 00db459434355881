from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator
from sklearn.ensemble import RandomForestRegressor
from sklearn.experimental import enable_iterative_imputer  # noqa: F401 - which importing it allows
from sklearn.impute import IterativeImputer
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures

from scorewire_proto.v1 import schema_pb2
from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.frames import FrameCodec
from scorewire_training.export.graph import ModelOutput
from scorewire_training.export.parity.fitted_model import FittedModel
from scorewire_training.export.parity.input_limits import (
    FLOAT32_LIMIT,
    FLOAT64_LIMIT,
    InputLimits,
    InputLimitSearch,
)

FEATURES = [("x", schema_pb2.FEATURE_KIND_NUMBER), ("t", schema_pb2.FEATURE_KIND_TEXT)]
VALUE = [ModelOutput(name="value", kind=schema_pb2.OUTPUT_KIND_NUMBER, tensor="v", width=1)]
SAMPLE = pd.DataFrame({"x": [1.0, -3.0, 2.0], "t": pd.Series(["a", "b", "a"], dtype=object)})


class Picky(BaseEstimator):  # type: ignore[misc]  # untyped
    """A model that accepts the rows that a function accepts."""

    def __init__(self, takes: Any) -> None:
        self.takes = takes

    def predict(self, frame: pd.DataFrame) -> Any:
        if not all(self.takes(x, t) for x, t in zip(frame["x"], frame["t"], strict=True)):
            raise ValueError("not that")
        return np.zeros(len(frame))


def _probe(takes: Any, known: tuple[str, ...] = ("a", "b")) -> dict[str, InputLimits]:
    codec = FrameCodec(SAMPLE, FEATURES, {})
    prober = InputLimitSearch(FittedModel(Picky(takes), VALUE), codec, FEATURES, codec.to_rows(SAMPLE))
    return prober.find({"t": known})


def _probe_numbers(model: Any, frame: pd.DataFrame) -> dict[str, InputLimits]:
    features = [(name, schema_pb2.FEATURE_KIND_NUMBER) for name in frame.columns]
    codec = FrameCodec(frame, features, {})
    return InputLimitSearch(FittedModel(model, VALUE), codec, features, codec.to_rows(frame)).find({})


def test_a_model_that_takes_all_refuses_nothing() -> None:
    assert _probe(lambda _x, _t: True) == {
        "x": InputLimits(missing=True, low=-np.inf, high=np.inf),
        "t": InputLimits(missing=True, unknown=True),
    }


def test_missing_values_that_raise_are_not_allowed() -> None:
    found = _probe(lambda x, t: not np.isnan(x) and t != "")
    assert not found["x"].missing
    assert not found["t"].missing
    assert found["t"].unknown


def test_unknown_text_that_raises_is_not_allowed() -> None:
    found = _probe(lambda _x, t: t in {"a", "b", ""})
    assert found["t"] == InputLimits(missing=True, unknown=False)


def test_unknown_text_that_raises_needs_a_vocabulary() -> None:
    with pytest.raises(UnsupportedModelError, match="refuses some texts of 't'"):
        _probe(lambda _x, t: t in {"a", "b", ""}, known=())


@pytest.mark.parametrize(
    ("low", "high", "takes"),
    [
        (-FLOAT64_LIMIT, FLOAT64_LIMIT, lambda x: not np.isinf(x)),
        (-FLOAT32_LIMIT, FLOAT32_LIMIT, lambda x: abs(x) < 2.0**128 - 2.0**103),
        (-12345.678, 12345.678, lambda x: abs(x) <= 12345.678),
        (-2e6, 1e6, lambda x: -2e6 <= x <= 1e6),
        (np.nextafter(-4.0, 0.0), np.inf, lambda x: x > -4.0),
        (-np.inf, 709.5, lambda x: x <= 709.5),
        (-3.0, 2.0, lambda x: -3.0 <= x <= 2.0),
    ],
)
def test_the_smallest_and_the_largest_number_are_found(low: float, high: float, takes: Any) -> None:
    found = _probe(lambda x, _t: np.isnan(x) or takes(x))["x"]
    assert (found.low, found.high) == (low, high)


def test_a_number_refused_at_the_end_of_a_domain_is_a_limit() -> None:
    codec = FrameCodec(SAMPLE, FEATURES, {})
    rows = codec.to_rows(SAMPLE)
    prober = InputLimitSearch(FittedModel(Picky(lambda x, _t: x != -4.0), VALUE), codec, FEATURES, rows)
    found = prober.find({}, {"x": (float(np.nextafter(-4.0, 0.0)), np.inf)})["x"]
    assert (found.low, found.high) == (np.nextafter(-4.0, 0.0), np.inf)
    prober = InputLimitSearch(FittedModel(Picky(lambda x, _t: x != -2.5), VALUE), codec, FEATURES, rows)
    with pytest.raises(UnsupportedModelError, match="refuses the number -2.5 of 'x', and takes smaller"):
        prober.find({}, {"x": (float(np.nextafter(-2.5, 0.0)), np.inf)})


def test_a_limit_where_a_row_overflows_is_kept_away_from() -> None:
    found = _probe(lambda x, _t: not abs(x) > 1e300)["x"]
    assert (found.low, found.high) == (pytest.approx(-1e150), pytest.approx(1e150))
    found = _probe(lambda x, _t: not abs(x) > 1e50)["x"]
    assert (found.low, found.high) == (-FLOAT32_LIMIT, FLOAT32_LIMIT)


@pytest.mark.parametrize("count", [2, 3])
def test_limits_are_those_of_features_that_are_large_together(count: int) -> None:
    names = [f"x{i}" for i in range(5)]
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(50, 5)), columns=names)
    products = PolynomialFeatures(count, interaction_only=True)
    model = make_pipeline(products, Ridge()).fit(frame, frame["x0"])
    found = _probe_numbers(model, frame)
    limit = found["x0"].high
    assert 1e60 < limit < FLOAT64_LIMIT ** (1 / count)
    assert {(each.low, each.high) for each in found.values()} == {(-limit, limit)}
    assert np.isfinite(model.predict(frame * 0 + limit)).all()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_limits_are_those_of_rows_that_lack_all_other_numbers() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(80, 3)), columns=["a", "b", "c"])
    holed = frame.mask(rng.random(frame.shape) < 0.2)
    forest = RandomForestRegressor(2, max_depth=3, random_state=0)
    model = make_pipeline(IterativeImputer(forest, max_iter=1), Ridge()).fit(holed, frame["a"])
    for limits in _probe_numbers(model, holed).values():
        # A forest accepts numbers that float32 holds, and is used only where another number is missing.
        assert 2.0**120 < limits.high < FLOAT32_LIMIT


def test_many_features_are_asked_for_together() -> None:
    asked = []

    class Counting(Picky):
        def predict(self, frame: pd.DataFrame) -> Any:
            asked.append(len(frame))
            return np.zeros(len(frame))

    names = [f"x{i}" for i in range(300)]
    frame = pd.DataFrame(np.ones((2, 300)), columns=names)
    _probe_numbers(Counting(None), frame)
    assert len(asked) < 10


def test_float32_limit_is_the_last_double_that_float32_holds() -> None:
    with np.errstate(over="ignore"):
        assert np.isfinite(np.float32(FLOAT32_LIMIT))
        assert np.isinf(np.float32(np.nextafter(FLOAT32_LIMIT, np.inf)))


def test_a_model_that_refuses_ordinary_numbers_is_unsupported() -> None:
    with pytest.raises(UnsupportedModelError, match="ordinary numbers of 'x'.*handle_unknown"):
        _probe(lambda x, _t: x in {1.0, -3.0, 2.0})
