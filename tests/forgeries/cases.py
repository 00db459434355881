"""All tokens that must be refused, and those that must be accepted.

A token that is named for a claim, a header or a spelling is wrong in this way only: it
has the valid signature of a key of its issuer. A token is made when it is sent, since
time passes. All are made for the access file of `world.write_world`.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.forgeries import forged_claims, forged_keys, forged_signatures, forged_spellings
from tests.forgeries.world import (
    AUDIENCE,
    LEEWAY,
    SHOP,
    STATS,
    Make,
    Token,
    honest_token,
    keys,
    with_claims,
    with_header,
)


def honest() -> list[tuple[Token, str]]:
    """Tokens that must be accepted, and the principal of each."""
    shop: dict[str, Make] = {
        "signed with rsa": lambda now: honest_token(now, keys()["rsa"]),
        "signed with ec": lambda now: honest_token(now, keys()["ec"]),
        "signed with ed": lambda now: honest_token(now, keys()["ed"]),
        "signed with a key whose id another issuer uses, too": lambda now: honest_token(now, keys()["both"]),
        "the other s of ES256": forged_signatures.other_s,
        "no typ": with_header(typ=...),
        "typ of an access token": with_header(typ="at+jwt"),
        "typ in capitals": with_header(typ="application/AT+JWT"),
        "unknown header": with_header(zip="DEF", color="blue"),
        "headers about keys, which are ignored": with_header(
            jku="https://evil.example/", jwk={}, x5u="http://evil.example/", x5c=["a"]
        ),
        "several audiences": with_claims(aud=["another", AUDIENCE]),
        "expired within the leeway": with_claims(exp=lambda now: int(now) - LEEWAY + 10),
        "not valid yet within the leeway": with_claims(nbf=lambda now: int(now) + LEEWAY - 5),
        "issued in the future within the leeway": with_claims(iat=lambda now: int(now) + LEEWAY - 5),
        "times with a fraction": with_claims(exp=lambda now: now + 60.5, iat=lambda now: now - 0.5),
        "neither nbf nor iat": with_claims(nbf=..., iat=...),
        "other claims": with_claims(scope="a b", groups=["x", {"y": None}], level=3),
    }
    stats: dict[str, Make] = {
        "all claims of a rule": with_claims(sub="someone", client_id="stats", admin=True, level=3),
        "no subject": with_claims(sub=..., client_id="stats", admin=True, level=3),
    }
    return [(Token(name, make), SHOP) for name, make in shop.items()] + [
        (Token(name, make), STATS) for name, make in stats.items()
    ]


def forgeries() -> list[Token]:
    """Tokens that must be refused."""
    made: dict[str, Callable[[float], bytes]] = {}
    for module in (forged_keys, forged_signatures, forged_claims, forged_spellings):
        cases = module.cases()
        assert not made.keys() & cases.keys(), "a name is used twice"
        made.update(cases)
    return [Token(name, make) for name, make in made.items()]
