"""A DNS server whose answers change, for one name."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from dnslib import QTYPE, RCODE, RR, A, DNSRecord
from dnslib.server import BaseResolver, DNSHandler, DNSLogger, DNSServer

NAME = "scores.test"


class Names(BaseResolver):  # type: ignore[misc]  # dnslib has no types
    """Answers questions for `NAME` with the addresses that it has now, in random order.

    Attributes:
        addresses: the IPv4 addresses.
        questions: the number of questions for the name so far.
    """

    def __init__(self, addresses: Sequence[str]) -> None:
        self.addresses = list(addresses)
        self.questions = 0

    def resolve(self, request: DNSRecord, handler: DNSHandler) -> DNSRecord:  # noqa: ARG002 - dnslib's signature
        reply = request.reply()
        if str(request.q.qname).rstrip(".") != NAME:
            reply.header.rcode = RCODE.NXDOMAIN
        elif request.q.qtype == QTYPE.A:
            self.questions += 1
            for address in random.sample(self.addresses, len(self.addresses)):
                # A service that scales has a short time to live.
                reply.add_answer(RR(NAME, QTYPE.A, rdata=A(address), ttl=1))
        return reply


@contextmanager
def serving_names(host: str, addresses: Sequence[str]) -> Iterator[Names]:
    """Answer questions on port 53 of an address of this namespace."""
    names = Names(addresses)
    server = DNSServer(names, address=host, port=53, logger=DNSLogger(logf=lambda _: None))
    server.start_thread()
    try:
        yield names
    finally:
        server.stop()
        server.server.server_close()
