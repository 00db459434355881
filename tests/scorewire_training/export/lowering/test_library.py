"""Every estimator of scikit-learn that needs no arguments: exported correctly, or refused."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn.base import is_classifier, is_regressor
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.utils import all_estimators

from scorewire_training.export.errors import UnsupportedModelError
from tests.scorewire_training.export.lowering.scored import check_same

# Estimators of a refused kind; all others are exported if they can be fitted on a table of numbers.
REFUSED = {
    "AdditiveChi2Sampler",
    "AffinityPropagation",
    "BernoulliRBM",
    "Birch",
    "BisectingKMeans",
    "CategoricalNB",
    "DictionaryLearning",
    "GaussianProcessClassifier",
    "GaussianProcessRegressor",
    "Isomap",
    "KNeighborsTransformer",
    "LabelPropagation",
    "LabelSpreading",
    "LatentDirichletAllocation",
    "LocallyLinearEmbedding",
    "MeanShift",
    "MiniBatchDictionaryLearning",
    "MiniBatchNMF",
    "NMF",
    "NearestCentroid",
    "PolynomialCountSketch",
    "RBFSampler",
    "RadiusNeighborsClassifier",
    "RadiusNeighborsRegressor",
    "RadiusNeighborsTransformer",
    "RandomTreesEmbedding",
    "SkewedChi2Sampler",
}
# They raise for values that were not in training.
STRICT = {"OneHotEncoder", "OrdinalEncoder"}


def built() -> dict[str, Any]:
    """The estimators by name, without those that need arguments, and small if possible."""
    result = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some are on their way out
        for name, cls in all_estimators():
            try:
                estimator = cls()
                is_classifier(estimator)
            except (AttributeError, TypeError):
                continue
            small = {"random_state": 0, "n_estimators": 5} | (
                {"max_iter": 5} if name.startswith("Hist") else {}
            )
            known = estimator.get_params(deep=False)
            result[name] = estimator.set_params(
                **{key: value for key, value in small.items() if key in known}
            )
    return result


def fitted(estimator: Any, frame: pd.DataFrame) -> Any:
    """The fitted estimator; a transformer is followed by a linear model.

    Raises:
        Exception: it is not made for a table of numbers and a target.
    """
    target = (frame["a"] * 2 - frame["b"] + frame["c"] ** 2).to_numpy(np.float64)
    if is_classifier(estimator):
        return estimator.fit(frame, np.digitize(target, np.quantile(target, [0.3, 0.7])))
    if is_regressor(estimator):
        several = "MultiTask" in type(estimator).__name__ or type(estimator).__name__ in {
            "CCA",
            "PLSCanonical",
        }
        return estimator.fit(frame, _pair(target) if several else np.exp(target))
    if hasattr(estimator, "predict"):
        return estimator.fit(frame)
    return make_pipeline(estimator, Ridge()).fit(frame, target)


def _pair(target: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.column_stack([target, -(target**2)])


def test_every_estimator_with_its_defaults_is_exported_right_or_refused() -> None:
    table = np.random.default_rng(0).uniform(0, 1, (120, 4))
    frame = pd.DataFrame(table, columns=["a", "b", "c", "d"])
    exported, refused = set(), set()
    for name, estimator in built().items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                model = fitted(estimator, frame)
            except Exception:  # noqa: S112 - whatever an estimator says of data that is not for it
                continue
            try:
                check_same(model, frame)
            except UnsupportedModelError:
                refused.add(name)
            else:
                exported.add(name)
    assert refused == REFUSED
    assert exported >= STRICT
    assert len(exported) > 100


@pytest.mark.parametrize("name", sorted(STRICT))
def test_encoders_with_their_defaults_know_the_values_of_training_only(name: str) -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0, 1.0, 3.0], "b": [5.0, 5.0, 6.0, 6.0]})
    model = make_pipeline(built()[name], Ridge()).fit(frame, [1.0, 2.0, 3.0, 4.0])
    check_same(model, frame)
    with pytest.raises(ValueError, match="unknown categories"):
        model.predict(frame + 10)
