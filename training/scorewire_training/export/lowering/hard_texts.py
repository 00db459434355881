"""Texts that two tokenizers are likely to split differently."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from scorewire_proto.bundle.v1 import manifest_pb2

_MAX_TERMS = 24
# Put between two words: kinds of white space and look-alikes, marks, and characters that join words.
_SEPARATORS = (
    *("  ", "\t\n", "\x1c", "\x85", "\u00a0", "\u200b", "\u2028", "\u3000", "\u0301", "\u0345", "\u00ad"),
    *("-", "_", "'", "\u2019", ".", "/", "\uff0c", "\u00b2", "\u00aa", "\U0001f642", "\u200d"),
)
_ODD = (
    # Capitals that become two characters when lowercased; sigmas inside words and at their ends.
    "\u0130stanbul I\u015eI\u011eI \u0131\u015f\u0131k",
    "\u039f\u0394\u03a5\u03a3\u03a3\u0395\u03a5\u03a3 \u0391\u03a3. \u0391\u03a3'\u03a3 \u03a3",
    "stra\u00dfe STRASSE \u1e9e",
    "na\u00efve cafe\u0301 CAF\u00c9 a\u0323\u0302 \u1e9b\u0323",
    "\ufb01nance \u2167 \u00bd x\u00b2 \u210c \U0001d518\U0001d52b\U0001d526 \uff21\uff22",
    "\u01c5 \u01c6 \u01c4 \u212a\u212b",
    "\u4e2d\u6587 \u5206\u8bcd\u3002\u6d4b\u8bd5",
    "\u65e5\u672c\u8a9e \u304b\u306a \uff76\uff85 \u30d1",
    "\ud55c\uad6d\uc5b4 \uac01",
    "\u0939\u093f\u0928\u094d\u0926\u0940 \u0ba4\u0bae\u0bbf\u0bb4\u0bcd \u0e44\u0e17\u0e22",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001f1ea\U0001f1f8 \u2764\ufe0f ok",
    "a b c d 1 22 x1 1x \u0661\u0662 \u2460",
    " ",
    "\n\t  \r\n",
)


def make_hard_texts(bag: manifest_pb2.Bag) -> list[str]:
    """Texts made of some of the terms that a bag counts, and of rare characters."""
    return list(dict.fromkeys(_texts(_spread(bag.terms))))


def _texts(terms: Sequence[str]) -> Iterator[str]:
    yield from _ODD
    yield " ".join(_ODD)
    for i, term in enumerate(terms):
        other = terms[i - 1]
        yield from (term, term.upper(), term.title(), f"{other} {term}, {term}", f"{term}{other}")
        yield f"{term}{_SEPARATORS[i % len(_SEPARATORS)]}{other}"
    joined = list(terms) or ["word"]
    yield " ".join(joined)
    yield from (separator.join(joined[:6] * 2) for separator in _SEPARATORS)
    yield " ".join(joined * 20)[:2000]


def _spread(terms: Sequence[str]) -> Sequence[str]:
    return terms[:: max(1, len(terms) // _MAX_TERMS)][:_MAX_TERMS]
