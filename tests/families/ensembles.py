"""Families of trees."""

from __future__ import annotations

import lightgbm
import xgboost
from sklearn import ensemble, tree

from scorewire_training.releases import SKLEARN_RELEASE
from tests.families.data import categories, filled
from tests.families.fits import booster, estimator, ranker, stopping_early, whole
from tests.families.running import Family

XC, XR = xgboost.XGBClassifier, xgboost.XGBRegressor
LC, LR = lightgbm.LGBMClassifier, lightgbm.LGBMRegressor
HC, HR = ensemble.HistGradientBoostingClassifier, ensemble.HistGradientBoostingRegressor

XGBOOST = [
    Family(name="XGBoost binary:logistic", fit=estimator(XC), target="two"),
    Family(name="XGBoost binary:hinge", fit=estimator(XC, objective="binary:hinge"), target="two"),
    Family(name="XGBoost multi:softprob", fit=estimator(XC), target="three"),
    Family(name="XGBoost multi:softmax", fit=estimator(XC, objective="multi:softmax"), target="three"),
    Family(name="XGBoost scale_pos_weight", fit=estimator(XC, scale_pos_weight=5), target="two"),
    Family(name="XGBoost reg:squarederror", fit=estimator(XR)),
    Family(name="XGBoost reg:absoluteerror", fit=estimator(XR, objective="reg:absoluteerror")),
    Family(name="XGBoost reg:pseudohubererror", fit=estimator(XR, objective="reg:pseudohubererror")),
    Family(
        name="XGBoost reg:squaredlogerror",
        fit=estimator(XR, objective="reg:squaredlogerror"),
        target="positive",
    ),
    Family(name="XGBoost reg:logistic", fit=estimator(XR, objective="reg:logistic"), target="share"),
    Family(
        name="XGBoost binary:logistic regressor",
        fit=estimator(XR, objective="binary:logistic"),
        target="share",
    ),
    Family(name="XGBoost count:poisson", fit=estimator(XR, objective="count:poisson"), target="count"),
    Family(name="XGBoost reg:gamma", fit=estimator(XR, objective="reg:gamma"), target="positive"),
    Family(name="XGBoost reg:tweedie", fit=estimator(XR, objective="reg:tweedie"), target="count"),
    Family(
        name="XGBoost reg:quantileerror",
        fit=estimator(XR, objective="reg:quantileerror", quantile_alpha=0.8),
    ),
    Family(
        name="XGBoost reg:quantileerror, three quantiles",
        fit=estimator(XR, objective="reg:quantileerror", quantile_alpha=[0.1, 0.5, 0.9]),
    ),
    Family(name="XGBoost DART", fit=estimator(XC, booster="dart", rate_drop=0.3), target="two"),
    Family(
        name="XGBoost parallel trees", fit=estimator(XC, num_parallel_tree=3, subsample=0.7), target="three"
    ),
    Family(name="XGBoost random forest", fit=estimator(xgboost.XGBRFClassifier), target="two"),
    Family(name="XGBoost early stopping", fit=stopping_early(XR)),
    Family(
        name="XGBoost early stopping, parallel trees",
        fit=stopping_early(XC, num_parallel_tree=2),
        target="three",
    ),
    Family(name="XGBoost lossguide", fit=estimator(XR, grow_policy="lossguide", max_leaves=20)),
    Family(name="XGBoost monotone", fit=estimator(XR, monotone_constraints=(1, 0, -1, 0, 0))),
    Family(name="XGBoost missing=-999", fit=estimator(XR, missing=-999.0), prepare=filled),
    Family(name="XGBoost two targets", fit=estimator(XR), target="pair"),
    Family(
        name="XGBoost two targets, one tree",
        fit=estimator(XR, multi_strategy="multi_output_tree"),
        target="pair",
    ),
    Family(name="XGBoost rank:ndcg", fit=ranker(xgboost.XGBRanker), target="two"),
    Family(
        name="XGBoost categories, one-hot",
        fit=estimator(XC, enable_categorical=True, max_cat_to_onehot=100),
        target="two",
        prepare=categories,
    ),
    Family(
        name="XGBoost categories, partition",
        fit=estimator(XC, enable_categorical=True, max_cat_to_onehot=1),
        target="two",
        prepare=categories,
    ),
    Family(
        name="XGBoost Booster binary:logistic",
        fit=booster("xgboost", objective="binary:logistic"),
        target="two",
    ),
    Family(
        name="XGBoost Booster multi:softmax",
        fit=booster("xgboost", objective="multi:softmax", num_class=3),
        target="three",
    ),
    Family(
        name="XGBoost Booster survival:cox",
        fit=booster("xgboost", objective="survival:cox"),
        target="positive",
    ),
    Family(
        name="XGBoost Booster survival:aft",
        fit=booster("xgboost", objective="survival:aft"),
        target="positive",
    ),
    Family(name="XGBoost gblinear", fit=estimator(XR, booster="gblinear")),
    Family(name="XGBoost gblinear, three classes", fit=estimator(XC, booster="gblinear"), target="three"),
]

LIGHTGBM = [
    Family(name="LightGBM binary", fit=estimator(LC), target="named"),
    Family(name="LightGBM multiclass", fit=estimator(LC), target="three"),
    Family(name="LightGBM multiclassova", fit=estimator(LC, objective="multiclassova"), target="three"),
    Family(name="LightGBM sigmoid=2", fit=estimator(LC, sigmoid=2.0), target="two"),
    Family(name="LightGBM regression", fit=estimator(LR)),
    Family(name="LightGBM regression_l1", fit=estimator(LR, objective="l1")),
    Family(name="LightGBM huber", fit=estimator(LR, objective="huber")),
    Family(name="LightGBM fair", fit=estimator(LR, objective="fair")),
    Family(name="LightGBM mape", fit=estimator(LR, objective="mape"), target="positive"),
    Family(name="LightGBM quantile", fit=estimator(LR, objective="quantile", alpha=0.8)),
    Family(name="LightGBM poisson", fit=estimator(LR, objective="poisson"), target="count"),
    Family(name="LightGBM gamma", fit=estimator(LR, objective="gamma"), target="positive"),
    Family(name="LightGBM tweedie", fit=estimator(LR, objective="tweedie"), target="count"),
    Family(name="LightGBM cross_entropy", fit=estimator(LR, objective="cross_entropy"), target="share"),
    Family(name="LightGBM reg_sqrt", fit=estimator(LR, reg_sqrt=True), target="positive"),
    Family(name="LightGBM zero_as_missing", fit=estimator(LR, zero_as_missing=True)),
    Family(name="LightGBM dart", fit=estimator(LC, boosting_type="dart"), target="two"),
    Family(name="LightGBM goss", fit=estimator(LC, data_sample_strategy="goss"), target="two"),
    Family(
        name="LightGBM rf",
        fit=estimator(LC, boosting_type="rf", subsample=0.6, subsample_freq=1),
        target="two",
    ),
    Family(name="LightGBM early stopping", fit=stopping_early(LR)),
    Family(name="LightGBM categories", fit=estimator(LC), target="two", prepare=categories),
    Family(name="LightGBM lambdarank", fit=ranker(lightgbm.LGBMRanker), target="two"),
    Family(name="LightGBM Booster binary", fit=booster("lightgbm", objective="binary"), target="two"),
    Family(
        name="LightGBM Booster multiclass",
        fit=booster("lightgbm", objective="multiclass", num_class=3),
        target="three",
    ),
    Family(name="LightGBM linear_tree", fit=estimator(LR, linear_tree=True)),
    Family(name="LightGBM linear_tree, three classes", fit=estimator(LC, linear_tree=True), target="three"),
]

SCIKIT_LEARN = [
    Family(name="HistGradientBoosting binary", fit=estimator(HC), target="named"),
    Family(name="HistGradientBoosting multiclass", fit=estimator(HC), target="three"),
    Family(name="HistGradientBoosting squared error", fit=estimator(HR)),
    Family(name="HistGradientBoosting absolute error", fit=estimator(HR, loss="absolute_error")),
    Family(name="HistGradientBoosting poisson", fit=estimator(HR, loss="poisson"), target="count"),
    Family(name="HistGradientBoosting gamma", fit=estimator(HR, loss="gamma"), target="positive"),
    Family(name="HistGradientBoosting quantile", fit=estimator(HR, loss="quantile", quantile=0.2)),
    Family(
        name="HistGradientBoosting categories",
        fit=estimator(HC, categorical_features="from_dtype"),
        target="two",
        prepare=categories,
    ),
    Family(
        name="decision tree, missing values",
        fit=whole(tree.DecisionTreeRegressor(max_depth=8, random_state=0)),
    ),
    Family(
        name="random forest, missing values",
        fit=estimator(ensemble.RandomForestClassifier, max_depth=10),
        target="named",
    ),
    Family(
        name="random forest regressor, missing values",
        fit=estimator(ensemble.RandomForestRegressor, max_depth=10),
    ),
    Family(
        name="gradient boosting",
        fit=estimator(ensemble.GradientBoostingClassifier),
        target="three",
        prepare=filled,
    ),
    Family(
        name="gradient boosting regressor",
        fit=estimator(ensemble.GradientBoostingRegressor),
        prepare=filled,
    ),
]

if SKLEARN_RELEASE >= (1, 6):
    SCIKIT_LEARN += [
        Family(
            name="extra trees, missing values",
            fit=estimator(ensemble.ExtraTreesClassifier, max_depth=10),
            target="three",
        ),
    ]
