"""Families of other models: counts, distances, kernels and dummies."""

from __future__ import annotations

from typing import Any

import xgboost
from sklearn import (
    cluster,
    covariance,
    decomposition,
    dummy,
    ensemble,
    kernel_ridge,
    mixture,
    naive_bayes,
    neighbors,
    svm,
)
from sklearn.impute import KNNImputer
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Binarizer, StandardScaler

from scorewire_training.export.lowering.rules.neighbors import MAX_ROWS
from tests.families.data import counts, everything, filled, fine, fine_with_holes, small_numbers
from tests.families.fits import Fit, after_preparation, whole
from tests.families.running import Family


def scaled(model: Any) -> Fit:
    """Fits a model after scaling numbers."""
    return whole(make_pipeline(StandardScaler(), model))


def few(model: Any) -> Fit:
    """Fits a model after scaling numbers, on as many rows as a graph may hold."""
    return lambda frame, target, _: make_pipeline(StandardScaler(), model).fit(
        frame[:MAX_ROWS], target[:MAX_ROWS]
    )


OTHERS = [
    Family(name="dummy of classes", fit=after_preparation(dummy.DummyClassifier()), target="named"),
    Family(name="dummy of numbers", fit=after_preparation(dummy.DummyRegressor()), target="pair"),
    Family(
        name="dummy that draws at random",
        fit=after_preparation(dummy.DummyClassifier(strategy="stratified")),
        target="two",
        refused="at random",
    ),
    Family(
        name="k-means", fit=after_preparation(cluster.KMeans(4, n_init=1, random_state=0)), prepare=everything
    ),
    Family(
        name="distances from k-means before a line",
        fit=after_preparation(make_pipeline(cluster.KMeans(4, n_init=1, random_state=0), Ridge())),
    ),
    Family(
        name="k-means of batches",
        fit=after_preparation(cluster.MiniBatchKMeans(4, n_init=1, random_state=0)),
    ),
    Family(name="PCA as last step", fit=after_preparation(decomposition.PCA(3))),
    Family(
        name="multinomial naive Bayes", fit=whole(naive_bayes.MultinomialNB()), target="three", prepare=counts
    ),
    Family(
        name="complement naive Bayes", fit=whole(naive_bayes.ComplementNB()), target="three", prepare=counts
    ),
    Family(
        name="Bernoulli naive Bayes",
        fit=whole(naive_bayes.BernoulliNB(binarize=1.0)),
        target="two",
        prepare=counts,
    ),
    Family(
        name="Bernoulli naive Bayes behind a Binarizer",
        fit=whole(make_pipeline(Binarizer(threshold=1.0), naive_bayes.BernoulliNB())),
        target="two",
        prepare=counts,
    ),
    Family(
        name="isolation forest",
        fit=lambda frame, _, size: ensemble.IsolationForest(n_estimators=size, random_state=0).fit(frame),
        prepare=filled,
    ),
    Family(name="one-class SVM", fit=scaled(svm.OneClassSVM(nu=0.2)), prepare=filled),
    Family(name="SVR", fit=scaled(svm.SVR()), prepare=filled),
    Family(name="NuSVR, polynomial kernel", fit=scaled(svm.NuSVR(kernel="poly", degree=2)), prepare=filled),
    Family(
        name="kernel ridge", fit=scaled(kernel_ridge.KernelRidge(kernel="rbf", alpha=1.0)), prepare=filled
    ),
    Family(
        name="Nystroem kernels before a line",
        fit=scaled(make_pipeline(Nystroem(n_components=20, random_state=0), Ridge())),
        prepare=filled,
    ),
    Family(name="Gaussian mixture", fit=scaled(mixture.GaussianMixture(3, random_state=0)), prepare=filled),
    Family(
        name="envelope",
        fit=whole(covariance.EllipticEnvelope(random_state=0)),
        prepare=filled,
    ),
    Family(
        name="nearest neighbours",
        fit=few(neighbors.KNeighborsClassifier()),
        target="three",
        prepare=fine,
    ),
    Family(
        name="nearest neighbours of numbers, weighed by distance",
        fit=few(neighbors.KNeighborsRegressor(7, weights="distance")),
        prepare=fine,
    ),
    Family(
        name="nearest neighbours by Manhattan distance, two targets",
        fit=few(neighbors.KNeighborsRegressor(3, p=1)),
        target="pair",
        prepare=fine,
    ),
    Family(
        name="imputer of near rows",
        fit=few(make_pipeline(KNNImputer(), Ridge())),
        prepare=fine_with_holes,
    ),
    Family(
        name="imputer of near rows, XGBoost",
        fit=few(make_pipeline(KNNImputer(), xgboost.XGBRegressor(n_estimators=20))),
        prepare=fine_with_holes,
    ),
    Family(
        name="imputer of near rows, whole numbers",
        fit=few(make_pipeline(KNNImputer(), Ridge())),
        prepare=small_numbers,
        refused="the same number in column",
    ),
    Family(
        name="nearest neighbours, equally near",
        fit=few(neighbors.KNeighborsClassifier(3)),
        target="two",
        prepare=counts,
        refused="equally near",
    ),
    Family(
        name="neighbours within a radius",
        fit=scaled(neighbors.RadiusNeighborsRegressor(2.0)),
        prepare=fine,
        refused="KNeighborsRegressor",
    ),
    Family(
        name="nearest centers of a mean shift",
        fit=scaled(cluster.MeanShift(bandwidth=1.0)),
        prepare=filled,
        refused="other centers",
    ),
    Family(name="SVC", fit=scaled(svm.SVC(random_state=0)), target="three", prepare=filled),
]
