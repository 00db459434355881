"""Families of pipelines: encoders before trees, and models that are no trees."""

from __future__ import annotations

from functools import partial
from typing import Any

import lightgbm
import numpy as np
import xgboost
from sklearn import ensemble, linear_model, neural_network, svm
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    StandardScaler,
    TargetEncoder,
)

from scorewire_training.transformers import FrequencyEncoder, TextCleaner
from tests.families.data import empty_texts, everything, one_text, small_numbers
from tests.families.fits import after_encoder, after_preparation, calibrated, words
from tests.families.running import Family

XC, XR = xgboost.XGBClassifier, xgboost.XGBRegressor
LC, LR = lightgbm.LGBMClassifier, lightgbm.LGBMRegressor
HC, HR = ensemble.HistGradientBoostingClassifier, ensemble.HistGradientBoostingRegressor
ordinal = partial(OrdinalEncoder, handle_unknown="use_encoded_value", unknown_value=-1)
one_hot = partial(OneHotEncoder, handle_unknown="ignore", sparse_output=False)


def logged(values: Any) -> Any:
    return np.log1p(np.abs(values))


ENCODED = [
    Family(name="one-hot, XGBoost", fit=after_encoder(one_hot(), XC), target="two", prepare=everything),
    Family(name="one-hot, LightGBM", fit=after_encoder(one_hot(), LC), target="three", prepare=everything),
    Family(name="one-hot, HistGradientBoosting", fit=after_encoder(one_hot(), HR), prepare=everything),
    Family(
        name="one-hot, strict, LightGBM",
        fit=after_encoder(OneHotEncoder(), LC),
        target="two",
        prepare=everything,
    ),
    Family(
        name="one-hot, infrequent, random forest",
        fit=after_encoder(
            OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=0.02, sparse_output=False),
            ensemble.RandomForestClassifier,
        ),
        target="two",
        prepare=empty_texts,
    ),
    Family(name="ordinal, XGBoost", fit=after_encoder(ordinal(), XR), prepare=everything),
    Family(name="ordinal, LightGBM", fit=after_encoder(ordinal(), LR), prepare=everything),
    Family(
        name="ordinal, HistGradientBoosting",
        fit=after_encoder(ordinal(), HC),
        target="two",
        prepare=everything,
    ),
    Family(
        name="ordinal, random forest, missing values",
        fit=after_encoder(ordinal(), ensemble.RandomForestRegressor),
        prepare=everything,
    ),
    Family(name="target, XGBoost", fit=after_encoder(TargetEncoder(random_state=0), XR), prepare=everything),
    Family(
        name="target, LightGBM",
        fit=after_encoder(TargetEncoder(random_state=0), LC),
        target="two",
        prepare=everything,
    ),
    Family(
        name="target of three classes, HistGradientBoosting",
        fit=after_encoder(TargetEncoder(random_state=0), HC),
        target="three",
        prepare=empty_texts,
    ),
    Family(
        name="folded frequency, XGBoost tweedie",
        fit=after_encoder(make_pipeline(TextCleaner(), FrequencyEncoder()), XR, objective="reg:tweedie"),
        target="count",
        prepare=everything,
    ),
    Family(
        name="folded target, XGBoost absolute error",
        fit=after_encoder(
            make_pipeline(TextCleaner(), TargetEncoder(random_state=0)), XR, objective="reg:absoluteerror"
        ),
        prepare=everything,
    ),
]

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
        name="ridge over bins",
        fit=after_preparation(linear_model.Ridge(), KBinsDiscretizer(encode="onehot-dense")),
        prepare=everything,
    ),
    Family(
        name="ridge over polynomials",
        fit=after_preparation(linear_model.Ridge(), StandardScaler(), PolynomialFeatures(2)),
        prepare=small_numbers,
    ),
    Family(
        name="log1p target, ridge",
        fit=after_preparation(
            TransformedTargetRegressor(linear_model.Ridge(), func=np.log1p, inverse_func=np.expm1)
        ),
        target="positive",
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
    Family(
        name="calibrated linear SVC",
        fit=after_preparation(CalibratedClassifierCV(svm.LinearSVC(random_state=0), cv=2)),
        target="two",
        prepare=everything,
    ),
    Family(
        name="HistGradientBoosting, calibrated on its log-odds",
        fit=calibrated(after_encoder(one_hot(), HC)),
        target="two",
        prepare=everything,
    ),
    Family(
        name="random forest, calibrated on its log-odds",
        fit=calibrated(after_encoder(one_hot(), ensemble.RandomForestClassifier)),
        target="two",
        prepare=empty_texts,
    ),
    Family(
        name="voting of forest and logistic regression",
        fit=after_preparation(
            ensemble.VotingClassifier(
                [
                    ("trees", ensemble.RandomForestClassifier(5, max_depth=5, random_state=0)),
                    ("line", linear_model.LogisticRegression()),
                ],
                voting="soft",
            )
        ),
        target="two",
        prepare=everything,
    ),
    Family(
        name="stack of XGBoost and ridge",
        fit=after_preparation(
            ensemble.StackingRegressor(
                [("trees", xgboost.XGBRegressor(n_estimators=5)), ("line", linear_model.Ridge())], cv=2
            )
        ),
        prepare=everything,
    ),
    Family(
        name="tf-idf of words, logistic regression",
        fit=words(TfidfVectorizer(token_pattern="[^ ]+", lowercase=False)),  # noqa: S106 - no password
        target="two",
        prepare=one_text,
    ),
    Family(
        name="tf-idf of words as scikit-learn cuts them",
        fit=words(TfidfVectorizer()),
        target="two",
        prepare=one_text,
        refused="splits texts at spaces only",
    ),
    Family(
        name="function of one's own",
        fit=after_preparation(linear_model.Ridge(), FunctionTransformer(logged)),
        refused="FunctionTransformer",
    ),
]
