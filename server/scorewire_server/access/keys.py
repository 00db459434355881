"""API keys: `scorewire_<id>_<secret>`, of which the access file has the id and a hash only.

The secret has 256 random bits, so that nobody finds it out from its hash, and a hash
that takes long is not needed. Engines look keys up by their hashes: a caller cannot
choose the hash of what it sends, so the time of a look-up tells nothing of other keys.
"""

from __future__ import annotations

import secrets
from collections.abc import Container
from dataclasses import dataclass, field
from hashlib import sha256

_PREFIX = "scorewire"
_ID_BYTES = 4
_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A new API key.

    Attributes:
        id: 8 hex digits, which are no secret.
        text: the whole key, for its owner alone.
    """

    id: str
    text: str = field(repr=False)

    @property
    def sha256(self) -> str:
        """The hash of the whole key, for the access file, in hex."""
        return sha256(self.text.encode()).hexdigest()


def make_key(taken: Container[str] = ()) -> ApiKey:
    """Make a key whose id is not in `taken`."""
    while (key_id := secrets.token_hex(_ID_BYTES)) in taken:
        pass
    return ApiKey(key_id, f"{_PREFIX}_{key_id}_{secrets.token_hex(_SECRET_BYTES)}")
