"""Makes text of unknown origin safe to show in a log, in an answer or on a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""The text with each character that is not printable escaped, such as a newline as ``\n``.

    So no name of a folder or of a feature can forge a line, move a cursor, or be invalid UTF-8.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
