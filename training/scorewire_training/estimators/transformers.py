"""Transformers of text columns for scikit-learn pipelines, each with an exact translation to ONNX.

They do to texts only what the row coding of a bundle can do: fold a text, and
look up one number for each text that was seen in training. A missing text (None,
NaN, pd.NA) is the empty string, in training as on the wire.
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

TextFold: TypeAlias = Literal["ascii_lower_strip", "none"]

# Stands for an exposure of zero, which has no logarithm.
LEAST_EXPOSURE = 1e-200
_BACKFITTING_PASSES = 10


class TextCleaner(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]  # untyped
    """Replaces missing texts by the empty string and folds every text.

    Takes and returns columns of text, shape [rows, columns]; the result has dtype
    object.

    Args:
        fold: "ascii_lower_strip" strips ASCII white space and lowercases ASCII
            letters; "none" leaves texts as they are.
    """

    def __init__(self, fold: TextFold = "ascii_lower_strip") -> None:
        self.fold = fold

    def fit(self, X: ArrayLike | pd.DataFrame, y: object = None) -> TextCleaner:  # noqa: ARG002 - scikit-learn's signature
        """Remember the columns.

        Raises:
            ValueError: `fold` is unknown, or X is not text.
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
    """Replaces each text by its share of the training rows, and an unseen text by 0.

    A missing text counts as the text "".

    Attributes:
        frequencies_: for each column, the share of each text of training, sorted by text.
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
    """Encodes texts by their effect on the rate amount / exposure, and adds the expected amount.

    Takes columns of text followed by columns of counts, shape [rows, texts +
    counts]. Texts are folded as TextCleaner does. The exposure of a row is the sum
    of its counts. Returns shape [rows, 2 + texts] without missing numbers: the
    logarithm of the expected amount, 1 or 0 for whether there is any exposure, and
    for each text column its effect on log(amount / exposure). The expected amount
    is exposure * exp(mean + sum of effects).

    The effects are additive and fitted by backfitting, column after column on the
    residuals of the others. Effects of texts with few rows are shrunk towards zero
    by their credibility, n / (n + variance within / variance between), with both
    variances estimated for each column (Bühlmann & Gisler 2005, "A Course in
    Credibility Theory"). An unknown text has the effect zero. `fit_transform`
    cross-fits: no row of training is encoded with its own amount.

    Missing and negative counts are read as 0. An exposure above the largest one of
    training is clipped to it. Without exposure the expected amount is almost zero.

    Args:
        count_columns: how many of the last columns are counts.
        fold: the fold of the texts; see TextCleaner.
        folds: the number of folds of the cross-fitting.
        random_state: the seed that assigns rows to folds.

    Attributes:
        effects_: for each text column, the effect of each text of training.
        mean_: the mean of log(amount / exposure).
        largest_exposure_: the largest exposure of the training rows.
    """

    effects_: list[dict[str, float]]
    mean_: float
    largest_exposure_: float

    def __init__(
        self,
        count_columns: int = 1,
        fold: TextFold = "ascii_lower_strip",
        folds: int = 5,
        random_state: int = 0,
    ) -> None:
        self.count_columns = count_columns
        self.fold = fold
        self.folds = folds
        self.random_state = random_state

    def fit(self, X: ArrayLike | pd.DataFrame, y: ArrayLike) -> RateEncoder:
        """Learn the effects from the rows whose exposure and amount are above zero.

        Raises:
            ValueError: a text column holds other values, or a count is not a finite number.
        """
        self._fit(X, y)
        return self

    def fit_transform(self, X: ArrayLike | pd.DataFrame, y: ArrayLike) -> NDArray[np.float64]:
        """Fit, and encode each row by the effects learned from the other folds."""
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
            ValueError: a text column holds other values, a count is not a number, or X has
                other columns than in `fit`.
        """
        check_is_fitted(self)
        texts, exposure = self._read(X, reset=False)
        return self._assemble(exposure, self.mean_, _look_up_effects(self.effects_, texts))

    def _fit(
        self, X: ArrayLike | pd.DataFrame, y: ArrayLike
    ) -> tuple[NDArray[np.object_], NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
        """Texts, exposures, log rates of the rows that effects are learned from, and their mask."""
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
    """The mean, and by backfitting the effect of each text of each column."""
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
    """The mean of each group, shrunk towards zero by its credibility; shape [groups]."""
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
    """A copy of X as texts of dtype object, with "" for missing texts."""
    texts = np.array(read_objects(transformer, X, reset=reset), dtype=object)
    texts[pd.isna(texts)] = ""
    _check_texts(transformer, texts)
    return texts


def _check_fold(fold: object) -> None:
    if fold not in ("ascii_lower_strip", "none"):
        raise ValueError(f"fold must be 'ascii_lower_strip' or 'none', not {fold!r}")


def _fold_texts(texts: NDArray[np.object_], fold: TextFold) -> None:
    """Fold in place."""
    if fold == "ascii_lower_strip":
        for column in texts.T:
            # Columns have few distinct texts, so each distinct text is folded once.
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
