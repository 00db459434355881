"""The categories of the training data that an XGBoost booster stores.

XGBoost stores them from release 3.1 on. Releases before 3.4 count the characters of a
name that is not ASCII but store that number of bytes, so the end of the name and the
ends of all names after it are lost.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import xgboost

from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.releases import XGBOOST_RELEASE


@dataclass(frozen=True, slots=True)
class StoredCategories:
    """The categories of a feature in the order of their codes, as far as the model stores them.

    `values` is None if names were cut. Then `lengths` are their numbers of characters,
    and `kept` is what is left of their bytes, one name after the other.
    """

    values: tuple[object, ...] | None
    lengths: tuple[int, ...] = ()
    kept: bytes = b""

    @property
    def is_ascii(self) -> bool:
        """Whether all names are ASCII, so that no name was cut."""
        return self.kept.isascii()

    def complete(self, own: Sequence[object], feature: str) -> list[object]:
        """The categories in the order of their codes, completed by those of a sample.

        Raises:
            UnsupportedModelError: names were cut, and the sample's categories do not match
                them, or the installed XGBoost refuses completed names.
        """
        if self.values is not None and (self.is_ascii or set(self.values) == set(own)):
            return list(self.values)
        # A cut name may look like a whole one.
        if self._is_cut_from(own):
            if XGBOOST_RELEASE >= (3, 4):
                raise UnsupportedModelError(
                    f"XGBoost before 3.4 has cut the categories of {feature!r} that are not ASCII, and the "
                    "release that is installed here takes no others than the file has",
                    "export the model where the release is installed that saved it, or train it anew",
                )
            return list(own)
        if self.values is not None and set(own) <= set(self.values):
            return list(self.values)
        raise UnsupportedModelError(
            f"XGBoost before 3.4 has cut the categories of {feature!r} that are not ASCII, and those of the "
            "sample are not the ones of training in their order",
            f"pass the sample's column as the one of training was, sample[{feature!r}].astype(dtype)",
        )

    def _is_cut_from(self, own: Sequence[object]) -> bool:
        names = [name for name in own if isinstance(name, str)]
        whole = "".join(names).encode()
        return (
            len(names) == len(own)
            and tuple(map(len, names)) == self.lengths
            and whole[: len(self.kept)] == self.kept
        )


def stored_categories(booster: xgboost.Booster) -> dict[int, StoredCategories]:
    """The stored categories by position of the feature, for features with stored categories."""
    if "c" not in (booster.feature_types or ()):
        return {}
    gradient_booster = json.loads(bytes(booster.save_raw("json")))["learner"]["gradient_booster"]
    model = gradient_booster.get("gbtree", gradient_booster).get("model", {})
    stored = (model.get("cats") or {}).get("enc") or []
    return {i: _read(one) for i, one in enumerate(stored) if one["values"]}


def _read(stored: dict[str, list[int]]) -> StoredCategories:
    if "offsets" not in stored:
        return StoredCategories(tuple(stored["values"]))
    # JSON has them as signed bytes.
    kept = bytes(value % 256 for value in stored["values"])
    places = list(pairwise(stored["offsets"]))
    lengths = tuple(end - begin for begin, end in places)
    try:
        values = tuple(kept[begin:end].decode() for begin, end in places)
    except UnicodeDecodeError:
        return StoredCategories(None, lengths, kept)
    return StoredCategories(values, lengths, kept)
