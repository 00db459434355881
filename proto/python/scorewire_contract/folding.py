"""Normalizes a text before it is looked up, split into tokens or fed to the graph."""

from __future__ import annotations

from collections.abc import Callable

from scorewire_proto.bundle.v1 import manifest_pb2

_ASCII_SPACE = " \t\n\r\x0b\x0c"
_ASCII_LOWER = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")


def ascii_lower_strip(text: str) -> str:
    """Strip ASCII white space and convert ASCII letters to lower case.

    Other characters stay, so that engines in every language give the same text.
    """
    return text.strip(_ASCII_SPACE).translate(_ASCII_LOWER)


def unfolded(text: str) -> str:
    """Return the text as it is."""
    return text


_FOLDS: dict[int, Callable[[str], str]] = {
    manifest_pb2.TEXT_FOLD_NONE: unfolded,
    manifest_pb2.TEXT_FOLD_ASCII_LOWER_STRIP: ascii_lower_strip,
}


def fold_of(fold: int) -> Callable[[str], str]:
    """The function for a `TextFold`.

    Raises:
        ValueError: the fold is not one of this format.
    """
    if fold not in _FOLDS:
        raise ValueError(f"text fold {fold} is not one of this format")
    return _FOLDS[fold]
