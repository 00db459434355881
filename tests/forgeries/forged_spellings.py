"""Forgeries with the spelling: two readers of one token must not find two meanings in it."""

from __future__ import annotations

import json
import zlib
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from functools import partial
from typing import Any

from tests.forgeries.world import (
    API_KEY,
    SUBJECT,
    Make,
    claims,
    compact,
    dump,
    encode,
    header,
    honest_token,
    keys,
    with_header,
)

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_SEGMENTS = ("header", "payload", "signature")
_CRITICAL: dict[str, Any] = {
    "an empty list": [],
    "exp": ["exp"],
    "alg": ["alg"],
    "b64": ["b64"],
    "unknown": ["https://evil.example/x"],
    "a text": "exp",
    "null": None,
    "true": True,
}
_WHITESPACE = {"a space": b" ", "a tab": b"\t", "a newline": b"\n", "a null character": b"\0"}


def cases() -> dict[str, Make]:
    """The forgeries, by their names."""
    return {**_whole(), **_segments(), **_contents(), **_headers(), **_api_keys()}


def _honest(now: float) -> list[bytes]:
    return honest_token(now, keys()["ec"]).split(b".")


def _joined(now: float, *, join: Callable[[list[bytes]], bytes]) -> bytes:
    return join(_honest(now))


def _whole() -> dict[str, Make]:
    """The segments of an honest token, put together in another way."""
    joins: dict[str, Callable[[list[bytes]], bytes]] = {
        "a header alone": lambda parts: parts[0],
        "two segments": lambda parts: b".".join(parts[:2]),
        "no signature and its dot": lambda parts: b".".join(parts[:2]) + b".",
        "a fourth segment": lambda parts: b".".join([*parts, b"e30"]),
        "an empty fourth segment": lambda parts: b".".join(parts) + b".",
        "an empty first segment": lambda parts: b"." + b".".join(parts),
        "five segments": lambda parts: b".".join([*parts, parts[1], parts[2]]),
        "dots alone": lambda _: b"..",
        "one dot": lambda _: b".",
        "many dots": lambda _: b"." * 4000,
        "nothing": lambda _: b"",
        "an empty header": lambda parts: b".".join([b"", *parts[1:]]),
        "an empty payload": lambda parts: b".".join([parts[0], b"", parts[2]]),
        "an empty object as header": lambda parts: b".".join([b"e30", *parts[1:]]),
        "segments exchanged": lambda parts: b".".join([parts[1], parts[0], parts[2]]),
        "commas for dots": b",".join,
        "percent signs for dots": b"%2E".join,
        "a scheme before it": lambda parts: b"Bearer " + b".".join(parts),
        "in quotes": lambda parts: b'"' + b".".join(parts) + b'"',
        "two tokens": lambda parts: b".".join(parts) + b"," + b".".join(parts),
        "in capitals": lambda parts: b".".join(parts).upper(),
        "encoded once more": lambda parts: encode(b".".join(parts)),
        "as JSON": lambda parts: dump(
            {
                each: part.decode()
                for each, part in zip(("protected", "payload", "signature"), parts, strict=True)
            }
        ),
        "too long": lambda parts: b".".join([parts[0], parts[1] * 40, parts[2]]),
        "a long signature": lambda parts: b".".join([*parts[:2], parts[2] * 60]),
        "in UTF-16": lambda parts: b".".join(parts).decode().encode("utf-16"),
        "with a byte order mark": lambda parts: b"\xef\xbb\xbf" + b".".join(parts),
        "bytes that are no text": lambda parts: b"\xff\xfe." + b".".join(parts[1:]),
    }
    for name, space in _WHITESPACE.items():
        joins[f"{name} before it"] = lambda parts, space=space: space + b".".join(parts)
        joins[f"{name} after it"] = lambda parts, space=space: b".".join(parts) + space
        joins[f"{name} around a dot"] = lambda parts, space=space: (space + b"." + space).join(parts)
    return {f"token: {name}": partial(_joined, join=join) for name, join in joins.items()}


def _respelt(now: float, *, segment: int, respell: Callable[[bytes], bytes]) -> bytes:
    """A token with another spelling of a segment; the signature is that of the new spelling."""
    key = keys()["ec"]
    # Contents whose encodings have bits to spare, and both characters of base64 that base64url lacks.
    contents = [dump(header(key, a="~~>?" * 4)), dump(claims(now, a="~~>?" * 4))]
    contents = [content + b" " * (3 - (len(content) + 1) % 3) for content in contents]
    parts = [encode(content) for content in contents]
    if segment < 2:
        parts[segment] = respell(parts[segment])
        return compact(*parts, key.sign, encoded=True)
    signed = compact(*parts, key.sign, encoded=True).rpartition(b".")
    return signed[0] + b"." + respell(signed[2])


def _segments() -> dict[str, Make]:
    respellings: dict[str, Callable[[bytes], bytes]] = {
        "one padding character": lambda part: part + b"=",
        "two padding characters": lambda part: part + b"==",
        "right padding": lambda part: part + b"=" * (-len(part) % 4 or 4),
        "a character too many": lambda part: part + b"A",
        "a character between": lambda part: part[:8] + b"!" + part[8:],
        "a newline between": lambda part: part[:8] + b"\n" + part[8:],
        "a space between": lambda part: part[:8] + b" " + part[8:],
        "padding between": lambda part: part[:8] + b"=" + part[8:],
        "another last character": _spare_bit,
        "a letter of another script": lambda part: part[:8] + "а".encode() + part[9:],
    }
    made: dict[str, Make] = {}
    for segment, shown in enumerate(_SEGMENTS):
        for name, respell in respellings.items():
            made[f"{shown}: {name}"] = partial(_respelt, segment=segment, respell=respell)
    for segment in (0, 1):
        made[f"{_SEGMENTS[segment]}: standard base64"] = partial(
            _respelt, segment=segment, respell=lambda part: part.replace(b"-", b"+").replace(b"_", b"/")
        )
    return made


def _spare_bit(part: bytes) -> bytes:
    """The segment with one of the bits set that its last character does not need."""
    last = _ALPHABET.index(part[-1:])
    return part[:-1] + _ALPHABET[last ^ 1 : (last ^ 1) + 1]


def _contents() -> dict[str, Make]:
    """Contents that are not one plain JSON object."""
    respellings: dict[str, Callable[[bytes], bytes]] = {
        "a byte order mark": lambda text: b"\xef\xbb\xbf" + text,
        "UTF-16": lambda text: text.decode().encode("utf-16"),
        "UTF-16 without a mark": lambda text: text.decode().encode("utf-16-le"),
        "UTF-32": lambda text: text.decode().encode("utf-32-be"),
        "a byte that is not UTF-8": lambda text: text[:-1] + b',"a":"\xff"}',
        "an overlong character": lambda text: text[:-1] + b',"a":"\xc0\xaf"}',
        "a null character at its end": lambda text: text + b"\0",
        "text behind it": lambda text: text + b"x",
        "two objects": lambda text: text + text,
        "a comment": lambda text: text + b"//",
        "a comma too many": lambda text: text[:-1] + b",}",
        "single quotes": lambda text: text.replace(b'"', b"'"),
        "in a list": lambda text: b"[" + text + b"]",
        "in a text": lambda text: json.dumps(text.decode()).encode(),
        "half of it": lambda text: text[: len(text) // 2],
        "a number": lambda _: b"1",
        "null": lambda _: b"null",
        "true": lambda _: b"true",
        "an empty list": lambda _: b"[]",
        "an empty object": lambda _: b"{}",
        "nested deep": lambda text: text[:-1] + b',"a":' + b"[" * 1400 + b"]" * 1400 + b"}",
        "nested 40 times": lambda text: text[:-1] + b',"a":' + b"[" * 40 + b"]" * 40 + b"}",
        "not closed and nested deep": lambda _: b"[" * 2500,
        "a member twice with one value": lambda text: text[:-1] + b',"a":1,"a":1}',
        "a member twice in a member": lambda text: text[:-1] + b',"a":{"b":1,"b":2}}',
        "a control character in a text": lambda text: text[:-1] + b',"a":"\n"}',
    }
    made: dict[str, Make] = {}
    for segment in (0, 1):
        for name, respell in respellings.items():
            made[f"{_SEGMENTS[segment]} content: {name}"] = partial(
                _recoded, segment=segment, respell=respell
            )
    # The first or the last one of two counts, as the reader likes.
    for member, other in {"alg": "none", "kid": "rsa", "typ": "dpop+jwt"}.items():
        made |= _twice(0, member, other)
    for member, other in {
        "sub": "nobody",
        "aud": "another",
        "exp": 1,
        "iss": "https://other.example/",
    }.items():
        made |= _twice(1, member, other)
    made["header content: alg twice, once escaped"] = partial(
        _recoded, segment=0, respell=lambda text: text[:-1] + b',"\\u0061lg":"none"}'
    )
    return made


def _twice(segment: int, member: str, other: Any) -> dict[str, Make]:
    twice = dump({member: other})[1:-1]
    shown = f"{_SEGMENTS[segment]} content: {member} twice"
    return {
        f"{shown}, first wrong": partial(
            _recoded, segment=segment, respell=lambda text: b"{" + twice + b"," + text[1:]
        ),
        f"{shown}, last wrong": partial(
            _recoded, segment=segment, respell=lambda text: text[:-1] + b"," + twice + b"}"
        ),
    }


def _recoded(now: float, *, segment: int, respell: Callable[[bytes], bytes]) -> bytes:
    key = keys()["ec"]
    contents = [dump(header(key)), dump(claims(now))]
    contents[segment] = respell(contents[segment])
    return compact(*contents, key.sign)


def _headers() -> dict[str, Make]:
    """Headers that change what a token is, or that only some readers understand."""
    made: dict[str, Make] = {}
    for name, value in _CRITICAL.items():
        made[f"crit is {name}"] = with_header(crit=value)
    for value in (
        "JWE",
        "logout+jwt",
        "dpop+jwt",
        "secevent+jwt",
        "JOSE",
        "JWT2",
        "",
        " jwt",
        None,
        1,
        [],
        ["JWT"],
        True,
    ):
        made[f"typ is {value!r}"] = with_header(typ=value)
    made["b64 is true"] = with_header(b64=True)
    made["b64 is false"] = with_header(b64=False)
    made["b64 is false and critical"] = with_header(b64=False, crit=["b64"])
    made["b64 is false and the payload is not encoded"] = _not_encoded
    made["a long header"] = with_header(padding="a" * 4000)
    made["a compressed payload"] = _compressed
    made["a token in a token"] = _nested
    return made


def _not_encoded(now: float) -> bytes:
    key = keys()["ec"]
    head = encode(dump(header(key, b64=False, crit=["b64"])))
    return compact(head, dump(claims(now, iss="https://login/", a=SUBJECT)), key.sign, encoded=True)


def _compressed(now: float) -> bytes:
    key = keys()["ec"]
    return compact(header(key, zip="DEF"), zlib.compress(dump(claims(now)))[2:-4], key.sign)


def _nested(now: float) -> bytes:
    key = keys()["ec"]
    return compact(header(key, cty="JWT"), honest_token(now, key), key.sign)


def _api_keys() -> dict[str, Make]:
    """Texts that are almost the key of a principal."""
    prefix, key_id, secret = API_KEY.split("_")
    keys_: dict[str, str] = {
        "in capitals": API_KEY.upper(),
        "another secret": f"{prefix}_{key_id}_{'5f' * 32}",
        "another last digit": API_KEY[:-1] + "f",
        "without its last digit": API_KEY[:-1],
        "a digit too many": API_KEY + "0",
        "without its prefix": f"{key_id}_{secret}",
        "the secret alone": secret,
        "the id alone": key_id,
        "no secret": f"{prefix}_{key_id}_",
        "another id": f"{prefix}_0a1b2c3e_{secret}",
        "twice": API_KEY * 2,
        "with a dot": API_KEY + ".",
        "as three segments": API_KEY.replace("_", "."),
        "in base64": b64encode(API_KEY.encode()).decode(),
        "in base64url": urlsafe_b64encode(API_KEY.encode()).decode(),
        "with a space at its end": API_KEY + " ",
        "with a null character at its end": API_KEY + "\0",
        "of zeros": f"{prefix}_{key_id}_{'0' * 64}",
        "a star": "*",
        "long": "a" * 8192,
        "too long": "a" * 8193,
    }
    return {f"key: {name}": lambda _, text=text: text.encode() for name, text in keys_.items()}
