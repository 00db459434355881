"""Text of unknown origin as it may be shown: in a log, in an answer, on a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""The text with everything that is not printable escaped, as a newline is as ``\n``.

    So no name of a folder or feature can forge a line, move a cursor, or fail to be UTF-8.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
