from __future__ import annotations

import datetime as dt
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from threading import Barrier, Event, Thread
from typing import Protocol

import pytest

from scorewire_contract.records.identity import new_start
from scorewire_records.postgresql import connection as connections
from scorewire_records.postgresql.connection import Database
from scorewire_records.postgresql.schema import init
from scorewire_records.postgresql.store import PostgresStore
from scorewire_records.shipper import Shipper
from scorewire_records.start_state import StartStates
from scorewire_records.store import SourceRows, StoreError
from tests.scorewire_records.postgresql.faults import Shipping
from tests.scorewire_records.postgresql.server import PostgresServer
from tests.scorewire_records.spools import DAY_US, TIME_US, SpoolWriter, rows_of, source

_SOURCE = source()


def _sequences(database: Database) -> list[int]:
    with database.connect() as connection:
        return [
            row[0] for row in connection.execute("SELECT sequence FROM scorewire.churn ORDER BY 1").fetchall()
        ]


def _blocks(first: int, count: int) -> list[SourceRows]:
    """Blocks of 10 rows."""
    numbers = range(first, first + count)
    return [SourceRows(number, _SOURCE, rows_of(_SOURCE, 10 * number, 10)) for number in numbers]


class _OpenShipper(Protocol):
    def __call__(
        self, records: Path, database: Database, *, keep_stored_seconds: float = 3600
    ) -> Shipper: ...


@pytest.fixture
def shipper_of() -> Iterator[_OpenShipper]:
    """Makes shippers, and closes their stores."""
    with ExitStack() as stack:

        def make(records: Path, database: Database, *, keep_stored_seconds: float = 3600) -> Shipper:
            store = PostgresStore(database)
            stack.callback(store.close)
            states = StartStates(records)
            return Shipper(records, store, states, Event(), keep_stored_seconds=keep_stored_seconds)

        yield make


@pytest.mark.timeout(900)
def test_faults_lose_and_double_nothing(own_server: PostgresServer, tmp_path: Path) -> None:
    init(own_server.database())
    Shipping(own_server, "postgres", tmp_path, seed=20261129).run(faults=8)


class _CutError(Exception):
    """The connection is to be lost here."""


@contextmanager
def _proxy(port: int, *, cut_before: bytes | None = None, cut_after: bytes | None = None) -> Iterator[int]:
    """A proxy that loses the first connection once the client has sent some bytes."""
    stop = Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)

        def forward(source: socket.socket, target: socket.socket, from_client: bool) -> None:
            try:
                while data := source.recv(1 << 16):
                    if from_client and not stop.is_set():
                        if cut_before is not None and cut_before in data:
                            raise _CutError
                        target.sendall(data)
                        if cut_after is not None and cut_after in data:
                            raise _CutError
                    else:
                        target.sendall(data)
            except (OSError, _CutError) as error:
                if isinstance(error, _CutError):
                    stop.set()
            for each in (source, target):
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

        done = Event()
        threads: list[Thread] = []
        sockets: list[socket.socket] = []

        def accept() -> None:
            while not done.is_set():
                try:
                    client, _ = listener.accept()
                except TimeoutError:
                    continue
                client.settimeout(None)
                server = socket.create_connection(("127.0.0.1", port))
                sockets.extend((client, server))
                for arguments in ((client, server, True), (server, client, False)):
                    threads.append(Thread(target=forward, args=arguments))
                    threads[-1].start()

        acceptor = Thread(target=accept)
        acceptor.start()
        try:
            yield listener.getsockname()[1]
        finally:
            done.set()
            acceptor.join()
            for each in sockets:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()
            for each in sockets:
                each.close()


@pytest.mark.parametrize("arrives", [True, False])
def test_a_connection_that_is_lost_at_the_commit(
    shipper_of: _OpenShipper, server: PostgresServer, database: Database, tmp_path: Path, arrives: bool
) -> None:
    commit = b"COMMIT"
    cut = {"cut_after": commit} if arrives else {"cut_before": commit}
    with SpoolWriter(tmp_path) as writer:
        writer.write(_SOURCE, 10)
        writer.write(_SOURCE, 10)
        writer.stop()
    # Everything but the transaction that stores rows was done before.
    other = PostgresStore(database)
    start = new_start()
    other.position(start)
    other.store(start, 0, _blocks(100, 1))
    with _proxy(server.port, **cut) as port:
        lossy = Database(database.parameters | {"port": str(port)})
        shipper = shipper_of(tmp_path, lossy)
        shipper.ship()
        assert "records cannot be stored" in shipper.problems["store"]
        while shipper.ship():
            pass
        assert shipper.problems == {}
    assert _sequences(database) == [*range(20), *range(1000, 1010)]
    other.close()


def test_a_transaction_in_doubt_is_waited_for(server: PostgresServer, database: Database) -> None:
    """The first shipper was killed, but its transaction lives on in the database for a while."""
    start = new_start()
    with database.connect() as doubtful:
        first = PostgresStore(database)
        first.position(start)
        first.store(start, 0, _blocks(0, 1))
        second = PostgresStore(database)
        at_work = Barrier(2)
        found: list[int] = []

        def take_over() -> None:
            at_work.wait()
            found.append(second.position(start))

        thread = Thread(target=take_over)
        with doubtful.transaction():
            doubtful.execute("SELECT FROM scorewire.starts WHERE start = %s FOR UPDATE", [start])
            doubtful.execute("UPDATE scorewire.starts SET next_block = 7 WHERE start = %s", [start])
            thread.start()
            at_work.wait()
            with server.connect(database.parameters["dbname"]) as watching:
                waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                while watching.execute(waiting).fetchone() != (1,):
                    assert thread.is_alive()
            assert found == []
        thread.join()
    assert found == [7]
    for each in (first, second):
        each.close()


def test_a_shipper_that_was_taken_for_dead_stores_nothing(database: Database) -> None:
    start = new_start()
    first, second = PostgresStore(database), PostgresStore(database)
    assert first.position(start) == 0
    first.store(start, 0, _blocks(0, 1))
    assert second.position(start) == 1
    with pytest.raises(StoreError, match="another shipper stores the records of this spool in postgresql://"):
        first.store(start, 0, _blocks(1, 1))
    with pytest.raises(StoreError, match="another shipper"):
        first.position(start)
    second.store(start, 0, _blocks(1, 2))
    # Also with another connection, and with blocks that are not stored yet.
    first.close()
    with pytest.raises(StoreError, match="another shipper"):
        first.store(start, 0, _blocks(3, 1))
    assert _sequences(database) == list(range(30))
    second.close()


def test_shippers_of_different_spools_share_a_database(database: Database, tmp_path: Path) -> None:
    """Both make the same table and partitions at the same moment."""
    at_once = Barrier(4)
    errors: list[Exception] = []

    def run(index: int) -> None:
        store = PostgresStore(database)
        start = new_start()
        try:
            for number in range(5):
                day = TIME_US + number * DAY_US
                kind = replace(_SOURCE, version=f"1.0.{index}", features=(*_SOURCE.features, f"x{number}"))
                store.position(start)
                at_once.wait()
                store.store(start, 0, [SourceRows(number, kind, rows_of(kind, number, 1, time_us=day))])
        except Exception as error:
            errors.append(error)
            at_once.abort()
        finally:
            store.close()

    threads = [Thread(target=run, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert _sequences(database) == sorted(list(range(5)) * 4)


@pytest.mark.parametrize("keep_stored_seconds", [3600, 0])
def test_a_database_that_is_restored_from_an_old_backup(
    shipper_of: _OpenShipper, own_server: PostgresServer, tmp_path: Path, keep_stored_seconds: float
) -> None:
    records = tmp_path / "records"
    database = own_server.database()
    with SpoolWriter(records) as writer:
        init(database)
        shipper = shipper_of(records, database, keep_stored_seconds=keep_stored_seconds)
        for _ in range(2):
            writer.write(_SOURCE, 10)
            writer.close_segment()
        shipper.ship()
        own_server.stop()
        backup = own_server.folder / "backup"
        subprocess.run(["cp", "-a", own_server.data, backup], check=True)
        own_server.start()
        shipper.ship()
        for _ in range(2):
            writer.write(_SOURCE, 10)
            writer.close_segment()
        writer.write(_SOURCE, 10)
        shipper.ship()
        shipper.ship()
        assert shipper.problems == {}
        assert _sequences(database) == list(range(50))

        own_server.stop(signal.SIGQUIT)
        shutil.rmtree(own_server.data)
        backup.rename(own_server.data)
        own_server.start()
        assert _sequences(database) == list(range(20))
        writer.write(_SOURCE, 10)
        writer.stop()
        while shipper.ship() or "store" in shipper.problems:
            pass
        state = StartStates(records).get(writer.start)
        assert state is not None
        if keep_stored_seconds:
            assert _sequences(database) == list(range(60))
            assert "lacked 20 rows" in shipper.problems["restored"]
            assert (state.stored, state.missing) == (60, 0)
            with database.connect() as connection:
                assert connection.execute("SELECT * FROM scorewire.gaps").fetchall() == []
        else:
            assert _sequences(database) == [*range(20), *range(40, 60)]
            assert "20 are lost" in shipper.problems["restored"]
            assert (state.stored, state.missing) == (40, 20)
            with database.connect() as connection:
                gaps = connection.execute("SELECT first_sequence, last_sequence, causes FROM scorewire.gaps")
                assert gaps.fetchall() == [(20, 39, ["set_aside"])]


def test_another_database_gets_what_is_kept(
    shipper_of: _OpenShipper, server: PostgresServer, database: Database, tmp_path: Path
) -> None:
    with SpoolWriter(tmp_path) as writer:
        writer.write(_SOURCE, 10)
        writer.stop()
    shipper_of(tmp_path, database).ship()
    with server.connect() as connection:
        connection.execute("CREATE DATABASE other")
    other = server.database("other")
    init(other)
    shipper = shipper_of(tmp_path, other)
    shipper.ship()
    assert "it was restored from an older backup, or is another one" in shipper.problems["restored"]
    assert _sequences(other) == list(range(10))


def test_a_database_that_is_down_paused_or_full_is_told_and_waited_for(
    shipper_of: _OpenShipper,
    server: PostgresServer,
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with SpoolWriter(tmp_path) as writer:
        writer.write(_SOURCE, 10)
        shipper = shipper_of(tmp_path, database)
        shipper.ship()
        server.stop()
        writer.write(_SOURCE, 10)
        for _ in range(2):
            shipper.ship()
            assert "records cannot be stored: " in shipper.problems["store"]
            assert "postgresql://127.0.0.1" in shipper.problems["store"]
        server.start()
        shipper.ship()
        assert shipper.problems == {}
        assert _sequences(database) == list(range(20))

        writer.write(_SOURCE, 10)
        with monkeypatch.context() as patch:
            patch.setattr(connections, "_SILENCE_SECONDS", -connections.STATEMENT_SECONDS + 0.2)
            with server.paused():
                shipper.ship()
            assert "records cannot be stored: " in shipper.problems["store"]
        shipper.ship()
        assert shipper.problems == {}
        assert _sequences(database) == list(range(30))

        writer.write(_SOURCE, 10)
        with database.connect() as connection:
            # Not a full disk, but it is told like one: class 53 of SQLSTATE.
            connection.execute(
                "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                " RAISE EXCEPTION 'No space left on device' USING ERRCODE = 'disk_full'; END $$"
            )
            connection.execute(
                "CREATE TRIGGER full_disk BEFORE UPDATE ON scorewire.starts EXECUTE FUNCTION full_disk()"
            )
            shipper.ship()
            assert "No space left on device" in shipper.problems["store"]
            connection.execute("DROP TRIGGER full_disk ON scorewire.starts")
        shipper.ship()
        assert shipper.problems == {}
        assert _sequences(database) == list(range(40))
        with database.connect() as connection:
            assert connection.execute("SELECT sum(rows) FROM scorewire.stored").fetchone() == (40,)


def test_days_follow_utc_wherever_the_database_is(database: Database) -> None:
    start = new_start()
    store = PostgresStore(database)
    store.position(start)
    midnight = TIME_US - TIME_US % DAY_US
    store.store(start, 0, [SourceRows(0, _SOURCE, rows_of(_SOURCE, 0, 2, time_us=midnight - 1))])
    with database.connect() as connection:
        connection.execute("SET timezone = 'America/New_York'")
        times = [
            row[0] for row in connection.execute("SELECT time FROM scorewire.churn ORDER BY time").fetchall()
        ]
    assert times[1] == dt.datetime(2096, 11, 30, tzinfo=dt.UTC)
    store.close()
