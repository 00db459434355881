"""The kernel scores every family of trees with the bits of the library that fitted it."""

from __future__ import annotations

from contextlib import suppress
from functools import partial

import pytest

from tests.families import Data, Family, make_data
from tests.kernel.bits import open_kernel
from tests.kernel.comparing import Comparison
from tests.kernel.families import FAMILIES

scorewire_kernel = pytest.importorskip("scorewire_kernel")

ROWS = 5_000
# Half of them are the sample.
ROWS_OF_A_FORM = 2_000
# Their exponentials are NumPy's, whose last bit depends on the processor, or they are no plain sums of trees.
NOT_EXACT = {
    *("XGBoost multi:softmax", "XGBoost gblinear", "XGBoost gblinear, three classes"),
    *("LightGBM linear_tree", "LightGBM linear_tree, three classes"),
    *("HistGradientBoosting multiclass", "HistGradientBoosting poisson", "HistGradientBoosting gamma"),
    *("gradient boosting", "isolation forest", "target of three classes, HistGradientBoosting"),
}


@pytest.fixture(scope="module")
def data() -> Data:
    return make_data(1_000)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_margins_and_outputs_have_the_librarys_bits(data: Data, family: Family) -> None:
    comparison = Comparison(family, data, size=20)
    assert comparison.is_exact == (family.name not in NOT_EXACT)
    compare(comparison, None, ROWS)
    for form in scorewire_kernel.FORMS:
        with suppress(scorewire_kernel.UnsupportedError):
            compare(comparison, form, ROWS_OF_A_FORM)


def compare(comparison: Comparison, form: str | None, rows: int) -> None:
    outcome = comparison.run(partial(open_kernel, form=form), rows)
    assert outcome.rows == rows
    if outcome.margins is not None:
        assert outcome.margins.rows == 0, form
    if comparison.is_exact:
        assert outcome.outputs.rows == 0, form
