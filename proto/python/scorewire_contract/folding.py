"""What happens to a text before it is looked up, cut or fed to the graph."""

from __future__ import annotations

from collections.abc import Callable

from scorewire_proto.bundle.v1 import manifest_pb2

_ASCII_SPACE = " \t\n\r\x0b\x0c"
_ASCII_LOWER = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")


def ascii_lower_strip(text: str) -> str:
    """The text without ASCII white space at its ends, ASCII capitals made small.

    ASCII only, so that every engine in every language folds alike.
    """
    return text.strip(_ASCII_SPACE).translate(_ASCII_LOWER)


def unfolded(text: str) -> str:
    """The text itself."""
    return text


_FOLDS: dict[int, Callable[[str], str]] = {
    manifest_pb2.TEXT_FOLD_NONE: unfolded,
    manifest_pb2.TEXT_FOLD_ASCII_LOWER_STRIP: ascii_lower_strip,
}


def fold_of(fold: int) -> Callable[[str], str]:
    """The function of a fold.

    Raises:
        ValueError: it is none of this format.
    """
    if fold not in _FOLDS:
        raise ValueError(f"text fold {fold} is not one of this format")
    return _FOLDS[fold]
