"""Which grant a call's credential gives, and what an engine remembers of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from time import time

import pytest
from structlog.testing import capture_logs

from scorewire_server.engine.access import MAX_TOKEN_BYTES, AccessTable, Grant, Principal, Rate
from scorewire_server.engine.context import CallContext
from scorewire_server.engine.reference import authentication as module
from scorewire_server.engine.reference.authentication import Authentication
from scorewire_server.engine.reference.failure_limit import FailureLimit
from scorewire_server.errors import TooManyInFlightError, UnauthenticatedError, to_status
from tests.scorewire_server.engine.reference.callers import (
    GAME,
    KEY,
    OPEN,
    SHOP,
    Verifier,
    bearing,
    calling,
    ends,
    table_of,
)
from tests.scorewire_server.engine.running import until

SLOW = Rate(1e-3, 3)


def authenticating(verifier: Verifier, table: AccessTable | None = None) -> Authentication:
    return Authentication(verifier.options(table), max_in_flight=7)


async def refusal(authentication: Authentication, context: CallContext, **options: bool) -> str:
    """The cause for which a call is refused."""
    before = dict(authentication.refused)
    with pytest.raises((UnauthenticatedError, TooManyInFlightError)) as caught:
        await authentication.grant(context, **options)
    (cause,) = (cause for cause, count in authentication.refused.items() if count != before[cause])
    assert authentication.refused[cause] == before[cause] + 1
    assert isinstance(caught.value, TooManyInFlightError) == (cause == "busy")
    return cause


async def answered(asked: Awaitable[Grant | None]) -> str | None:
    """The name of the principal of a grant."""
    grant = await asked
    return None if grant is None else grant.principal.name


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_an_api_key_is_found_without_a_question(scheme: str) -> None:
    verifier = Verifier()
    authentication = authenticating(verifier)
    assert await authentication.grant(calling(f"{scheme} {KEY}")) == Grant(SHOP)
    assert verifier.asked == []
    assert not any(authentication.refused.values())


@pytest.mark.parametrize(
    ("context", "cause"),
    [
        (calling(), "missing"),
        (calling(""), "malformed"),
        (calling(KEY), "malformed"),
        (calling("Bearer"), "malformed"),
        (calling("Bearer "), "malformed"),
        (calling(f"Bearer\t{KEY}"), "malformed"),
        (calling(f"Basic {KEY}"), "malformed"),
        (calling(f"Bearer {KEY}", f"Bearer {KEY}"), "malformed"),
        (calling(f"Bearer {KEY}", ""), "malformed"),
        (calling("Bearer " + "x" * (MAX_TOKEN_BYTES + 1)), "malformed"),
        (calling("", certificate=b"der"), "malformed"),
        (calling(f"Bearer  {KEY}"), "unknown"),
        (calling(f"Bearer {KEY} "), "unknown"),
        (calling(f"Bearer {KEY.upper()}"), "unknown"),
        (calling("Bearer " + "x" * MAX_TOKEN_BYTES), "unknown"),
        (calling("Bearer schlüssel"), "unknown"),
        (bearing("a.b"), "unknown"),
        (bearing("a.b.c.d"), "unknown"),
        (bearing("a.b.c"), "token"),
        (calling(certificate=b"der"), "certificate"),
    ],
)
async def test_what_is_no_valid_credential_is_refused_with_the_same_words(
    context: CallContext, cause: str
) -> None:
    verifier = Verifier()
    authentication = authenticating(verifier)
    assert await refusal(authentication, context) == cause
    assert bool(verifier.asked) == (cause in {"token", "certificate"})
    with pytest.raises(UnauthenticatedError) as caught:
        await authentication.grant(context)
    with pytest.raises(UnauthenticatedError) as usual:
        await authentication.grant(calling())
    assert to_status(caught.value) == to_status(usual.value)


async def test_an_open_method_has_no_principal_whatever_the_call_shows() -> None:
    authentication = authenticating(Verifier())
    for context in (calling(path=OPEN), bearing(KEY, path=OPEN), calling("Basic x", path=OPEN)):
        assert await authentication.grant(context) is None


async def test_a_token_counts_before_the_certificate_of_its_connection() -> None:
    verifier = Verifier(a_b_c=Grant(GAME), der=Grant(SHOP))
    authentication = authenticating(verifier)
    assert await answered(authentication.grant(calling("Bearer a.b.c", certificate=b"der"))) == "game"
    assert await answered(authentication.grant(calling(certificate=b"der"))) == "shop"
    assert await refusal(authentication, calling("Bearer a.b.d", certificate=b"der")) == "token"
    # The bytes of a certificate are no token.
    verifier.grants[b"a.b.e"] = Grant(SHOP)
    assert await answered(authentication.grant(calling(certificate=b"a.b.e"))) == "shop"
    del verifier.grants[b"a.b.e"]
    assert await refusal(authentication, bearing("a.b.e")) == "token"


async def test_an_expired_key_is_refused() -> None:
    keys = {"old": ends(-1), "new": ends(60)}
    authentication = authenticating(Verifier(), table_of(keys=keys))
    assert await refusal(authentication, bearing("old")) == "expired"
    assert await authentication.grant(bearing("new")) == keys["new"]


async def test_a_verified_credential_is_remembered_and_a_refused_one_is_not() -> None:
    verifier = Verifier(a_b_c=ends(60))
    authentication = authenticating(verifier)
    for _ in range(3):
        assert await answered(authentication.grant(bearing("a.b.c"))) == "shop"
    assert len(verifier.asked) == 1
    for _ in range(3):
        assert await refusal(authentication, bearing("a.b.d")) == "token"
    assert len(verifier.asked) == 4


async def test_a_grant_ends_at_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    verifier = Verifier(a_b_c=ends(60))
    authentication = authenticating(verifier)
    await authentication.grant(bearing("a.b.c"))
    monkeypatch.setattr("scorewire_server.engine.access.time", lambda: time() + 60)
    # The verifier is asked again, in case that the credential was extended.
    assert await refusal(authentication, bearing("a.b.c")) == "expired"
    assert len(verifier.asked) == 2
    assert await refusal(authentication, bearing("a.b.c"), again=True) == "expired"
    assert len(verifier.asked) == 2
    del verifier.grants[b"a.b.c"]
    assert await refusal(authentication, bearing("a.b.c")) == "token"


async def test_equal_credentials_share_a_question_also_where_a_caller_goes_away() -> None:
    verifier = Verifier(a_b_c=Grant(SHOP))
    authentication = authenticating(verifier)
    verifier.may_answer.clear()
    asking = [asyncio.create_task(authentication.grant(bearing("a.b.c"))) for _ in range(10)]
    await until(lambda: len(verifier.asked) == 1)
    asking[0].cancel()
    verifier.may_answer.set()
    first, *others = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(first, asyncio.CancelledError)
    assert others == [Grant(SHOP)] * 9
    assert len(verifier.asked) == 1


async def test_the_answer_is_remembered_where_all_callers_have_gone() -> None:
    verifier = Verifier(a_b_c=Grant(SHOP))
    authentication = authenticating(verifier)
    verifier.may_answer.clear()
    asking = asyncio.create_task(authentication.grant(bearing("a.b.c")))
    await until(lambda: len(verifier.asked) == 1)
    asking.cancel()
    await asyncio.wait((asking,))
    verifier.may_answer.set()
    await until(lambda: not authentication._questions)
    assert await answered(authentication.grant(bearing("a.b.c"))) == "shop"
    assert len(verifier.asked) == 1


async def test_open_questions_are_bounded_and_those_of_streams_are_asked_beyond() -> None:
    verifier = Verifier(s_t_u=Grant(SHOP))
    authentication = authenticating(verifier, table_of(failures=Rate(1e6, 1e6)))
    verifier.may_answer.clear()
    asking = [asyncio.create_task(authentication.grant(bearing(f"a.b.{number}"))) for number in range(256)]
    await until(lambda: len(verifier.asked) == 256)
    assert await refusal(authentication, bearing("a.b.c")) == "busy"
    with pytest.raises(TooManyInFlightError, match="answers 7 calls"):
        await authentication.grant(bearing("a.b.c"))
    # Keys need no question.
    assert await authentication.grant(bearing(KEY)) == Grant(SHOP)
    stream = asyncio.create_task(authentication.grant(bearing("s.t.u"), again=True))
    await until(lambda: len(verifier.asked) == 257)
    verifier.may_answer.set()
    assert await stream == Grant(SHOP)
    await asyncio.gather(*asking, return_exceptions=True)
    assert authentication._questions == {}
    assert await refusal(authentication, bearing("a.b.c")) == "token"


async def test_a_new_table_has_everything_verified_again() -> None:
    verifier = Verifier(a_b_c=Grant(SHOP))
    authentication = authenticating(verifier)
    await authentication.grant(bearing("a.b.c"))
    other = Principal("shop")
    authentication.use_access(table_of(principals=(other, GAME), keys={"other": Grant(GAME)}))
    grant = await authentication.grant(bearing("a.b.c"))
    # The principal is that of the table in force.
    assert grant is not None
    assert grant.principal is other
    assert len(verifier.asked) == 2
    assert await refusal(authentication, bearing(KEY)) == "unknown"
    assert await answered(authentication.grant(bearing("other"))) == "game"
    authentication.use_access(table_of(principals=(GAME,), keys={}))
    assert await refusal(authentication, bearing("a.b.c")) == "token"


async def test_an_answer_by_a_former_table_is_asked_for_again() -> None:
    verifier = Verifier(a_b_c=Grant(SHOP))
    authentication = authenticating(verifier)
    verifier.may_answer.clear()
    asking = asyncio.create_task(authentication.grant(bearing("a.b.c")))
    await until(lambda: len(verifier.asked) == 1)
    authentication.use_access(table_of())
    verifier.grants = {}
    verifier.may_answer.set()
    with pytest.raises(UnauthenticatedError):
        await asking
    assert len(verifier.asked) == 2


async def test_failures_of_an_address_are_limited_before_a_question_is_asked() -> None:
    verifier = Verifier(a_b_c=Grant(SHOP), d_e_f=Grant(SHOP))
    authentication = authenticating(verifier, table_of(failures=SLOW))
    # Valid ones do not count.
    for _ in range(10):
        authentication.use_access(table_of(failures=SLOW))
        await authentication.grant(bearing("a.b.c"))
    causes = [await refusal(authentication, bearing(f"x.y.{number}")) for number in range(5)]
    assert causes == ["token"] * 3 + ["address"] * 2
    assert len(verifier.asked) == 13
    assert await refusal(authentication, bearing("d.e.f")) == "address"
    # What was valid by a former table, keys, and other addresses pass.
    authentication.use_access(table_of(failures=SLOW))
    for context in (bearing("a.b.c"), bearing(KEY), bearing("d.e.f", host="10.0.0.2")):
        assert await answered(authentication.grant(context)) == "shop"
    assert await refusal(authentication, bearing("d.e.g")) == "address"


async def test_many_questions_at_one_time_do_not_pass_the_limit_of_an_address() -> None:
    verifier = Verifier()
    authentication = authenticating(verifier, table_of(failures=SLOW))
    verifier.may_answer.clear()
    asking = [asyncio.create_task(authentication.grant(bearing(f"x.y.{number}"))) for number in range(10)]
    await until(lambda: authentication.refused["address"] == 7)
    assert len(verifier.asked) == 3
    verifier.may_answer.set()
    await asyncio.gather(*asking, return_exceptions=True)


def test_an_address_of_ipv6_is_its_network() -> None:
    for one, other, together in [
        ("10.0.0.1", "::ffff:10.0.0.1", True),
        ("10.0.0.1", "10.0.0.2", False),
        ("2001:db8::1", "2001:db8::ffff:0:0:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("::1", "10.0.0.1", False),
        ("", "10.0.0.1", False),
    ]:
        limit = FailureLimit(Rate(1e-3, 1))
        assert limit.take(one)
        assert limit.take(other) == (not together), (one, other)
        limit.give_back(one)
        assert limit.take(one)
        assert not limit.take(one)


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_REMEMBERED", 8)
    monkeypatch.setattr("scorewire_server.engine.reference.failure_limit._MAX_NETWORKS", 8)
    verifier = Verifier(**{f"a_b_{number}": Grant(SHOP) for number in range(20)})
    authentication = authenticating(verifier)
    for number in range(20):
        await authentication.grant(bearing(f"a.b.{number}", host=f"10.0.1.{number}"))
        await refusal(authentication, bearing("x.y.z", host=f"10.0.2.{number}"))
    assert len(authentication._remembered) == len(authentication._failures._networks) == 8
    asked = len(verifier.asked)
    for number in range(12, 20):
        await authentication.grant(bearing(f"a.b.{number}"))
    assert len(verifier.asked) == asked


async def test_a_fault_of_the_verifier_is_logged_and_refuses() -> None:
    authentication = authenticating(Verifier())

    async def fail(_: object) -> Grant | None:
        raise KeyError("a.b.c")

    authentication._verify = fail
    with capture_logs() as logged:
        assert await refusal(authentication, bearing("a.b.c")) == "token"
    assert len(logged) == 1
    assert authentication._questions == {}


async def test_nothing_is_verified_once_it_is_closed() -> None:
    verifier = Verifier()
    authentication = authenticating(verifier)
    verifier.may_answer.clear()
    asking = asyncio.create_task(authentication.grant(bearing("a.b.c")))
    await until(lambda: len(verifier.asked) == 1)
    await authentication.close()
    await asyncio.wait((asking,))
    assert asking.cancelled()
    assert authentication._questions == {}
