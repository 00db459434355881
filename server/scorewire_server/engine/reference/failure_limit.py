"""How many credentials of one address may be verified and fail."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from time import monotonic_ns

from scorewire_server.engine.access import Rate
from scorewire_server.engine.interpreted.limits import Gcra

# Beyond that, those are forgotten that failed longest ago.
_MAX_NETWORKS = 1 << 15
_IPV6_HOST_BITS = 64


class FailureLimit:
    """The failures of each address.

    A credential counts as failed until it is verified, so that many at one time do not
    pass the limit.

    Args:
        rate: the failures that an address may have.
    """

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._networks: dict[str, Gcra] = {}

    def use(self, rate: Rate) -> None:
        """Limit failures by a rate from now on. If it is another one, all addresses begin anew."""
        if rate != self._rate:
            # A time that was counted by another rate may be far away.
            self._networks.clear()
        self._rate = rate

    def take(self, host: str) -> bool:
        """Count a failure of an address; False if it had as many as it may."""
        network = _network(host)
        # What was used last comes last.
        state = self._networks.pop(network, Gcra())
        self._networks[network] = state
        if len(self._networks) > _MAX_NETWORKS:
            del self._networks[next(iter(self._networks))]
        return not state.take(self._rate, monotonic_ns())

    def give_back(self, host: str) -> None:
        """Take a failure back: the credential is valid."""
        state = self._networks.get(_network(host))
        if state is not None:
            state.give_back(self._rate)


@lru_cache(maxsize=1024)
def _network(host: str) -> str:
    """What counts as one address: a caller with IPv6 has a whole network of 64 bits."""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if not isinstance(address, IPv6Address):
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return f"{int(address) >> _IPV6_HOST_BITS:x}::/64"
