"""Transformers of text for scikit-learn pipelines, exported exactly.

What they do to text is what a bundle's coding can say: a fold of the text, and
one number for each text known from training. Missing text (None, NaN, pd.NA) is
the empty string, in training as on the wire.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from scorewire_contract.coding import ascii_lower_strip

Fold: TypeAlias = Literal["ascii_lower_strip", "none"]


class TextCleaner(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]  # untyped
    """Makes missing text the empty string and folds every text.

    Takes and gives columns of text, shape [rows, columns]; the result is of
    dtype object.

    Args:
        fold: "ascii_lower_strip" strips ASCII white space and makes ASCII
            capitals small; "none" leaves texts as they are.
    """

    def __init__(self, fold: Fold = "ascii_lower_strip") -> None:
        self.fold = fold

    def fit(self, X: ArrayLike | pd.DataFrame, y: object = None) -> TextCleaner:  # noqa: ARG002 - scikit-learn's signature
        """Remember the columns.

        Raises:
            ValueError: `fold` is neither of its values, or X is not text.
        """
        if self.fold not in ("ascii_lower_strip", "none"):
            raise ValueError(f"fold must be 'ascii_lower_strip' or 'none', not {self.fold!r}")
        _read_texts(self, X, reset=True)
        return self

    def transform(self, X: ArrayLike | pd.DataFrame) -> NDArray[np.object_]:
        """The folded texts, shape [rows, columns].

        Raises:
            ValueError: X is not text, or has other columns than in `fit`.
        """
        check_is_fitted(self)
        texts = _read_texts(self, X, reset=False)
        if self.fold == "ascii_lower_strip":
            for i, text in enumerate(texts.flat):
                texts.flat[i] = ascii_lower_strip(str(text))
        return texts

    def __sklearn_tags__(self) -> Any:
        return _tag_text(super().__sklearn_tags__())


class FrequencyEncoder(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]  # untyped
    """Replaces each text by its share of the training rows, 0 for an unseen text.

    Missing text counts as a text of its own, the empty string.

    Attributes:
        frequencies_: for each column, the share of each text seen, ascending by text.
    """

    frequencies_: list[dict[str, float]]

    def fit(self, X: ArrayLike | pd.DataFrame, y: object = None) -> FrequencyEncoder:  # noqa: ARG002 - scikit-learn's signature
        """Count the texts of each column.

        Raises:
            ValueError: X is not text.
        """
        texts = _read_texts(self, X, reset=True)
        self.frequencies_ = []
        for column in texts.T:
            known, counts = np.unique(column, return_counts=True)
            shares = counts / len(column)
            self.frequencies_.append(dict(zip(known.tolist(), shares.tolist(), strict=True)))
        return self

    def transform(self, X: ArrayLike | pd.DataFrame) -> NDArray[np.float64]:
        """The shares, shape [rows, columns], from 0 to 1.

        Raises:
            ValueError: X is not text, or has other columns than in `fit`.
        """
        check_is_fitted(self)
        texts = _read_texts(self, X, reset=False)
        result = np.empty(texts.shape, dtype=np.float64)
        for i, shares in enumerate(self.frequencies_):
            result[:, i] = [shares.get(text, 0.0) for text in texts[:, i]]
        return result

    def __sklearn_tags__(self) -> Any:
        return _tag_text(super().__sklearn_tags__())


def _read_texts(
    transformer: TextCleaner | FrequencyEncoder, X: ArrayLike | pd.DataFrame, *, reset: bool
) -> NDArray[np.object_]:
    """A copy of X as texts of dtype object; missing ones are empty."""
    values = validate_data(transformer, X, reset=reset, dtype=object, ensure_all_finite=False, copy=True)
    texts = np.array(values, dtype=object)
    texts[pd.isna(texts)] = ""
    for i, text in enumerate(texts.flat):
        if not isinstance(text, str):
            column = i % texts.shape[1]
            raise ValueError(
                f"{type(transformer).__name__} takes text, and column {column} has {text!r}: "
                "leave that column out, or turn it into text first"
            )
    return texts


def _tag_text(tags: Any) -> Any:
    tags.input_tags.string = True
    tags.input_tags.categorical = True
    tags.input_tags.allow_nan = True
    return tags
