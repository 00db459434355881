"""Sets of models, as an access file writes them: names, and beginnings of names with a star at the end."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

_STAR = "*"


@dataclass(frozen=True, slots=True)
class Patterns:
    """A set of models: names, and beginnings of names.

    Attributes:
        names: models by their full names.
        prefixes: the beginnings of names, as of `shop-*`; "" stands for all models.
    """

    names: frozenset[str] = frozenset()
    prefixes: tuple[str, ...] = ()

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Self:
        """The set that texts like `churn`, `shop-*` and `*` describe."""
        names, prefixes = set(), []
        for text in texts:
            if text.endswith(_STAR):
                prefixes.append(text.removesuffix(_STAR))
            else:
                names.add(text)
        return cls(frozenset(names), tuple(prefixes))

    def texts(self) -> list[str]:
        """The texts that describe the set: sorted names, and then the beginnings of names."""
        return sorted(self.names) + [prefix + _STAR for prefix in self.prefixes]

    def match(self, model: str) -> bool:
        """Whether a model is in the set."""
        return model in self.names or model.startswith(self.prefixes)

    @property
    def everything(self) -> bool:
        """Whether all models are in the set."""
        return "" in self.prefixes

    def __bool__(self) -> bool:
        return bool(self.names or self.prefixes)
