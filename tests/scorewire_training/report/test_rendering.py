from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from lightgbm import LGBMClassifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from xgboost import XGBRegressor

from scorewire_training.estimators import HurdleRegressor, RateRegressor
from scorewire_training.report import render_report
from scorewire_training.report.importance import NotExplainedError, explain, permutation_importances
from scorewire_training.training_result import PredictionKind, ReportSection
from tests.scorewire_training.results import make_result

VOID = {"meta", "br", "img", "link", "input", "hr"}
HOSTILE = "<script>alert(1)</script>\"'&$x$"


class Page(HTMLParser):
    """Collects what a browser would see: elements, ids, requested resources and texts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.handlers: list[str] = []
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in {"src", "href", "xlink:href", "action", "data"}:
                self.links.append(value or "")
            if name.startswith("on"):
                self.handlers.append(name)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


@pytest.fixture(scope="module", params=list(PredictionKind), ids=lambda kind: kind.value)
def html(request: pytest.FixtureRequest) -> str:
    return render_report(make_result(request.param), version="1.2.0", seed=0).decode()


def test_a_page_is_whole_and_asks_for_nothing_from_outside(html: str) -> None:
    page = Page(html)
    assert page.open == []
    assert len(set(page.ids)) == len(page.ids)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert page.handlers == []
    assert page.links
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in page.links)
    anchors = {link[1:] for link in page.links if link.startswith("#")}
    assert anchors <= set(page.ids)
    assert "default-src 'none'" in html
    assert "url(http" not in html
    assert "@import" not in html
    assert len(html) < 3 << 20


def test_every_part_is_there_with_its_charts(html: str) -> None:
    for heading in (
        "Metrics on held-out rows",
        "Segments",
        "Feature importance",
        "Candidates",
        "Data quality",
    ):
        assert f"<h2>{heading}" in html
    for chart in ("Learning curve", "Permutation:", "SHAP:", "correlation of ranks", "Rows left after"):
        assert re.search(rf'aria-label="[^"]*{chart}', html), chart
    # The chart of cleaning: rows as read, and rows after each step.
    assert "1,700" in html
    assert "1,400 (−300)" in html
    assert "boosted trees ✓ chosen" in html
    assert "It knows four countries." in html
    assert "17.9%" in html
    assert html.count("<figure>") == html.count('role="img"') >= 14


def test_a_person_reads_the_outcome_first() -> None:
    result = make_result(PredictionKind.PROBABILITY)
    html = render_report(result, version="1.2.0", seed=0).decode()
    assert f"{result.metrics['auc']:.3f}" in html
    assert f"{result.metrics['auc_low']:.3f} to {result.metrics['auc_high']:.3f}" in html
    assert f"best rule: recency, {result.metrics['auc_recency_baseline']:.3f}" in html
    assert "no clear difference" in html
    assert html.index("no clear difference") < html.index("<section")


def test_names_and_texts_of_the_data_are_escaped() -> None:
    def rename(name: str) -> str:
        return HOSTILE + name

    result = make_result(
        PredictionKind.PROBABILITY,
        rename=rename,
        title=HOSTILE,
        description=HOSTILE,
        chosen=HOSTILE,
        limits=(HOSTILE,),
        sections=(
            ReportSection(
                title=HOSTILE,
                text=HOSTILE,
                table=pd.DataFrame({HOSTILE: [1.0]}, index=pd.Index([HOSTILE], name=HOSTILE)),
                chart=(HOSTILE,),
            ),
        ),
    )
    page = Page(render_report(result, version="1.0.0", seed=0).decode())
    assert page.open == []
    assert "script" not in page.tags
    assert page.handlers == []


def test_one_seed_gives_one_page_in_every_process(html: str) -> None:
    kind = PredictionKind.PROBABILITY if "Who buys again" in html else PredictionKind.AMOUNT
    code = (
        "import sys; from scorewire_training.report import render_report; "
        "from scorewire_training.training_result import PredictionKind as Kind; "
        "from tests.scorewire_training.results import make_result; "
        f"page = render_report(make_result(Kind({kind.value!r})), version='1.2.0', seed=0); "
        "sys.stdout.buffer.write(page)"
    )
    again = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert again.stdout.decode() == html


def test_permutation_names_the_feature_that_the_truth_was_made_of() -> None:
    importances, _ = permutation_importances(make_result(PredictionKind.PROBABILITY), seed=0)
    assert importances[0].feature == "recency_days"
    assert importances[0].mean > 0.05


def test_shap_values_add_up_to_the_margin_of_the_model() -> None:
    result = make_result(PredictionKind.PROBABILITY)
    explanation = explain(result, seed=0)
    assert set(explanation.contributions) == set(result.test.columns)
    assert explanation.order[0] == "recency_days"
    total = np.sum(list(explanation.contributions.values()), axis=0)
    margin = result.pipeline[-1].predict(result.pipeline[:-1].transform(result.test), output_margin=True)
    assert np.ptp(margin[: len(total)] - total) < 1e-4


@pytest.mark.parametrize(
    "model",
    [
        RandomForestClassifier(20, max_depth=4, random_state=0),
        CalibratedClassifierCV(RandomForestClassifier(20, max_depth=4, random_state=0), cv=2),
    ],
    ids=["forest", "calibrated"],
)
def test_other_tree_models_are_explained_too(model: object) -> None:
    explanation = explain(make_result(PredictionKind.PROBABILITY, model=model), seed=0)
    assert explanation.order[0] == "recency_days"


def test_a_model_in_a_regressor_that_multiplies_is_explained_by_the_columns_that_it_takes() -> None:
    inner = XGBRegressor(n_estimators=10, max_depth=2, n_jobs=1, random_state=0)
    result = make_result(
        PredictionKind.AMOUNT, model=HurdleRegressor(LGBMClassifier(n_estimators=5, verbose=-1), inner)
    )
    assert set(explain(result, seed=0).contributions) == set(result.test.columns)
    encoded = result.pipeline[:-1].transform(result.sample)
    encoded[:, 0] = np.log1p(encoded[:, 0])
    rate = RateRegressor(inner).fit(encoded, result.sample_target)
    pipeline = Pipeline([*result.pipeline.steps[:-1], ("model", rate)])
    explanation = explain(make_result(PredictionKind.AMOUNT, pipeline=pipeline), seed=0)
    # The first column is the exposure.
    assert set(explanation.contributions) == set(result.test.columns) - {"recency_days"}


def test_a_linear_model_is_explained_by_its_coefficients() -> None:
    result = make_result(
        PredictionKind.PROBABILITY, model=make_pipeline(SimpleImputer(), LogisticRegression(max_iter=5_000))
    )
    flat = type(result.pipeline)([*result.pipeline.steps[:-1], *result.pipeline[-1].steps])
    result = make_result(PredictionKind.PROBABILITY, pipeline=flat)
    explanation = explain(result, seed=0)
    slopes = flat[-1].coef_[0]
    encoded = flat[:-1].transform(result.test)
    assert np.allclose(
        explanation.contributions["recency_days"], slopes[0] * (encoded[:, 0] - encoded[:, 0].mean())
    )


def test_a_model_that_cannot_be_explained_says_why() -> None:
    result = make_result(
        PredictionKind.PROBABILITY, model=make_pipeline(SimpleImputer(), KNeighborsClassifier())
    )
    with pytest.raises(
        NotExplainedError, match="KNeighborsClassifier is neither a tree model nor a linear one"
    ):
        explain(result, seed=0)
    assert "No SHAP values: KNeighborsClassifier" in render_report(result, version="1.0.0", seed=0).decode()


def test_odd_data_is_drawn() -> None:
    """Constant, fully missing and integer columns, many distinct texts, no cleaning steps, no sections."""
    result = make_result(PredictionKind.AMOUNT)
    sample, test = result.sample.copy(), result.test.copy()
    for frame in (sample, test):
        frame["constant"] = 1.0
        frame["empty"] = np.nan
        frame["many"] = [f"device {place % 97}" for place in range(len(frame))]
    result = make_result(PredictionKind.AMOUNT, sample=sample, test=test, steps=(), sections=())
    page = Page(render_report(result, version="1.0.0", seed=0).decode())
    assert page.open == []
