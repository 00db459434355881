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
from sklearn.utils.validation import check_is_fitted

from scorewire_contract.folding import ascii_lower_strip
from scorewire_training.releases import read_objects

Fold: TypeAlias = Literal["ascii_lower_strip", "none"]

# The exposure of a row without counts: as good as none, but it has a logarithm.
LEAST_EXPOSURE = 1e-200
_BACKFITTING_PASSES = 10


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
        _check_fold(self.fold)
        _read_texts(self, X, reset=True)
        return self

    def transform(self, X: ArrayLike | pd.DataFrame) -> NDArray[np.object_]:
        """The folded texts, shape [rows, columns].

        Raises:
            ValueError: X is not text, or has other columns than in `fit`.
        """
        check_is_fitted(self)
        texts = _read_texts(self, X, reset=False)
        _fold_texts(texts, self.fold)
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


class RateEncoder(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # untyped
    """Encodes texts by the rate at which counts become an amount, beside the amount that makes.

    Takes columns of text and after them columns of counts, shape [rows, texts +
    counts]; texts are read and folded as by TextCleaner. The exposure of a row is
    the sum of its counts. Gives the logarithm of the amount to expect, whether
    there is any exposure (1 or 0), and for each column of text its effect on
    log(amount / exposure): shape [rows, 2 + texts], no number missing. The amount
    to expect is the exposure times exp(mean + effects).

    Effects add up: each is on what the columns before it leave over, in turns
    (backfitting). Means of few rows are drawn to zero by their credibility, n /
    (n + variance within / variance between), both variances estimated for each
    column (Bühlmann & Gisler 2005, "A Course in Credibility Theory"). A text
    that is not known has the effect zero. `fit_transform` cross-fits: no row of
    training is encoded by its own amount.

    Missing counts are 0, as negative ones are; an exposure above the largest of
    training is cut to that. Of no exposure, next to nothing is to be expected.

    Args:
        count_columns: how many of the last columns are counts.
        fold: of the texts; see TextCleaner.
        folds: of the cross-fitting.
        random_state: of the draw of the folds.

    Attributes:
        effects_: for each column of text, the effect of each text seen.
        mean_: of log(amount / exposure).
        largest_exposure_: of the rows of training.
    """

    effects_: list[dict[str, float]]
    mean_: float
    largest_exposure_: float

    def __init__(
        self,
        count_columns: int = 1,
        fold: Fold = "ascii_lower_strip",
        folds: int = 5,
        random_state: int = 0,
    ) -> None:
        self.count_columns = count_columns
        self.fold = fold
        self.folds = folds
        self.random_state = random_state

    def fit(self, X: ArrayLike | pd.DataFrame, y: ArrayLike) -> RateEncoder:
        """Learn the effects from the rows with an exposure and an amount above zero.

        Raises:
            ValueError: a column is not what it must be.
        """
        self._fit(X, y)
        return self

    def fit_transform(self, X: ArrayLike | pd.DataFrame, y: ArrayLike) -> NDArray[np.float64]:
        """Fit, and encode each row by the effects that the other folds' rows teach."""
        texts, exposure, log_rates, teaching = self._fit(X, y)
        fold = np.random.default_rng(self.random_state).permutation(len(texts)) % self.folds
        encoded = np.empty((len(texts), 2 + texts.shape[1]))
        for i in range(self.folds):
            others, own = teaching & (fold != i), fold == i
            mean, learnt = _learn_effects(texts[others], log_rates[others[teaching]])
            encoded[own] = self._assemble(exposure[own], mean, _look_up_effects(learnt, texts[own]))
        return encoded

    def transform(self, X: ArrayLike | pd.DataFrame) -> NDArray[np.float64]:
        """The encoded rows.

        Raises:
            ValueError: a column is not what it must be, or X has other columns than in `fit`.
        """
        check_is_fitted(self)
        texts, exposure = self._read(X, reset=False)
        return self._assemble(exposure, self.mean_, _look_up_effects(self.effects_, texts))

    def _fit(
        self, X: ArrayLike | pd.DataFrame, y: ArrayLike
    ) -> tuple[NDArray[np.object_], NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
        """Texts, exposures, the log rates of the rows that teach, and which do."""
        _check_fold(self.fold)
        texts, exposure = self._read(X, reset=True)
        if not np.isfinite(exposure).all():
            raise ValueError(f"{type(self).__name__} is fitted on counts that are not finite")
        amounts = np.asarray(y, dtype=np.float64)
        teaching = (amounts > 0) & (exposure > 0)
        log_rates = np.log(amounts[teaching] / exposure[teaching])
        self.largest_exposure_ = max(float(exposure.max()), LEAST_EXPOSURE)
        self.mean_, self.effects_ = _learn_effects(texts[teaching], log_rates)
        return texts, exposure, log_rates, teaching

    def _read(
        self, X: ArrayLike | pd.DataFrame, *, reset: bool
    ) -> tuple[NDArray[np.object_], NDArray[np.float64]]:
        """Texts [rows, texts] and exposures [rows]."""
        values = np.array(read_objects(self, X, reset=reset), dtype=object)
        texts, counts = values[:, : -self.count_columns], values[:, -self.count_columns :].astype(np.float64)
        texts[pd.isna(texts)] = ""
        _check_texts(self, texts)
        _fold_texts(texts, self.fold)
        return texts, np.where(counts > 0, counts, 0.0).sum(axis=1)

    def _assemble(
        self, exposure: NDArray[np.float64], mean: float, effects: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        bounded = np.clip(exposure, LEAST_EXPOSURE, self.largest_exposure_)
        expected = np.log(bounded) + (effects.sum(axis=1) + mean)
        return np.column_stack([expected, (exposure > 0).astype(np.float64), effects])

    def __sklearn_tags__(self) -> Any:
        tags = _tag_text(super().__sklearn_tags__())
        tags.target_tags.required = True
        return tags


def _learn_effects(
    texts: NDArray[np.object_], log_rates: NDArray[np.float64]
) -> tuple[float, list[dict[str, float]]]:
    """The mean, and for each column the effect of each text, by backfitting."""
    if not len(log_rates):
        return 0.0, [{} for _ in range(texts.shape[1])]
    coded = [pd.factorize(column) for column in texts.T]
    effects = [np.zeros(len(known)) for _, known in coded]
    mean = float(log_rates.mean())
    rest = log_rates - mean
    for _ in range(_BACKFITTING_PASSES):
        for i, (codes, _) in enumerate(coded):
            own = rest + effects[i][codes]
            effects[i] = _credible_means(own, codes, len(effects[i]))
            rest = own - effects[i][codes]
    return mean, [
        dict(sorted(zip(known.tolist(), own.tolist(), strict=True)))
        for (_, known), own in zip(coded, effects, strict=True)
    ]


def _credible_means(values: NDArray[np.float64], codes: NDArray[np.intp], groups: int) -> NDArray[np.float64]:
    """The mean of each group, drawn to zero by its credibility; shape [groups]."""
    sizes = np.bincount(codes, minlength=groups).astype(np.float64)
    means = np.bincount(codes, values, minlength=groups) / sizes
    count = len(values)
    if groups in (1, count):
        return np.zeros(groups)
    within = float(np.sum((values - means[codes]) ** 2)) / (count - groups)
    spread = float(np.sum(sizes * (means - values.mean()) ** 2)) - (groups - 1) * within
    between = spread / (count - float(np.sum(sizes**2)) / count)
    if between <= 0:
        return np.zeros(groups)
    return np.asarray(means * sizes / (sizes + within / between))


def _look_up_effects(effects: list[dict[str, float]], texts: NDArray[np.object_]) -> NDArray[np.float64]:
    """Effects of texts, shape [rows, texts]."""
    return np.column_stack(
        [[known.get(text, 0.0) for text in column] for known, column in zip(effects, texts.T, strict=True)]
    )


def _read_texts(
    transformer: BaseEstimator, X: ArrayLike | pd.DataFrame, *, reset: bool
) -> NDArray[np.object_]:
    """A copy of X as texts of dtype object; missing ones are empty."""
    texts = np.array(read_objects(transformer, X, reset=reset), dtype=object)
    texts[pd.isna(texts)] = ""
    _check_texts(transformer, texts)
    return texts


def _check_fold(fold: object) -> None:
    if fold not in ("ascii_lower_strip", "none"):
        raise ValueError(f"fold must be 'ascii_lower_strip' or 'none', not {fold!r}")


def _fold_texts(texts: NDArray[np.object_], fold: Fold) -> None:
    """Fold in place."""
    if fold == "ascii_lower_strip":
        for column in texts.T:
            # Columns have few distinct texts: each is folded once.
            codes, known = pd.factorize(column)
            column[:] = np.array([ascii_lower_strip(text) for text in known], dtype=object)[codes]


def _check_texts(transformer: BaseEstimator, texts: NDArray[np.object_]) -> None:
    for i, column in enumerate(texts.T):
        for value in pd.unique(column):
            if not isinstance(value, str):
                raise ValueError(
                    f"{type(transformer).__name__} takes text, and column {i} has {value!r}: "
                    "leave that column out, or turn it into text first"
                )


def _tag_text(tags: Any) -> Any:
    tags.input_tags.string = True
    tags.input_tags.categorical = True
    tags.input_tags.allow_nan = True
    return tags
