"""Families of text encoders before trees."""

from __future__ import annotations

from functools import partial

import lightgbm
import xgboost
from sklearn import ensemble
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, TargetEncoder

from scorewire_training.estimators import FrequencyEncoder, TextCleaner
from tests.families.data import empty_texts, everything
from tests.families.fits import after_encoder
from tests.families.running import Family

XC, XR = xgboost.XGBClassifier, xgboost.XGBRegressor
LC, LR = lightgbm.LGBMClassifier, lightgbm.LGBMRegressor
HC, HR = ensemble.HistGradientBoostingClassifier, ensemble.HistGradientBoostingRegressor
ordinal = partial(OrdinalEncoder, handle_unknown="use_encoded_value", unknown_value=-1)
one_hot = partial(OneHotEncoder, handle_unknown="ignore", sparse_output=False)


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
