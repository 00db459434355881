"""Families of several labels, or several numbers, for a row."""

from __future__ import annotations

import xgboost
from sklearn import ensemble, linear_model, neural_network, svm, tree
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier, MultiOutputRegressor, RegressorChain

from tests.families.fits import after_preparation, estimator
from tests.families.running import Family

line = linear_model.LogisticRegression

SEVERAL = [
    Family(
        name="a model for each label", fit=after_preparation(MultiOutputClassifier(line())), target="labels"
    ),
    Family(
        name="a forest for each label",
        fit=after_preparation(
            MultiOutputClassifier(ensemble.RandomForestClassifier(3, max_depth=4, random_state=0))
        ),
        target="labels",
    ),
    Family(
        name="chain of labels", fit=after_preparation(ClassifierChain(line(), order=[2, 0, 1])), target="tags"
    ),
    Family(
        name="chain of labels by probabilities",
        fit=after_preparation(ClassifierChain(line(), chain_method="predict_proba")),
        target="tags",
    ),
    Family(
        name="chain of labels of several classes",
        fit=after_preparation(ClassifierChain(line())),
        target="labels",
        refused="other than two classes",
    ),
    Family(
        name="several labels, one against the rest",
        fit=after_preparation(OneVsRestClassifier(svm.LinearSVC(random_state=0))),
        target="tags",
    ),
    Family(
        name="several labels, neural network",
        fit=after_preparation(neural_network.MLPClassifier((8,), max_iter=30, random_state=0)),
        target="tags",
    ),
    Family(
        name="several labels, decision tree",
        fit=after_preparation(tree.DecisionTreeClassifier(max_depth=4, random_state=0)),
        target="labels",
    ),
    Family(
        name="several labels, random forest",
        fit=estimator(ensemble.RandomForestClassifier, max_depth=6),
        target="labels",
    ),
    Family(name="several labels, XGBoost", fit=estimator(xgboost.XGBClassifier), target="tags"),
    Family(
        name="several labels, XGBoost, one tree",
        fit=estimator(xgboost.XGBClassifier, multi_strategy="multi_output_tree"),
        target="tags",
    ),
    Family(
        name="a model for each number",
        fit=after_preparation(MultiOutputRegressor(svm.LinearSVR(random_state=0))),
        target="pair",
    ),
    Family(
        name="chain of numbers",
        fit=after_preparation(RegressorChain(linear_model.Ridge(), order=[1, 0])),
        target="pair",
    ),
    Family(
        name="several numbers, random forest",
        fit=estimator(ensemble.RandomForestRegressor, max_depth=6),
        target="pair",
    ),
    Family(
        name="several numbers, neural network",
        fit=after_preparation(
            neural_network.MLPRegressor(hidden_layer_sizes=(8,), max_iter=30, random_state=0)
        ),
        target="pair",
    ),
]
