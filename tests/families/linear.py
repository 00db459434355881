"""Families of linear models, and of others that are no trees, behind imputed and scaled columns."""

from __future__ import annotations

from sklearn import linear_model, neural_network, svm
from sklearn.naive_bayes import GaussianNB

from tests.families.data import everything
from tests.families.fits import after_preparation
from tests.families.running import Family

LINEAR = [
    Family(
        name="logistic regression",
        fit=after_preparation(linear_model.LogisticRegression()),
        target="named",
        prepare=everything,
    ),
    Family(
        name="logistic regression, three classes",
        fit=after_preparation(linear_model.LogisticRegression()),
        target="three",
        prepare=everything,
    ),
    Family(name="ridge", fit=after_preparation(linear_model.Ridge()), prepare=everything),
    Family(
        name="poisson regression",
        fit=after_preparation(linear_model.PoissonRegressor()),
        target="count",
        prepare=everything,
    ),
    Family(
        name="SGD classifier",
        fit=after_preparation(linear_model.SGDClassifier(random_state=0)),
        target="three",
    ),
    Family(name="linear SVC", fit=after_preparation(svm.LinearSVC(random_state=0)), target="two"),
    Family(
        name="neural network",
        fit=after_preparation(neural_network.MLPClassifier((16,), max_iter=30, random_state=0)),
        target="two",
        prepare=everything,
    ),
    Family(name="naive Bayes", fit=after_preparation(GaussianNB()), target="three"),
]
