"""Which principal a verified token or a client certificate belongs to.

A credential that fits rules of several principals belongs to none: its owner must
not gain rights by what else a token says.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping
from typing import Any, TypeAlias

from scorewire_server.access.tables import AccessError, Table, is_text, show, table
from scorewire_server.engine.access import Principal

# A claim of a token and its value. The type counts, or True would be 1.
_Claim: TypeAlias = tuple[str, type, str | int]
_SUBJECT = "sub"
_LABEL = "[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_DNS = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]+")


class AmbiguousError(ValueError):
    """A credential fits the rules of several principals."""


class TokenRules:
    """The principals of verified tokens."""

    def __init__(self) -> None:
        self._owners: dict[tuple[str, frozenset[_Claim]], Principal] = {}
        # Rules by their issuer and one of their claims, so that few rules are looked at for a token.
        self._by_claim: dict[tuple[str, _Claim], list[tuple[frozenset[_Claim], Principal]]] = {}

    def add(self, principal: Principal, where: str, value: Any, *, issuers: Container[str]) -> None:
        """Take in a table of [[principals.NAME.tokens]].

        Raises:
            AccessError: the table cannot be used, or has the issuer and the claims of another one.
        """
        entry = Table(where, value, ("issuer", "subject", "claims"))
        issuer = entry.text("issuer", '"https://login.example/"')
        if issuer not in issuers:
            raise AccessError(
                f"{entry.at('issuer')} is {show(issuer)}, and no [[issuers]] has this name; add it"
            )
        claims = _claims(entry)
        if "subject" in entry:
            claims[_SUBJECT] = entry.text("subject", '"service-shop"')
        if not claims:
            raise AccessError(
                f'{where} fits all tokens of its issuer; add subject or claims, like subject = "service-shop"'
            )
        wanted = frozenset((name, type(value), value) for name, value in claims.items())
        other = self._owners.get((issuer, wanted))
        if other is not None:
            raise AccessError(f"{where} has the same claims as a rule of {other.name}; remove one of them")
        self._owners[issuer, wanted] = principal
        self._by_claim.setdefault((issuer, min(wanted, key=_order)), []).append((wanted, principal))

    def principal_of(self, issuer: str, claims: Mapping[str, Any]) -> Principal | None:
        """The principal of a token with these claims; None if no rule fits.

        Raises:
            AmbiguousError: rules of several principals fit.
        """
        shown = {
            (name, type(value), value)
            for name, value in claims.items()
            if isinstance(value, str | int)  # a bool is an int, too
        }
        return _one_of(
            principal
            for claim in shown
            for wanted, principal in self._by_claim.get((issuer, claim), ())
            if wanted <= shown
        )


class CertificateRules:
    """The principals of client certificates, by what the certificates have as subject alternative names."""

    def __init__(self) -> None:
        self._owners: dict[tuple[str, str], Principal] = {}

    def __bool__(self) -> bool:
        return bool(self._owners)

    def add(self, principal: Principal, where: str, value: Any) -> None:
        """Take in a table of [[principals.NAME.certificates]].

        Raises:
            AccessError: the table cannot be used, or has the name of another one.
        """
        entry = Table(where, value, ("dns", "uri"))
        if ("dns" in entry) == ("uri" in entry):
            raise AccessError(
                f'{where} must have one of dns and uri, like dns = "shop.internal" or'
                ' uri = "spiffe://prod/shop"'
            )
        kind = "dns" if "dns" in entry else "uri"
        name = entry.text(kind, '"shop.internal"')
        if kind == "dns":
            name = name.lower()
            if _DNS.fullmatch(name) is None:
                raise AccessError(
                    f"{entry.at(kind)} is {show(name)}; it must be a whole name, without a star"
                )
        elif _URI.fullmatch(name) is None:
            raise AccessError(
                f"{entry.at(kind)} is {show(name)}; it must be a whole URI, like spiffe://prod/shop"
            )
        other = self._owners.get((kind, name))
        if other is not None:
            raise AccessError(f"{entry.at(kind)} {name} is one of {other.name}, too; remove one of them")
        self._owners[kind, name] = principal

    def principal_of(self, dns_names: Iterable[str], uris: Iterable[str]) -> Principal | None:
        """The principal of a certificate with these names; None if no rule fits.

        Raises:
            AmbiguousError: rules of several principals fit.
        """
        names = [("dns", name.lower()) for name in dns_names] + [("uri", uri) for uri in uris]
        return _one_of(self._owners[name] for name in names if name in self._owners)


def _claims(entry: Table) -> dict[str, Any]:
    where = entry.at("claims")
    claims = dict(table(where, entry.get("claims", {})))
    for name, value in claims.items():
        if name == _SUBJECT:
            raise AccessError(f"{where} has sub; write it as subject")
        if not is_text(value) and not isinstance(value, int):
            raise AccessError(
                f"{where} {show(name)} is {show(value)}; it must be a text, a whole number, true or false"
            )
    return claims


def _order(claim: _Claim) -> tuple[bool, str, str, str]:
    """The subject comes first: few rules of an issuer have the same one."""
    name, kind, value = claim
    return name != _SUBJECT, name, kind.__name__, str(value)


def _one_of(principals: Iterable[Principal]) -> Principal | None:
    found = {principal.name: principal for principal in principals}
    if len(found) > 1:
        raise AmbiguousError("several principals have rules that fit: " + ", ".join(sorted(found)))
    return next(iter(found.values()), None)
