"""The files of who may call, as they change while a server runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from scorewire_contract.service.start import StartError
from scorewire_server.access import access as access_module
from scorewire_server.access.access import Access
from scorewire_server.access.access_file import Open
from scorewire_server.engine.access import AccessTable, Credential
from scorewire_server.engine.peer import Peer
from scorewire_server.settings import Settings
from tests.forgeries.world import API_KEY, SHOP, honest_token, key_set, keys, write_world
from tests.scorewire_server.access.authorities import DAY, NOW, authority
from tests.scorewire_server.access.issuing import grant_of_key, key_set_of

SECONDS_BETWEEN_LOOKS = access_module._SECONDS_BETWEEN_LOOKS
REFUSED = "access not replaced, what was before stays"


class _World:
    """The access of a folder, the tables that an engine got, and the log."""

    def __init__(self, folder: Path, **settings: Path) -> None:
        self.path = write_world(folder)
        self.text = self.path.read_text()
        self.tables: list[AccessTable] = []
        self.access = Access(Settings(access=self.path, **settings), self.tables.append)

    async def valid(self, token: bytes) -> bool:
        return await self.access.verify(Credential("token", token, Peer("192.0.2.7:4711"))) is not None

    @asynccontextmanager
    async def followed(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.access.follow())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def until(self, true: Callable[[], bool]) -> None:
        while not true():  # noqa: ASYNC110 - of many conditions
            await asyncio.sleep(0.005)


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks follow each other fast."""
    monkeypatch.setattr(access_module, "_SECONDS_BETWEEN_LOOKS", 0.01)


@pytest.fixture
def world(tmp_path: Path) -> _World:
    return _World(tmp_path)


def test_a_change_is_in_force_within_a_second() -> None:
    # After two looks, with time for the looks themselves.
    assert 2 * SECONDS_BETWEEN_LOOKS <= 0.5


def test_the_table_is_there_before_anything_runs(world: _World) -> None:
    assert set(world.access.table.principals) == {SHOP, "stats", "other"}
    assert grant_of_key(world.access.table, API_KEY.encode()) is not None
    assert world.access.open == Open()
    assert world.tables == []


@pytest.mark.parametrize("form", ["in place", "renamed"])
async def test_a_key_that_is_removed_is_gone_from_the_next_table(world: _World, form: str) -> None:
    begin = world.text.index(f"[[principals.{SHOP}.keys]]")
    text = world.text[:begin] + world.text[world.text.index(f"[[principals.{SHOP}.tokens]]") :]
    async with world.followed():
        with capture_logs() as logs:
            if form == "renamed":
                new = world.path.with_name("new")
                new.write_text(text)
                new.replace(world.path)
            else:
                world.path.write_text(text)
            await world.until(lambda: bool(world.tables))
        assert world.tables == [world.access.table]
        assert grant_of_key(world.access.table, API_KEY.encode()) is None
        assert set(world.access.table.principals) == {SHOP, "stats", "other"}
        assert [line["event"] for line in logs] == ["access replaced"]
        assert (world.access.replaced, world.access.refused) == (1, 0)


async def test_a_table_that_the_engine_did_not_take_is_given_again(tmp_path: Path) -> None:
    world = _World(tmp_path)
    given: list[AccessTable] = []

    def take(table: AccessTable) -> None:
        given.append(table)
        if len(given) == 1:
            raise RuntimeError("not now")

    world.access = Access(Settings(access=world.path), take)
    async with world.followed():
        with capture_logs():
            world.path.write_text(world.text.replace(f"principals.{SHOP}", "principals.renamed"))
            await world.until(lambda: len(given) == 2)
    assert given == [world.access.table] * 2
    assert "renamed" in world.access.table.principals


async def test_a_broken_file_changes_nothing_and_is_logged_once(world: _World) -> None:
    async with world.followed():
        with capture_logs() as logs:
            world.path.write_text(world.text.replace("predict", "predcit"))
            await world.until(lambda: world.access.refused == 1)
            await asyncio.sleep(0.05)
        assert [line["event"] for line in logs] == [REFUSED]
        assert "did you mean 'predict'?" in logs[0]["reason"]
        assert world.tables == []
        assert await world.valid(honest_token(time.time()))
        with capture_logs() as logs:
            world.path.write_text("[")
            await world.until(lambda: world.access.refused == 2)
            world.path.unlink()
            await world.until(lambda: world.access.refused == 3)
            world.path.write_text("[open]\nmetrics = true")
            await world.until(lambda: bool(world.tables))
        assert [line["event"] for line in logs] == [REFUSED, REFUSED, "access replaced"]
        assert world.access.open.metrics
        assert not await world.valid(honest_token(time.time()))


async def test_a_file_that_is_broken_for_one_look_is_not_logged(world: _World) -> None:
    with capture_logs() as logs:
        world.path.write_text("[")
        world.access._apply(*world.access._look(asked=False), asked=False)
        world.path.write_text("[open]")
        for _ in range(2):
            world.access._apply(*world.access._look(asked=False), asked=False)
    assert [line["event"] for line in logs] == ["access replaced"]
    assert world.access.refused == 0


async def test_whoever_asks_for_a_look_gets_the_result_in_the_log(
    world: _World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access_module, "_SECONDS_BETWEEN_LOOKS", 1000)
    async with world.followed():
        for text, event in (
            (world.text, "access not changed"),
            (world.text + "[open]\n", "access replaced"),
            ("[", REFUSED),
            ("[", REFUSED),
            (world.text, "access replaced"),
        ):
            world.path.write_text(text)
            with capture_logs() as logs:
                world.access.look_now()
                await world.until(lambda logs=logs: bool(logs))
            assert [line["event"] for line in logs] == [event]


async def test_keys_of_a_file_are_followed_and_the_engine_forgets_tokens(world: _World) -> None:
    path = world.path.with_name("keys.json")
    now = time.time()
    async with world.followed():
        assert await world.valid(honest_token(now, keys()["ec"]))
        path.write_bytes(key_set_of("ed"))
        await world.until(lambda: bool(world.tables))
        assert world.tables == [world.access.table]
        assert not await world.valid(honest_token(now, keys()["ec"]))
        assert await world.valid(honest_token(now, keys()["ed"]))
        with capture_logs() as logs:
            path.write_text("no keys")
            await world.until(lambda: world.access.refused == 1)
        assert [line["event"] for line in logs] == [
            "keys of https://login.example/ not replaced, what was before stays"
        ]
        assert await world.valid(honest_token(now, keys()["ed"]))
        # A key set that is broken does not keep the access file from changing.
        world.path.write_text("[open]\nmetrics = true")
        await world.until(lambda: world.access.open.metrics)


async def test_a_new_issuer_whose_keys_cannot_be_read_is_taken_and_reported(world: _World) -> None:
    async with world.followed():
        with capture_logs() as logs:
            world.path.write_text(world.text.replace('jwks = "keys.json"', 'jwks = "later.json"'))
            await world.until(lambda: world.access.refused == 1)
        assert logs[0]["event"] == "access replaced"
        assert not await world.valid(honest_token(time.time()))
        world.path.with_name("later.json").write_bytes(key_set())
        await world.until(lambda: world.access.replaced == 2)
        assert await world.valid(honest_token(time.time()))


async def test_revocation_lists_are_followed(tmp_path: Path) -> None:
    ca = authority("CA")
    authorities, lists = tmp_path / "ca.pem", tmp_path / "crl.pem"
    authorities.write_bytes(ca.pem)
    lists.write_bytes(ca.revoke(1))
    world = _World(tmp_path, tls_client_ca=authorities, tls_client_crl=lists)
    async with world.followed():
        lists.write_bytes(ca.revoke(1, 77))
        await world.until(lambda: bool(world.tables))
        assert world.access._rules.revocations.serials == {ca.certificate.subject: {1, 77}}
        with capture_logs() as logs:
            lists.write_text("")
            await world.until(lambda: world.access.refused == 1)
        assert "has no revocation list" in logs[0]["reason"]
        assert world.access._rules.revocations.serials == {ca.certificate.subject: {1, 77}}


def test_a_list_that_is_out_of_date_is_reported_once(tmp_path: Path) -> None:
    ca = authority("CA")
    authorities, lists = tmp_path / "ca.pem", tmp_path / "crl.pem"
    authorities.write_bytes(ca.pem)
    lists.write_bytes(ca.revoke(1, next_update=NOW - 3650 * DAY + DAY))
    with capture_logs() as logs:
        world = _World(tmp_path, tls_client_ca=authorities, tls_client_crl=lists)
        for _ in range(3):
            world.access._apply(*world.access._look(asked=False), asked=False)
    assert [line["event"] for line in logs] == ["a revocation list is out of date and still applies"]


def test_what_cannot_be_used_at_the_start_ends_it(tmp_path: Path) -> None:
    path = write_world(tmp_path)
    text = path.read_text()
    good = Settings(access=path)
    path.write_text(text.replace("predict", "predcit", 1))
    with pytest.raises(StartError, match=rf"--access {path}: \[principals.shop\] has an unknown entry"):
        Access(good, lambda _: None)
    path.unlink()
    with pytest.raises(StartError, match=f"--access {path} cannot be read: No such file"):
        Access(good, lambda _: None)
    path.write_text(text)
    (tmp_path / "keys.json").write_text("{}")
    with pytest.raises(StartError, match=f"--access {tmp_path / 'keys.json'}: this is no key set"):
        Access(good, lambda _: None)
    (tmp_path / "keys.json").write_bytes(key_set())
    (tmp_path / "ca.pem").write_bytes(authority("CA").pem)
    (tmp_path / "crl.pem").write_text("")
    with pytest.raises(StartError, match="--tls-client-crl has no revocation list"):
        Access(
            Settings(access=path, tls_client_ca=tmp_path / "ca.pem", tls_client_crl=tmp_path / "crl.pem"),
            lambda _: None,
        )


async def test_a_hundred_changes_leave_no_moment_without_the_principal(world: _World) -> None:
    """Renamed into place and written in place, with a token and a key that are always valid."""
    token = honest_token(time.time())
    bad: list[str] = []
    async with world.followed():
        for number in range(100):
            text = f"# {number}\n{world.text}"
            if number % 2:
                new = world.path.with_name("new")
                new.write_text(text)
                new.replace(world.path)
            else:
                world.path.write_text(text)
            if not await world.valid(token) or grant_of_key(world.access.table, API_KEY.encode()) is None:
                bad.append(f"after change {number}")
            await asyncio.sleep(0.01)
        await world.until(lambda: world.access.replaced > 0)
    assert bad == []
    assert world.access.refused == 0


async def test_a_remote_issuer_is_fetched_by_itself_and_counted(tmp_path: Path) -> None:
    requests = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await reader.readuntil(b"\r\n\r\n"))
        content = key_set()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(content), content))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    world = _World(tmp_path)
    async with world.followed():
        world.path.write_text(
            world.text.replace('jwks = "keys.json"', f'jwks = "http://127.0.0.1:{port}/jwks"')
        )
        issuer = "https://login.example/"
        await world.until(lambda: world.access.fetches.get((issuer, "ok")) == 1)
        assert world.access.fetches == {(issuer, "ok"): 1, (issuer, "failed"): 0}
        for key_id in ("rsa", "ec", "ed"):
            assert await world.valid(honest_token(time.time(), keys()[key_id]))
        assert len(requests) == 1
        # A change of something else keeps the keys, and so does one of how long they are good for.
        world.path.write_text(world.path.read_text() + "[open]\nmetrics = true\n")
        await world.until(lambda: world.access.open.metrics)
        assert await world.valid(honest_token(time.time()))
        world.path.write_text(world.path.read_text().replace("leeway_seconds = 30", "leeway_seconds = 31"))
        await world.until(lambda: world.access.replaced == 3)
        assert await world.valid(honest_token(time.time()))
        assert len(requests) == 1
        # The counts stay when the issuer goes.
        world.path.write_text("[open]")
        await world.until(lambda: not world.access.table.principals)
        assert world.access.fetches == {(issuer, "ok"): 1, (issuer, "failed"): 0}
    server.close()


async def test_a_link_to_another_folder_is_a_change(tmp_path: Path) -> None:
    """As Kubernetes replaces the files of a ConfigMap: all at once, with a link to another folder."""
    for number, name in enumerate(("a", "b")):
        (tmp_path / name).mkdir()
        text = write_world(tmp_path / name).read_text()
        (tmp_path / name / "access.toml").write_text(text if number == 0 else text + "[open]\nmetrics = true")
    link = tmp_path / "data"
    link.symlink_to("a")
    tables: list[AccessTable] = []
    access = Access(Settings(access=link / "access.toml"), tables.append)
    task = asyncio.create_task(access.follow())
    new = tmp_path / "new"
    new.symlink_to("b")
    new.replace(link)
    while not access.open.metrics:  # noqa: ASYNC110 - the file has no events
        await asyncio.sleep(0.005)
    assert tables[-1] is access.table
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
