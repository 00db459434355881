"""Changes of keys, certificates and the access file under load; no call of a caller who follows fails."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import trustme
from grpc import aio

from scorewire_proto.v1 import prediction_pb2
from tests.access_files import Key, write_access
from tests.operations.load import PREDICT, STREAM, Seen, request
from tests.operations.scenarios import publish
from tests.processes import ServerProcess, serving

_TIMEOUT_SECONDS = 60
_CALLERS = 4
# The name in the certificates of a caller that shows no key.
CLIENT = "machine.example"
_PAUSE_SECONDS = 0.02
_NEVER_SHARED = [("grpc.use_local_subchannel_pool", 1)]


@dataclass(slots=True)
class Secrets:
    """What an operator changes: the access file, the server's certificate in `current`, and the client's."""

    folder: Path
    authority: trustme.CA
    principals: dict[str, dict[str, Any]]
    client: trustme.LeafCert

    def write(self) -> None:
        """Write the access file."""
        write_access(self.folder / "access.toml", self.principals, open={"metrics": True})

    def new_certificates(self) -> None:
        """Replace the client's certificate, and the server's in one step, as Kubernetes does."""
        self.client = self.authority.issue_cert(CLIENT)
        place = Path(tempfile.mkdtemp(dir=self.folder))
        made = self.authority.issue_cert("localhost", "127.0.0.1")
        made.cert_chain_pems[0].write_to_path(str(place / "tls.crt"))
        made.private_key_pem.write_to_path(str(place / "tls.key"))
        before = (self.folder / "current").resolve() if (self.folder / "current").exists() else None
        (self.folder / "next").symlink_to(place.name)
        (self.folder / "next").rename(self.folder / "current")
        if before is not None:
            shutil.rmtree(before)


@dataclass(frozen=True, slots=True)
class Guarded:
    """A server with TLS and an access file."""

    server: ServerProcess
    secrets: Secrets

    def reloads(self) -> float:
        """How often the server has taken a new certificate."""
        return self.server.metrics()["scorewire_tls_reloads_total", frozenset({("result", "taken")})]

    def channel(self) -> aio.Channel:
        """A connection of its own, which shows the client's certificate."""
        client = self.secrets.client
        credentials = grpc.ssl_channel_credentials(
            self.secrets.authority.cert_pem.bytes(),
            client.private_key_pem.bytes(),
            client.cert_chain_pems[0].bytes(),
        )
        return aio.secure_channel(self.server.address, credentials, options=_NEVER_SHARED)

    async def until(self, key: Key, *, answered: bool) -> None:
        """Wait until calls with a key are answered, or refused."""
        async with self.channel() as channel:

            async def is_so() -> bool:
                try:
                    await _call(channel, key)
                except aio.AioRpcError as error:
                    if error.code() is not grpc.StatusCode.UNAUTHENTICATED:
                        raise
                    return not answered
                return answered

            await _until(is_so)


@contextmanager
def guarded(folder: Path, engine: str, **principals: dict[str, Any]) -> Iterator[Guarded]:
    """Run a server whose certificate and access file can be replaced."""
    publish(folder / "models", "1.0.0")
    authority = trustme.CA()
    machine = {"predict": ["*"], "certificates": [{"dns": CLIENT}]}
    secrets = Secrets(
        folder / "secret", authority, {**principals, "machine": machine}, authority.issue_cert(CLIENT)
    )
    secrets.write()
    secrets.new_certificates()
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    current = secrets.folder / "current"
    tls = ("--tls-cert", current / "tls.crt", "--tls-key", current / "tls.key")
    access = ("--access", secrets.folder / "access.toml", "--tls-client-ca", folder / "authority.pem")
    with serving(folder, folder / "models", *tls, *access, "--engine", engine) as server:
        yield Guarded(server, secrets)


async def _until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until a condition holds.

    Raises:
        TimeoutError: it does not hold in time.
    """
    async with asyncio.timeout(_TIMEOUT_SECONDS):
        while not await condition():  # noqa: ASYNC110 - it is about another process
            await asyncio.sleep(_PAUSE_SECONDS)


async def _call(channel: aio.Channel, key: Key | None) -> prediction_pb2.PredictResponse:
    """Make a call with a key; without one, the certificate of the connection tells who calls."""
    method: Any = channel.unary_unary(PREDICT)
    metadata = None if key is None else aio.Metadata(*key.metadata)
    data = await method(request(0).SerializeToString(), timeout=_TIMEOUT_SECONDS, metadata=metadata)
    return prediction_pb2.PredictResponse.FromString(data)


@dataclass(slots=True)
class Load:
    """Callers that all show one key, and follow its changes.

    Attributes:
        guarded: the server.
        key: what callers show from now on.
        seen: what became of their calls.
    """

    guarded: Guarded
    key: Key
    seen: Seen = field(default_factory=Seen)
    _shown: Counter[str] = field(default_factory=Counter)
    _over: bool = False

    async def switch(self, key: Key) -> None:
        """Have all callers show another key; returns when no call with the one before is open."""
        self.key = key

        async def is_done() -> bool:
            return set(+self._shown) <= {key.text}

        await _until(is_done)

    async def goes_on(self) -> None:
        """Wait until each kind of caller has surely been answered again."""
        wanted = self.seen.calls + 4 * _CALLERS

        async def is_reached() -> bool:
            return self.seen.calls >= wanted

        await _until(is_reached)

    def callers(self) -> list[Any]:
        """Some callers stay connected, one has streams, and one without a key connects for each call."""
        return [*(self._stay() for _ in range(_CALLERS)), self._come_and_go(), self._stream()]

    def stop(self) -> None:
        """End the callers."""
        self._over = True

    @contextmanager
    def _show(self) -> Iterator[Key]:
        key = self.key
        self._shown[key.text] += 1
        try:
            yield key
        finally:
            self._shown[key.text] -= 1

    async def _stay(self) -> None:
        async with self.guarded.channel() as channel:
            while not self._over:
                with self._show() as key:
                    await self._one(channel, key)
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _come_and_go(self) -> None:
        while not self._over:
            async with self.guarded.channel() as channel:
                await self._one(channel, None)
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _one(self, channel: aio.Channel, key: Key | None) -> None:
        try:
            self.seen.take(await _call(channel, key))
        except aio.AioRpcError as error:
            self.seen.failed[f"{error.code().name}: {error.details()}"] += 1

    async def _stream(self) -> None:
        async with self.guarded.channel() as channel:
            while not self._over:
                with self._show() as key:
                    try:
                        await self._one_stream(channel, key)
                    except aio.AioRpcError as error:
                        self.seen.failed[f"stream: {error.code().name}: {error.details()}"] += 1

    async def _one_stream(self, channel: aio.Channel, key: Key) -> None:
        """Send messages on one stream until its key changes."""
        method: Any = channel.stream_stream(STREAM)
        stream = method(metadata=aio.Metadata(*key.metadata))
        number = 0
        while self.key == key and not self._over:
            number += 1
            message = prediction_pb2.PredictStreamRequest(correlation_id=number, request=request(number))
            await stream.write(message.SerializeToString())
            data = await stream.read()
            if data is aio.EOF:
                break
            answer = prediction_pb2.PredictStreamResponse.FromString(data)
            assert answer.WhichOneof("result") == "response", answer
            self.seen.take(answer.response)
            await asyncio.sleep(_PAUSE_SECONDS)
        await stream.done_writing()
        await _end(stream)


async def _end(stream: Any) -> None:
    """Wait for the end of a stream without further answers.

    Raises:
        AioRpcError: it did not end with OK.
    """
    assert await stream.read() is aio.EOF
    if (code := await stream.code()) is not grpc.StatusCode.OK:
        metadata = await stream.initial_metadata(), await stream.trailing_metadata()
        raise aio.AioRpcError(code, *metadata, details=await stream.details())


@asynccontextmanager
async def under_keyed_load(guarded: Guarded, key: Key) -> AsyncIterator[Load]:
    """Callers that call while the block runs."""
    load = Load(guarded, key)
    async with asyncio.TaskGroup() as tasks:
        for caller in load.callers():
            tasks.create_task(caller)
        try:
            await load.goes_on()
            yield load
            await load.goes_on()
        finally:
            load.stop()


async def rotate(folder: Path, engine: str, *, keys: int, certificates: int, files: int) -> Seen:
    """Replace the callers' key, the certificate and other parts of the access file, in turn.

    Returns:
        What became of the calls; all of them must have been answered.
    """
    first = Key.make()
    shop: dict[str, Any] = {"predict": ["*"], "keys": [first.entry()]}
    with guarded(folder, engine, shop=shop) as found:
        async with under_keyed_load(found, first) as load:
            for number in range(max(keys, certificates, files)):
                if number < keys:
                    await _rotate_key(found, load)
                if number < certificates:
                    await _rotate_certificate(found)
                if number < files:
                    await _change_file(found)
        assert not load.seen.failed, load.seen.failed
        assert not load.seen.wrong
        return load.seen


async def _rotate_key(guarded: Guarded, load: Load) -> None:
    """Add a key, have the callers switch to it, and remove the one before."""
    old, new = load.key, Key.make()
    guarded.secrets.principals["shop"]["keys"] = [old.entry(), new.entry()]
    guarded.secrets.write()
    await guarded.until(new, answered=True)
    await load.switch(new)
    guarded.secrets.principals["shop"]["keys"] = [new.entry()]
    guarded.secrets.write()
    await guarded.until(old, answered=False)


async def _rotate_certificate(guarded: Guarded) -> None:
    """Replace the certificates, and wait until new connections see that of the server."""
    before = guarded.reloads()

    async def is_taken() -> bool:
        return await asyncio.to_thread(guarded.reloads) > before

    guarded.secrets.new_certificates()
    await _until(is_taken)


async def _change_file(guarded: Guarded) -> None:
    """Replace another principal, and change the limits of the callers."""
    other = Key.make()
    guarded.secrets.principals["other"] = {"predict": ["*"], "keys": [other.entry()]}
    calls = guarded.secrets.principals["shop"].get("calls_per_second", 100_000)
    guarded.secrets.principals["shop"]["calls_per_second"] = calls + 1
    guarded.secrets.write()
    await guarded.until(other, answered=True)


async def revoke(folder: Path, engine: str, *, times: int) -> Seen:
    """Take the key of one caller away again and again, while others call.

    Its next calls must be refused, and its open stream must end. The calls of the others must all be
    answered; returns what became of them.
    """
    steady = Key.make()
    everything: dict[str, Any] = {"predict": ["*"]}
    with guarded(folder, engine, steady={**everything, "keys": [steady.entry()]}) as found:
        async with under_keyed_load(found, steady) as load:
            for _ in range(times):
                key = Key.make()
                found.secrets.principals["leaving"] = {**everything, "keys": [key.entry()]}
                found.secrets.write()
                await found.until(key, answered=True)
                async with found.channel() as channel:
                    method: Any = channel.stream_stream(STREAM)
                    stream = method(metadata=aio.Metadata(*key.metadata))
                    message = prediction_pb2.PredictStreamRequest(correlation_id=1, request=request(1))
                    await stream.write(message.SerializeToString())
                    await stream.read()
                    del found.secrets.principals["leaving"]
                    found.secrets.write()
                    await found.until(key, answered=False)
                    async with asyncio.timeout(_TIMEOUT_SECONDS):
                        code = await stream.code()
                    assert code is grpc.StatusCode.UNAUTHENTICATED, (code, await stream.details())
        assert not load.seen.failed, load.seen.failed
        return load.seen
