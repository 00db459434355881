"""Families of models that are made of models."""

from __future__ import annotations

import xgboost
from sklearn import ensemble, linear_model, svm
from sklearn.calibration import CalibratedClassifierCV

from tests.families.data import empty_texts, everything
from tests.families.fits import after_encoder, after_preparation, calibrated
from tests.families.pipelines import HC, one_hot
from tests.families.running import Family

COMPOSED = [
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
]
