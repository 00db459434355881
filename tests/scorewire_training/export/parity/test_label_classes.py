from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from scorewire_contract.bundle import TYPED_SCHEMA
from scorewire_training.export import export_bundle
from scorewire_training.export.parity.label_classes import classes_by_label

FRAME = pd.DataFrame(np.random.default_rng(0).normal(size=(120, 2)), columns=["a", "b"])
CODES = np.column_stack([FRAME["a"] > 0, 10 + (FRAME["b"] > 0.5)]).astype(int)


def test_a_chains_classes_are_in_the_order_of_its_answers() -> None:
    pipeline = make_pipeline(StandardScaler(), ClassifierChain(LogisticRegression(), order=[1, 0]))
    search = GridSearchCV(pipeline, {"classifierchain__cv": [None]}, cv=2, scoring=lambda *_: 1.0)
    for model in (pipeline.fit(FRAME, CODES), search.fit(FRAME, CODES)):
        told = [None if classes is None else classes.tolist() for classes in classes_by_label(model, 2)]
        assert told == [[0, 1], [10, 11]]


def test_several_labels_have_outputs_and_typed_fields_of_their_own(tmp_path: Path) -> None:
    names = np.column_stack([np.where(FRAME["a"] > 0, "yes", "no"), np.where(FRAME["b"] > 0, "in", "out")])
    model = MultiOutputClassifier(LogisticRegression()).fit(FRAME, names)
    exported = export_bundle(model, sample=FRAME, name="several", version="1.0.0", output_dir=tmp_path)
    told = [(output.name, list(output.class_labels)) for output in exported.manifest.schema.outputs]
    assert told == [
        ("probabilities_0", ["no", "yes"]),
        ("label_0", ["no", "yes"]),
        ("probabilities_1", ["in", "out"]),
        ("label_1", ["in", "out"]),
    ]
    typed = (exported.path / TYPED_SCHEMA).read_text()
    assert "optional string label_1 =" in typed
    assert "repeated double probabilities_0 =" in typed
