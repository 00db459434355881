"""Families of models that are made of models."""

from __future__ import annotations

from typing import Any

import pandas as pd
import xgboost
from numpy.typing import NDArray
from sklearn import ensemble, linear_model, svm, tree
from sklearn.calibration import CalibratedClassifierCV
from sklearn.impute import SimpleImputer
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from scorewire_training.releases import SKLEARN_RELEASE
from tests.families.data import empty_texts, everything
from tests.families.fits import Fit, after_encoder, after_preparation, calibrated
from tests.families.pipelines import HC, one_hot
from tests.families.running import Family


def resampled(model: Any) -> Fit:
    """Fits a model after imputing, on the same number of rows of each class; predicted rows are unchanged."""

    def fit(frame: pd.DataFrame, target: NDArray[Any], _: int) -> Any:
        from imblearn.over_sampling import SMOTE
        from imblearn.pipeline import make_pipeline

        return make_pipeline(SimpleImputer(), SMOTE(random_state=0), model).fit(frame, target)

    return fit


COMPOSED = [
    Family(
        name="samplers of imbalanced-learn, logistic regression",
        fit=resampled(make_pipeline(StandardScaler(), linear_model.LogisticRegression())),
        target="three",
    ),
    Family(
        name="samplers of imbalanced-learn, XGBoost",
        fit=resampled(xgboost.XGBClassifier(n_estimators=6, random_state=0, n_jobs=1)),
        target="two",
    ),
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
        name="isotonic calibration of HistGradientBoosting",
        fit=after_preparation(
            CalibratedClassifierCV(HC(max_iter=5, random_state=0), method="isotonic", cv=2)
        ),
        target="named",
    ),
    Family(
        name="sigmoid calibration of a random forest, three classes",
        fit=after_preparation(
            CalibratedClassifierCV(ensemble.RandomForestClassifier(5, max_depth=5, random_state=0), cv=2)
        ),
        target="three",
    ),
    Family(
        name="one against the rest",
        fit=after_preparation(OneVsRestClassifier(linear_model.LogisticRegression())),
        target="three",
    ),
    Family(
        name="one against the rest, XGBoost",
        fit=after_preparation(OneVsRestClassifier(xgboost.XGBClassifier(n_estimators=4, random_state=0))),
        target="three",
    ),
    Family(
        name="one against one",
        fit=after_preparation(OneVsOneClassifier(svm.LinearSVC(random_state=0))),
        target="three",
    ),
    Family(
        name="bag of trees",
        fit=after_preparation(
            ensemble.BaggingClassifier(
                tree.DecisionTreeClassifier(max_depth=5), n_estimators=4, max_features=0.7, random_state=0
            )
        ),
        target="three",
    ),
    Family(
        name="bag of lines",
        fit=after_preparation(
            ensemble.BaggingRegressor(linear_model.Ridge(), n_estimators=4, random_state=0)
        ),
        target="pair",
    ),
    Family(
        name="fixed threshold",
        fit=after_preparation(
            FixedThresholdClassifier(linear_model.LogisticRegression(), threshold=0.3, pos_label="no")
        ),
        target="named",
    ),
    Family(
        name="tuned threshold",
        fit=after_preparation(TunedThresholdClassifierCV(linear_model.LogisticRegression(), cv=2)),
        target="two",
    ),
]

if SKLEARN_RELEASE >= (1, 8):
    COMPOSED += [
        Family(
            name="temperature of XGBoost, three classes",
            fit=after_preparation(
                CalibratedClassifierCV(
                    xgboost.XGBClassifier(n_estimators=4, random_state=0), method="temperature", cv=2
                )
            ),
            target="three",
        ),
    ]
