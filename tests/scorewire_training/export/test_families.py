"""The whole export of every family of models, with few rows and trees."""

from __future__ import annotations

from pathlib import Path

import pytest

from scorewire_training.releases import SKLEARN_RELEASE
from tests.families import FAMILIES, PAGE, Data, Family, make_data, run
from tests.families.page import read_explained, read_results

_NO_COVERS = "the model does not tell how many training rows reached each leaf"


@pytest.fixture(scope="module")
def data() -> Data:
    return make_data(600)


def test_the_table_has_every_family_once() -> None:
    names = [family.name for family in FAMILIES]
    assert len(set(names)) == len(names) >= 30


def test_the_page_of_models_says_what_the_table_does() -> None:
    results = read_results(PAGE.read_text(encoding="utf-8"))
    families = {family.name: not family.refused for family in FAMILIES}
    assert families.items() <= results.items()
    # Older releases lack some kinds of models.
    assert families.keys() == results.keys() or SKLEARN_RELEASE < (1, 8)


def test_the_data_have_their_share_of_missing_cells(data: Data) -> None:
    assert data.frame.isna().mean().between(0.1, 0.2).all()


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_family_is_exported_right_or_refused(family: Family, data: Data, tmp_path: Path) -> None:
    # A bundle that differs raises ParityError.
    outcome = run(family, data, tmp_path, size=6)
    assert outcome.exported == (not family.refused), outcome.reason
    assert family.refused in outcome.reason
    assert outcome.differing == 0
    # Older releases of XGBoost have no covers of trees with several targets.
    lacks_covers = SKLEARN_RELEASE < (1, 8) and outcome.unexplained == (_NO_COVERS,)
    assert (
        lacks_covers or bool(outcome.links) == read_explained(PAGE.read_text(encoding="utf-8"))[family.name]
    )
    assert any(tmp_path.iterdir()) == outcome.exported
