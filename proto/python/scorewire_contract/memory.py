"""Tells people when memory ran out: libraries say "std::bad_alloc" or "MemoryError", and no more."""

from __future__ import annotations

import re

# Parts of what onnxruntime, numpy and Python say when they get no memory.
_SIGNS = ("MemoryError", "allocate memory", "bad_alloc")
# The most characters of a failure's text, so that the advice behind it is read, too.
_MAX_TEXT = 300
# Where in its own source onnxruntime asked for memory.
_SOURCE = re.compile(r"/onnxruntime_src/\S+ .*?(?=Failed to allocate memory)")


def lacks_memory(text: str) -> bool:
    """Whether a failure with this text is for want of memory."""
    return any(sign in text for sign in _SIGNS)


def explain_memory(text: str, advice: str) -> str:
    """The text of a failure, with the cause and an advice if memory ran out.

    Args:
        text: what failed, for which model, how big it is, and what the library said.
        advice: what to do if memory ran out.
    """
    if not lacks_memory(text):
        return text
    return f"memory ran out: {_SOURCE.sub('', text).strip()[:_MAX_TEXT]}; {advice}"
