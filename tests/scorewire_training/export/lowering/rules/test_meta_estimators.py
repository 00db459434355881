from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from lightgbm import LGBMClassifier, LGBMRegressor
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, RidgeClassifier
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV, TunedThresholdClassifierCV
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    OrdinalEncoder,
    QuantileTransformer,
    StandardScaler,
)
from xgboost import XGBClassifier, XGBRegressor

from scorewire_training.estimators import (
    ExposedRegressor,
    HurdleRegressor,
    LogOddsCalibrator,
    LogRegressor,
    RateRegressor,
)
from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.lowering import lower
from scorewire_training.releases import SKLEARN_RELEASE, FrozenEstimator
from tests.scorewire_training.export.lowering.scored import (
    NUMBERS,
    TEXTS,
    build_frame,
    check_same,
    classes,
    hard_rows,
    target,
)


def columns() -> ColumnTransformer:
    codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    return ColumnTransformer([("n", "passthrough", NUMBERS), ("t", codes, TEXTS)])


def classifiers() -> list[tuple[str, Any]]:
    return [
        ("xgb", XGBClassifier(n_jobs=1, n_estimators=5)),
        ("lgb", make_pipeline(StandardScaler(), LGBMClassifier(n_jobs=1, n_estimators=5, verbose=-1))),
        ("lin", make_pipeline(StandardScaler(), LogisticRegression())),
    ]


def regressors() -> list[tuple[str, Any]]:
    return [
        ("xgb", XGBRegressor(n_jobs=1, n_estimators=5)),
        ("lgb", LGBMRegressor(n_jobs=1, n_estimators=5, verbose=-1)),
        ("lin", LinearRegression()),
    ]


# The members of an ensemble get arrays, and LightGBM's estimator warns about names.
pytestmark = pytest.mark.filterwarnings("ignore:X does not have valid feature names")


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize(
    "model",
    [
        VotingClassifier(classifiers(), voting="soft"),
        VotingClassifier(classifiers(), voting="soft", weights=[3, 1, 1]),
        VotingClassifier(classifiers(), voting="hard", weights=[1, 2, 2]),
        StackingClassifier(classifiers(), cv=2),
        StackingClassifier(
            classifiers(),
            cv=2,
            passthrough=True,
            final_estimator=LGBMClassifier(n_jobs=1, n_estimators=3, verbose=-1),
        ),
        StackingClassifier(
            [("ridge", make_pipeline(StandardScaler(), RidgeClassifier())), *classifiers()], cv=2
        ),
        CalibratedClassifierCV(XGBClassifier(n_jobs=1, n_estimators=5), cv=2),
        CalibratedClassifierCV(make_pipeline(StandardScaler(), LogisticRegression()), cv=2, ensemble=False),
        CalibratedClassifierCV(RandomForestClassifier(n_estimators=5, random_state=0), cv=2),
        GridSearchCV(XGBClassifier(n_jobs=1, n_estimators=3), {"max_depth": [2, 3]}, cv=2),
    ],
    ids=lambda model: type(model).__name__,
)
def test_classifier_of_classifiers(model: Any, count: int) -> None:
    frame = build_frame(300)
    names = np.array(["a", "b", "c"])[classes(frame, count)]
    if isinstance(model, GridSearchCV | CalibratedClassifierCV):  # XGBoost alone takes no names
        names = classes(frame, count)
    pipeline = make_pipeline(columns(), model).fit(frame, names)
    check_same(pipeline, hard_rows(frame, holes=False), sample=frame)


@pytest.mark.parametrize(
    "model",
    [
        XGBClassifier(n_jobs=1, n_estimators=30),
        HistGradientBoostingClassifier(max_iter=10),
        LogisticRegression(),
        # Its leaves are pure, so its probabilities are 0 and 1.
        RandomForestClassifier(n_estimators=3, random_state=0),
    ],
    ids=lambda model: type(model).__name__,
)
@pytest.mark.parametrize("sharpness", [0.4, 1.5])
def test_classifier_calibrated_by_log_odds(model: Any, sharpness: float) -> None:
    frame = build_frame(300)
    labels = classes(frame)
    encoder = (
        make_pipeline(columns(), StandardScaler()) if isinstance(model, LogisticRegression) else columns()
    )
    fitted = make_pipeline(encoder, model).fit(frame, labels)
    calibrator = LogOddsCalibrator(fitted[-1])
    rng = np.random.default_rng(0)
    said = rng.random(5_000)
    odds = sharpness * np.log(said / (1 - said)) + 0.3
    calibrator.fit_probabilities(said, (rng.random(5_000) < 1 / (1 + np.exp(-odds))).astype(np.int64))
    check_same(make_pipeline(encoder, calibrator), hard_rows(frame, holes=False), sample=frame)


@pytest.mark.parametrize(
    "model",
    [
        VotingRegressor(regressors()),
        VotingRegressor(regressors(), weights=[1, 2, 4]),
        StackingRegressor(regressors(), cv=2),
        StackingRegressor(regressors(), cv=2, passthrough=True, final_estimator=LinearRegression()),
    ],
    ids=lambda model: type(model).__name__,
)
def test_regressor_of_regressors(model: Any) -> None:
    frame = build_frame(300)
    pipeline = make_pipeline(columns(), model).fit(frame, target(frame))
    check_same(pipeline, hard_rows(frame, holes=False), sample=frame)


def test_members_that_are_pipelines_over_raw_text() -> None:
    frame = build_frame(300)
    members = [
        ("trees", make_pipeline(columns(), XGBRegressor(n_jobs=1, n_estimators=5))),
        ("line", make_pipeline(columns(), StandardScaler(), Ridge())),
    ]
    check_same(VotingRegressor(members).fit(frame, target(frame)), frame)


@pytest.mark.parametrize(
    "options",
    [
        {"func": np.log1p, "inverse_func": np.expm1},
        {"func": np.log, "inverse_func": np.exp},
        {"func": np.sqrt, "inverse_func": np.square},
        {"transformer": StandardScaler()},
        {"transformer": MinMaxScaler()},
        {},
    ],
    ids=["log1p", "log", "sqrt", "standard", "min-max", "identity"],
)
def test_transformed_target(options: dict[str, Any]) -> None:
    frame = build_frame()
    y = np.exp(target(frame) / 8.0)
    for inner in (XGBRegressor(n_jobs=1, n_estimators=8), make_pipeline(StandardScaler(), Ridge())):
        model = TransformedTargetRegressor(inner, **options)
        check_same(make_pipeline(columns(), model).fit(frame, y), frame)


AMOUNTS = {
    "log": LogRegressor(LGBMRegressor(n_jobs=1, n_estimators=8, verbose=-1)),
    "shifted log": LogRegressor(make_pipeline(StandardScaler(), Ridge()), shift=4.0),
    "rate": RateRegressor(XGBRegressor(n_jobs=1, n_estimators=8, objective="reg:tweedie"), power=1.5),
    "hurdle": HurdleRegressor(
        LGBMClassifier(n_jobs=1, n_estimators=8, verbose=-1), LogRegressor(LinearRegression())
    ),
    "linear hurdle of a rate": HurdleRegressor(
        make_pipeline(StandardScaler(), LogisticRegression()),
        RateRegressor(LogRegressor(LGBMRegressor(n_jobs=1, n_estimators=8, verbose=-1))),
    ),
    "rows with exposure": ExposedRegressor(
        RateRegressor(LogRegressor(LGBMRegressor(n_jobs=1, n_estimators=8, verbose=-1)))
    ),
    "rows with exposure in single precision": ExposedRegressor(XGBRegressor(n_jobs=1, n_estimators=8)),
    "hurdle of trees in single precision": HurdleRegressor(
        XGBClassifier(n_jobs=1, n_estimators=8), LogRegressor(XGBRegressor(n_jobs=1, n_estimators=8))
    ),
}


@pytest.mark.parametrize("model", AMOUNTS.values(), ids=AMOUNTS.keys())
def test_regressor_of_amounts(model: Any) -> None:
    frame = build_frame().drop(columns="big")
    columns = make_pipeline(
        ColumnTransformer(
            [
                # The first column is the log exposure.
                ("log", FunctionTransformer(np.log), ["level"]),
                ("n", "passthrough", ["amount", "ratio"]),
                ("t", OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), TEXTS),
            ]
        )
    )
    y = target(frame)
    y = np.maximum(y - np.median(y), 0.0) if "hurdle" in str(model).lower() else np.exp(y / 8.0)
    check_same(make_pipeline(columns, model).fit(frame, y), frame)


def test_a_hurdle_that_everyone_takes_is_lowered_without_it() -> None:
    frame = build_frame()[["amount", "ratio"]]
    model = HurdleRegressor(LogisticRegression(), LogRegressor(LinearRegression()))
    check_same(make_pipeline(StandardScaler(), model).fit(frame, frame["ratio"] + 1.0), frame)


def test_target_transformed_by_what_has_no_translation_is_refused() -> None:
    frame = build_frame()[NUMBERS]
    model = TransformedTargetRegressor(Ridge(), transformer=QuantileTransformer(n_quantiles=50))
    with pytest.raises(UnsupportedModelError, match="QuantileTransformer"):
        lower(make_pipeline(StandardScaler(), model).fit(frame, frame["amount"]), frame)
    own = TransformedTargetRegressor(Ridge(), func=lambda y: y + 1, inverse_func=lambda y: y - 1)
    with pytest.raises(UnsupportedModelError, match=r"numpy\.expm1"):
        lower(make_pipeline(StandardScaler(), own).fit(frame, frame["amount"]), frame)


def test_threshold_decides_the_label() -> None:
    frame = build_frame()[NUMBERS]
    y = classes(build_frame())
    for model in (
        FixedThresholdClassifier(XGBClassifier(n_jobs=1, n_estimators=5), threshold=0.8),
        FixedThresholdClassifier(XGBClassifier(n_jobs=1, n_estimators=5), threshold=0.3, pos_label=0),
        TunedThresholdClassifierCV(XGBClassifier(n_jobs=1, n_estimators=5), cv=2, scoring="f1"),
    ):
        check_same(model.fit(frame, y), frame)


def test_model_per_target() -> None:
    frame = build_frame()[NUMBERS]
    y = np.column_stack([frame["amount"], frame["ratio"]])
    model = MultiOutputRegressor(XGBRegressor(n_jobs=1, n_estimators=5)).fit(frame, y)
    assert check_same(model, frame).outputs[0].width == 2


@pytest.mark.skipif(SKLEARN_RELEASE < (1, 6), reason="this scikit-learn freezes no models")
def test_frozen_model() -> None:
    frame = build_frame()[NUMBERS]
    model = XGBRegressor(n_jobs=1, n_estimators=5).fit(frame, frame["amount"])
    check_same(FrozenEstimator(model), frame)


CALIBRATED = {
    "boosted": XGBClassifier(n_jobs=1, n_estimators=5),
    "logistic": make_pipeline(StandardScaler(), LogisticRegression()),
    "margin of trees": HistGradientBoostingClassifier(max_iter=4),
    "margin of boosted trees": GradientBoostingClassifier(n_estimators=4, random_state=0),
    "forest": RandomForestClassifier(n_estimators=5, max_depth=4, random_state=0),
}
METHODS = ["sigmoid", "isotonic", "temperature"] if SKLEARN_RELEASE >= (1, 8) else ["sigmoid", "isotonic"]


# Except for steps so steep that the last bit of XGBoost's softmax matters; the parity gate refuses them.
CASES = sorted({*product(CALIBRATED, METHODS, [2, 3])} - {("boosted", "isotonic", 3)})


@pytest.mark.parametrize(("member", "method", "count"), CASES)
def test_calibration(member: str, method: str, count: int) -> None:
    frame = build_frame()[NUMBERS]
    for ensemble in (True, False):
        model = CalibratedClassifierCV(CALIBRATED[member], method=method, cv=2, ensemble=ensemble)
        check_same(
            model.fit(frame, classes(build_frame(), count)), hard_rows(frame, holes=False), sample=frame
        )


def test_calibration_to_one_level() -> None:
    frame = build_frame()[NUMBERS]
    y = classes(build_frame())
    model = CalibratedClassifierCV(CALIBRATED["logistic"], method="isotonic", ensemble=False)
    model.fit(frame, y)
    (fold,) = model.calibrated_classifiers_
    fold.calibrators[0].fit(np.zeros(20), np.arange(20) % 2)
    assert len(fold.calibrators[0].y_thresholds_) == 1
    check_same(model, frame)
