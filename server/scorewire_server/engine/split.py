"""Which version of a split answers a call: weighted rendezvous hashing.

The 64-bit BLAKE2b digest of the routing key, exclusive-or the digest of
`model/version`, goes through the finalizer of SplitMix64 and becomes a number u
in (0, 1); the version with the least -ln(u) / weight answers. So a version's
share is its weight over the sum of all, and a changed weight moves only the
keys that it must. Integers and correctly rounded sums, products and quotients
of doubles are all that is used, in one fixed order: the same key gets the same
version on every machine, in every engine and after every restart.

Source: J. Schindelhauer, G. Schomaker, "Weighted Distributed Hash Tables"
(2005); D. Thaler, C. Ravishankar, "A Name-Based Mapping Scheme for Rendezvous"
(1996); S. Vigna's splitmix64.c.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from hashlib import blake2b

_MASK = (1 << 64) - 1
_LN_2 = 0.6931471805599453
# Of the series of artanh; at 1/3 the next term is below a double's last bit.
_TERMS = 17


def point_of(routing_key: str) -> int:
    """Where a routing key stands: 64 bits."""
    return _digest(routing_key.encode())


def seed_of(model: str, version: str) -> int:
    """What a version of a model stirs into every point: 64 bits."""
    return _digest(f"{model}/{version}".encode())


def pick(point: int, targets: Sequence[tuple[int, int]]) -> int:
    """The index of the target that a point falls to.

    Args:
        point: 64 bits, of a key or at random.
        targets: seed and weight, 1 or more, of each.
    """
    best, least = 0, math.inf
    for index, (seed, weight) in enumerate(targets):
        cost = _minus_ln(_unit(_mix(point ^ seed))) / weight
        if cost < least:
            best, least = index, cost
    return best


def _digest(data: bytes) -> int:
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "little")


def _mix(x: int) -> int:
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return x ^ (x >> 31)


def _unit(x: int) -> float:
    """One of 2^52 evenly spread numbers in (0, 1), none of them rounded."""
    return ((x >> 12) + 0.5) * 2.0**-52


def _minus_ln(u: float) -> float:
    """-ln(u) of a number in (0, 1), the same to the bit everywhere, as libm's need not be."""
    mantissa, exponent = math.frexp(u)
    s = (mantissa - 1.0) / (mantissa + 1.0)
    square = s * s
    total = 0.0
    for k in range(_TERMS, -1, -1):
        total = total * square + 1.0 / (2 * k + 1)
    return -(exponent * _LN_2 + 2.0 * s * total)
