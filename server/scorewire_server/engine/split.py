"""Chooses the version of a split that answers a call: weighted rendezvous hashing.

The 64-bit BLAKE2b digest of the routing key, XOR the digest of `model/version`, goes
through the finalizer of SplitMix64 and becomes a number u in (0, 1). The version
with the smallest -ln(u) / weight answers. So a version's share is its weight over
the sum of weights, and a changed weight moves as few keys as possible.

The same key gets the same version on every machine, in every engine and after every
restart: the code uses integers, and sums, products and quotients of doubles in one
fixed order, which IEEE 754 rounds the same way everywhere.

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
# Terms of the series of artanh; at 1/3 the next term is below the last bit of a double.
_TERMS = 17
# The point of "scorewire.records": so a key's place in the sample does not depend on its side of a split.
_RECORDS_SEED = 0xA7D8805E6036A25A


def point_of(routing_key: str) -> int:
    """The 64-bit point of a routing key."""
    return _digest(routing_key.encode())


def seed_of(model: str, version: str) -> int:
    """The 64-bit seed of a version, which is mixed into every point."""
    return _digest(f"{model}/{version}".encode())


def samples(routing_key: str, share: float) -> bool:
    """Whether the predictions of a routing key are among the share of keys whose predictions are recorded.

    A key that is in a share is in every larger share.
    """
    return share >= 1.0 or _unit(_mix(point_of(routing_key) ^ _RECORDS_SEED)) < share


def pick(point: int, targets: Sequence[tuple[int, int]]) -> int:
    """The index of the target that a point belongs to.

    Args:
        point: 64 bits: the point of a routing key, or random ones.
        targets: the seed and the weight, 1 or more, of each target.
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
    """One of 2^52 evenly spaced numbers in (0, 1), each of them exact."""
    return ((x >> 12) + 0.5) * 2.0**-52


def _minus_ln(u: float) -> float:
    """-ln(u) of a number in (0, 1), with the same bits everywhere; libm's log differs between machines."""
    mantissa, exponent = math.frexp(u)
    s = (mantissa - 1.0) / (mantissa + 1.0)
    square = s * s
    total = 0.0
    for k in range(_TERMS, -1, -1):
        total = total * square + 1.0 / (2 * k + 1)
    return -(exponent * _LN_2 + 2.0 * s * total)
