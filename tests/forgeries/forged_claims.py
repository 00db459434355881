"""Forgeries with the claims: the signature of each is valid."""

from __future__ import annotations

from functools import partial
from typing import Any

from tests.forgeries.world import (
    AUDIENCE,
    ISSUER,
    LEEWAY,
    SUBJECT,
    Make,
    claims,
    compact,
    dump,
    header,
    keys,
    with_claims,
)

_NO_TEXTS: dict[str, Any] = {
    "null": None,
    "empty": "",
    "a number": 1,
    "true": True,
    "an object": {"a": 1},
    "an empty list": [],
}
_ISSUERS: dict[str, Any] = {
    "left out": ...,
    "a list with the issuer": [ISSUER],
    "without its slash": ISSUER[:-1],
    "with another slash": ISSUER + "/",
    "in capitals": ISSUER.upper(),
    "over http": ISSUER.replace("https", "http"),
    "with a space": ISSUER + " ",
    "with a null character": ISSUER + "\0",
    "with a user": "https://login.example@evil.example/",
    "with a path": ISSUER + "../",
    "unknown": "https://evil.example/",
    "long": ISSUER + "a" * 3000,
}
_AUDIENCES: dict[str, Any] = {
    "left out": ...,
    "another": "another",
    "in capitals": AUDIENCE.upper(),
    "with a space": AUDIENCE + " ",
    "the beginning": AUDIENCE[:-1],
    "longer": AUDIENCE + "2",
    "several in one text": f"another {AUDIENCE}",
    "a pattern": "*",
    "a list of others": ["another", "third"],
    "a list in a list": [[AUDIENCE]],
    "a list with a number": [AUDIENCE, 1],
    "a list with null": [None, AUDIENCE],
    "a list with an object": [{"aud": AUDIENCE}, AUDIENCE],
    "an object with the audience": {AUDIENCE: True},
    "a list of letters": list(AUDIENCE),
    "a long list": ["a"] * 200 + [AUDIENCE],
}
_SUBJECTS: dict[str, Any] = {
    "left out": ...,
    "another": "service-none",
    "in capitals": SUBJECT.upper(),
    "with a space": SUBJECT + " ",
    "with a null character": SUBJECT + "\0",
    "longer": SUBJECT + "2",
    "the beginning": SUBJECT[:-1],
    "a pattern": "*",
    "a list with the subject": [SUBJECT],
    "of the other issuer": "service-other",
    "the name of the principal": "shop",
    "in another script": SUBJECT.replace("o", "о"),  # a Cyrillic letter
    "decomposed": "service-sho\u0301p",
}
# What no claim with a time may be.
_NO_TIMES: dict[str, Any] = {
    "null": None,
    "empty": "",
    "a text": lambda now: str(int(now) + 600),
    "a date": "2096-01-01T00:00:00Z",
    "true": True,
    "false": False,
    "a list": lambda now: [int(now) + 600],
    "an object": lambda now: {"value": int(now) + 600},
    "far beyond all years": 1e300,
    "an integer of 70 digits": 10**70,
    "in milliseconds": lambda now: int(now * 1e3),
    "below zero": -1,
}
# Spellings that are not JSON, or no number that a time can be.
_NO_NUMBERS = {
    "NaN": b"NaN",
    "Infinity": b"Infinity",
    "-Infinity": b"-Infinity",
    "1e400": b"1e400",
    "-1e400": b"-1e400",
    "an integer of 5000 digits": b"9" * 5000,
    "hexadecimal": b"0xFFFFFFFF",
    "with underscores": b"9_999_999_999",
    "with a plus": b"+9999999999",
    "with a leading zero": b"09999999999",
}
_PAST, _FUTURE = (LEEWAY, LEEWAY + 1, 60, 3600, 86_400), (LEEWAY + 600, 3600, 86_400)
_STATS: dict[str, Any] = {"sub": "someone", "client_id": "stats", "admin": True, "level": 3}
_NEAR_STATS: dict[str, dict[str, Any]] = {
    "one claim left out": {"admin": ...},
    "a number left out": {"level": ...},
    "1 for true": {"admin": 1},
    "a text for true": {"admin": "true"},
    "true for a number": {"level": True},
    "a number with a fraction": {"level": 3.0},
    "a text for a number": {"level": "3"},
    "another number": {"level": 4},
    "a list for a text": {"client_id": ["stats"]},
    "another text": {"client_id": "Stats"},
    "claims within a claim": {"client_id": ..., "realm": {"client_id": "stats"}},
    "another spelling of the name": {"client_id": ..., "Client_Id": "stats"},
}


def cases() -> dict[str, Make]:
    """The forgeries, by their names."""
    made: dict[str, Make] = {}
    for claim, values in {
        "iss": {**_NO_TEXTS, **_ISSUERS},
        "aud": {**_NO_TEXTS, **_AUDIENCES},
        "sub": {**_NO_TEXTS, **_SUBJECTS},
        "exp": {"left out": ..., "zero": 0, **_NO_TIMES},
        "nbf": _NO_TIMES,
        "iat": _NO_TIMES,
    }.items():
        for name, value in values.items():
            made[f"{claim} is {name}"] = with_claims(**{claim: value})
    for claim in ("exp", "nbf", "iat"):
        for name, spelling in _NO_NUMBERS.items():
            made[f"{claim} is {name}"] = partial(_spelt, claim=claim, spelling=spelling)
    for seconds in _PAST:
        made[f"expired {seconds} seconds ago"] = with_claims(exp=lambda now, ago=seconds: int(now) - ago)
    for seconds in _FUTURE:
        made[f"valid in {seconds} seconds"] = with_claims(nbf=lambda now, more=seconds: int(now) + more)
        made[f"issued in {seconds} seconds"] = with_claims(iat=lambda now, more=seconds: int(now) + more)
    for name, changes in _NEAR_STATS.items():
        made[f"claims of a rule, but {name}"] = with_claims(**{**_STATS, **changes})
    made["claims of two principals"] = with_claims(**{**_STATS, "sub": SUBJECT})
    return made


def _spelt(now: float, *, claim: str, spelling: bytes) -> bytes:
    """A token with a number that `json.dumps` does not write."""
    key = keys()["ec"]
    payload = dump(claims(now, **{claim: "HERE"})).replace(b'"HERE"', spelling)
    return compact(header(key), payload, key.sign)
