"""The families of trees whose bits are compared: those of the export's tests, and some more."""

from __future__ import annotations

from sklearn import ensemble, tree

from tests.families.data import filled
from tests.families.ensembles import LC, LIGHTGBM, LR, SCIKIT_LEARN, XC, XGBOOST, XR
from tests.families.fits import booster, estimator, whole
from tests.families.pipelines import ENCODED
from tests.families.running import Family

MORE = [
    Family(
        name="XGBoost DART, three classes", fit=estimator(XC, booster="dart", rate_drop=0.3), target="three"
    ),
    Family(
        name="XGBoost DART, base score far from 0",
        fit=estimator(XR, booster="dart", rate_drop=0.5, base_score=1000.0),
        target="positive",
    ),
    Family(
        name="XGBoost margins far from 0",
        fit=estimator(XC, learning_rate=40.0, reg_lambda=0.0, max_depth=4),
        target="two",
    ),
    Family(
        name="XGBoost Booster multi:softprob",
        fit=booster("xgboost", objective="multi:softprob", num_class=3),
        target="three",
    ),
    Family(
        name="XGBoost three classes, one tree",
        fit=estimator(XC, multi_strategy="multi_output_tree"),
        target="three",
    ),
    Family(name="LightGBM 127 leaves", fit=estimator(LR, num_leaves=127, min_child_samples=3)),
    Family(
        name="LightGBM cross_entropy_lambda",
        fit=booster("lightgbm", objective="cross_entropy_lambda"),
        target="share",
    ),
    Family(
        name="LightGBM dart, three classes",
        fit=estimator(LC, boosting_type="dart"),
        target="three",
    ),
    Family(
        name="LightGBM rf regressor",
        fit=estimator(LR, boosting_type="rf", subsample=0.6, subsample_freq=1),
    ),
    Family(
        name="gradient boosting, exponential",
        fit=estimator(ensemble.GradientBoostingClassifier, loss="exponential"),
        target="two",
        prepare=filled,
    ),
    Family(
        name="deep random forest regressor",
        fit=estimator(ensemble.RandomForestRegressor),
    ),
    Family(
        name="deep random forest, three classes",
        fit=estimator(ensemble.RandomForestClassifier),
        target="three",
    ),
    Family(
        name="random forest of two targets",
        fit=estimator(ensemble.RandomForestRegressor, max_depth=8),
        target="pair",
    ),
    Family(
        name="decision tree, classes", fit=whole(tree.DecisionTreeClassifier(random_state=0)), target="three"
    ),
    Family(name="isolation forest", fit=estimator(ensemble.IsolationForest), prepare=filled),
]
FAMILIES = [*XGBOOST, *LIGHTGBM, *SCIKIT_LEARN, *MORE, *ENCODED]
