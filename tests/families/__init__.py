"""The families of models that export is tested with, each newly fitted: `python -m tests.families`.

Prints a table: for each family the rows compared by the parity gate and the rows of
the sample that the bundle scores differently, or the reason of the refusal. The exit
code is 1 if a family is exported wrong, or is refused or exported unexpectedly. With
`--write`, `docs/models.md` is written from the table.
"""

from __future__ import annotations

from tests.families.composed import COMPOSED
from tests.families.data import Data, make_data
from tests.families.ensembles import LIGHTGBM, SCIKIT_LEARN, XGBOOST
from tests.families.labels import SEVERAL
from tests.families.linear import LINEAR
from tests.families.mapped import MAPPED
from tests.families.others import OTHERS
from tests.families.page import PAGE
from tests.families.pipelines import ENCODED
from tests.families.running import Family, Outcome, run
from tests.families.sparse import SPARSE
from tests.families.words import WORDS

TOPICS = {
    "XGBoost": XGBOOST,
    "LightGBM": LIGHTGBM,
    "Trees of scikit-learn": SCIKIT_LEARN,
    "Encoders before trees": ENCODED,
    "Functions of one column": MAPPED,
    "Texts": WORDS,
    "Linear models and networks": LINEAR,
    "Counts, distances, kernels and plain guesses": OTHERS,
    "Models made of models": COMPOSED,
    "Several labels and targets": SEVERAL,
    "Sparse matrices": SPARSE,
}
FAMILIES = [family for families in TOPICS.values() for family in families]

__all__ = ["FAMILIES", "PAGE", "TOPICS", "Data", "Family", "Outcome", "make_data", "run"]
