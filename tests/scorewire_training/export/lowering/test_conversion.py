from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import QuantileTransformer
from sklearn.svm import SVC

from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.lowering import lower
from tests.scorewire_training.export.lowering.scored import build_frame, classes, score


def test_quantiles_agree_in_float() -> None:
    frame = build_frame()[["amount", "ratio"]]
    pipeline = make_pipeline(QuantileTransformer(n_quantiles=10), LogisticRegression())
    pipeline.fit(frame, classes(build_frame()))
    found = score(lower(pipeline, frame), frame)["probabilities"]
    np.testing.assert_allclose(found, pipeline.predict_proba(frame), atol=1e-5)


def test_model_that_skl2onnx_cannot_convert_is_refused() -> None:
    frame = build_frame()[["amount", "ratio"]]
    model = SVC(kernel=lambda a, b: a @ b.T).fit(frame, classes(build_frame()))
    with pytest.raises(UnsupportedModelError, match="skl2onnx does not convert this SVC"):
        lower(model, frame)
