"""A bad network between a client and an API server, as a fixture.

    client ── line (TCP) ── load balancer (HTTP) ── API server

The line is slow, falls silent and resets connections; it passes TLS through untouched. The load balancer terminates TLS,
presents a certificate of its own, and ends answers cleanly: the chunked body is well-formed, and its rest is missing.
Both can be driven by command (`silence`, `reset`, `end`, `mute`), or by chance with a seed (`Chance`).

`Relay` beside this is the plain form: one target, cut and mended by command.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime as dt
import ipaddress
import math
import random
import re
import socket
import ssl
import struct
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import aiohttp
import yaml
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from support.kube import Kube

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

_PIECE = 1 << 14
#: Pieces that are under way on the line at a time.
_UNDER_WAY = 256
#: A proxy rewrites these headers, which describe one connection and not the answer.
_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "host", "content-encoding-was", "te", "upgrade"})


@dataclass(frozen=True)
class Chance:
    """How long a connection or an answer lives before a fault strikes it.

    Each is the mean of an exponential distribution, in seconds; infinite for never.
    """

    seed: int = 0
    silent_s: float = math.inf
    reset_s: float = math.inf
    end_s: float = math.inf

    def draw(self, kind: str, number: int, mean_s: float) -> float:
        """Return when a fault strikes, in seconds; the same for a seed, a kind and a number."""
        if math.isinf(mean_s):
            return mean_s
        return random.Random(f"{self.seed} {kind} {number}").expovariate(1 / mean_s)


class Network:
    """Leads requests to the API server of a kubeconfig; a context manager, with a thread of its own.

    Parameters
    ----------
    kubeconfig : path
    folder : path
        The kubeconfig that leads through the network is written here.
    balanced : bool, optional
        Whether a load balancer terminates TLS. It shows the API server the kubeconfig's credentials, so its clients need none.

    Attributes
    ----------
    kubeconfig : Path
        The one for clients.
    port : int
        Where the line begins.
    round_trip_s : float
        Latency that is added, for both ways together.
    bytes_per_s : float
        Bandwidth, shared by all connections; each way has as much.
    chance : Chance
        The faults of connections and answers that begin from now on.
    struck : Counter
        How often each fault struck.
    """

    def __init__(self, kubeconfig: str | Path, folder: Path, *, balanced: bool = False) -> None:
        self.kubeconfig = folder / "network-kubeconfig"
        self._upstream, self._folder, self.balanced = Path(kubeconfig), folder, balanced
        self.round_trip_s, self.bytes_per_s = 0.0, math.inf
        self.chance = Chance()
        self.struck: Counter[str] = Counter()
        self.port = 0
        self._target: tuple[str, int] | None = None
        self._loop = asyncio.new_event_loop()
        self._line: _Line
        self._balancer: _Balancer | None = None
        self._stack = contextlib.AsyncExitStack()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    @classmethod
    def to(cls, port: int) -> Self:
        """Make one whose line leads to a port of this machine, and is at `port`: to a Jupyter server, for instance."""
        one = cls(Path(), Path())
        one._target = ("127.0.0.1", port)
        return one

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._begin())
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._stack.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, what: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(120)

    async def _begin(self) -> None:
        if self._target is not None:
            await self._serve(self._target)
            return
        config = yaml.safe_load(self._upstream.read_text())
        named = {item["name"]: item["context"] for item in config["contexts"]}
        context = named[config["current-context"]]
        (cluster,) = (item["cluster"] for item in config["clusters"] if item["name"] == context["cluster"])
        server = urlsplit(cluster["server"])
        target, scheme = (server.hostname or "", server.port or 443), server.scheme
        user = next(item["user"] for item in config["users"] if item["name"] == context["user"])
        if self.balanced:
            self._balancer = _Balancer(self, Kube(self._upstream))
            target = await self._stack.enter_async_context(self._balancer.serving(self._folder))
            scheme, user = "https", {}
            cluster = {"certificate-authority-data": base64.b64encode(self._balancer.certificate).decode()}
        port = await self._serve(target)
        cluster = cluster | {"server": f"{scheme}://127.0.0.1:{port}{'' if self.balanced else server.path}"}
        found = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "network",
            "clusters": [{"name": "network", "cluster": cluster}],
            "users": [{"name": "network", "user": user}],
            "contexts": [{"name": "network", "context": {**context, "cluster": "network", "user": "network"}}],
        }
        self.kubeconfig.write_text(yaml.safe_dump(found))

    async def _serve(self, target: tuple[str, int]) -> int:
        self._line = _Line(self, target)
        self.port = await self._stack.enter_async_context(self._line.serving())
        return self.port

    # ------------------------------------------------------------ faults by command

    def silence(self, path: str | None = None) -> int:
        """Have every connection that is open now carry nothing any more, without FIN or RST; return how many.

        Parameters
        ----------
        path : str, optional
            Only the answers under way to requests whose `METHOD path?query` matches this regular expression.
        """
        return int(self._call(self._line.silence) if path is None else self._balanced("silent answer", path))

    def reset(self) -> int:
        """Reset every connection that is open now, in the middle of the next bytes of each; return how many."""
        return int(self._call(self._line.reset))

    def end(self, path: str = "") -> int:
        """End every answer under way whose request matches, cleanly and wherever it is; return how many."""
        return self._balanced("clean end", path)

    def mute(self, path: str) -> None:
        """Answer nothing to coming requests whose `METHOD path?query` matches; "" ends this."""
        assert self._balancer is not None
        self._balancer.muted = path

    def _balanced(self, fault: str, path: str) -> int:
        assert self._balancer is not None
        return int(self._call(self._balancer.strike, fault, path))

    def asked(self, path: str) -> int:
        """Return how many requests have come so far whose `METHOD path?query` matches."""
        assert self._balancer is not None
        return sum(bool(re.search(path, one)) for one in tuple(self._balancer.requests))

    def _call(self, what: Callable[..., Any], *arguments: Any) -> Any:
        async def call() -> Any:
            return what(*arguments)

        return self._run(call())


class _Connection:
    """One connection through the line: two ways, which share their fate."""

    def __init__(self, network: Network, number: int) -> None:
        chance = network.chance
        self.network = network
        self.silent = asyncio.Event()
        self.resetting = False
        self.dead = asyncio.Event()
        self.timers = [
            asyncio.get_running_loop().call_later(after, act)
            for kind, mean, act in (
                ("silent", chance.silent_s, self.fall_silent),
                ("reset", chance.reset_s, self.reset),
            )
            if not math.isinf(after := chance.draw(kind, number, mean))
        ]

    def fall_silent(self) -> None:
        if not self.silent.is_set() and not self.dead.is_set():
            self.network.struck["silent connection"] += 1
            self.silent.set()

    def reset(self) -> None:
        if not self.silent.is_set() and not self.dead.is_set():
            self.resetting = True

    def close(self) -> None:
        for timer in self.timers:
            timer.cancel()
        self.dead.set()


class _Line:
    """The TCP part."""

    def __init__(self, network: Network, target: tuple[str, int]) -> None:
        self._network, self._target = network, target
        self._open: set[_Connection] = set()
        self._count = 0
        self._free = {True: 0.0, False: 0.0}  # when each way has carried what it was given

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[int]:
        """Accept connections while the block runs; give the port."""
        tasks: set[asyncio.Task[None]] = set()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(self._carry(reader, writer))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def silence(self) -> int:
        before = self._network.struck["silent connection"]
        for one in self._open:
            one.fall_silent()
        return self._network.struck["silent connection"] - before

    def reset(self) -> int:
        for one in self._open:
            one.reset()
        return sum(one.resetting for one in self._open)

    async def _carry(self, near: asyncio.StreamReader, near_out: asyncio.StreamWriter) -> None:
        self._count += 1
        connection = _Connection(self._network, self._count)
        self._open.add(connection)
        far_out = None
        try:
            far, far_out = await asyncio.open_connection(*self._target)
            ways = [
                asyncio.create_task(self._way(connection, near, far_out, up=True)),
                asyncio.create_task(self._way(connection, far, near_out, up=False)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        except OSError:
            pass  # the API server is away: so is the client's connection
        finally:
            connection.close()
            self._open.discard(connection)
            for writer in (near_out, far_out):
                if writer is not None:
                    if connection.resetting:
                        _reset_on_close(writer)
                        writer.transport.abort()
                    writer.close()

    async def _way(
        self, connection: _Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, up: bool
    ) -> None:
        """Carry one way until an end of it; what is on its way keeps its order and its distance."""
        loop = asyncio.get_running_loop()
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_UNDER_WAY)

        async def take() -> None:
            while data := await reader.read(_PIECE):
                now = loop.time()
                self._free[up] = max(self._free[up], now) + len(data) / self._network.bytes_per_s
                await under_way.put((self._free[up] + self._network.round_trip_s / 2, data))
            await under_way.put((loop.time() + self._network.round_trip_s / 2, b""))

        taking = asyncio.create_task(take())
        try:
            while True:
                due, data = await under_way.get()
                await asyncio.sleep(max(due - loop.time(), 0))
                if connection.silent.is_set():
                    # A broken path delivers neither data nor an end. It goes when its client gives up.
                    await asyncio.wait([taking]) if up else await asyncio.Event().wait()
                    return
                if connection.resetting and not up:
                    self._network.struck["reset inside a chunk"] += 1
                    writer.write(data[: len(data) // 2])
                    with contextlib.suppress(OSError):
                        await writer.drain()
                    return
                if not data:
                    return
                writer.write(data)
                await writer.drain()
        except OSError:
            return
        finally:
            taking.cancel()
            await asyncio.gather(taking, return_exceptions=True)


def _reset_on_close(writer: asyncio.StreamWriter) -> None:
    """Have the kernel send RST instead of FIN."""
    connection = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class _Balancer:
    """The HTTP part: a reverse proxy that ends answers cleanly."""

    def __init__(self, network: Network, upstream: Kube) -> None:
        self._network, self._upstream = network, upstream
        self.certificate = b""
        self.requests: list[str] = []
        self.muted = ""
        self._answers: set[_Answer] = set()
        self._session: aiohttp.ClientSession

    @contextlib.asynccontextmanager
    async def serving(self, folder: Path) -> AsyncIterator[tuple[str, int]]:
        """Serve while the block runs; give the address."""
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.certificate, pem = _certificate()
        file = folder / "balancer.pem"
        file.write_bytes(pem)
        tls.load_cert_chain(file)
        verify = self._upstream.tls
        connector = aiohttp.TCPConnector(limit=0, ssl=verify if isinstance(verify, ssl.SSLContext) else False)
        self._session = aiohttp.ClientSession(
            connector=connector, auto_decompress=False, timeout=aiohttp.ClientTimeout(total=None)
        )
        app = web.Application(client_max_size=1 << 24)
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        try:
            await site.start()
            yield runner.addresses[0][:2]
        finally:
            await runner.cleanup()
            await self._session.close()
            self._upstream.close()

    def strike(self, fault: str, path: str) -> int:
        found = [one for one in self._answers if re.search(path, one.asked) and not one.fault]
        for one in found:
            one.strike(fault)
        return len(found)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        one = _Answer(f"{request.method} {request.raw_path}")
        self.requests.append(one.asked)
        if self.muted and re.search(self.muted, one.asked):
            await self._say_nothing()
        headers = {k: v for k, v in request.headers.items() if k.lower() not in _HOP}
        if authorization := self._upstream.client.headers.get("Authorization"):
            headers["Authorization"] = authorization
        upstream = self._session.request(
            request.method, self._upstream.server + request.raw_path, headers=headers, data=await request.read() or None,
            skip_auto_headers=("Accept-Encoding", "User-Agent", "Accept", "Content-Type"),
        )  # fmt: skip
        self._answers.add(one)
        chance = self._network.chance
        after = chance.draw("end", len(self.requests), chance.end_s)
        try:
            async with upstream as answer:
                out = web.StreamResponse(
                    status=answer.status, headers=[(k, v) for k, v in answer.headers.items() if k.lower() not in _HOP]
                )
                await out.prepare(request)
                # One that tells its length cannot be ended properly before it.
                if not math.isinf(after) and "Content-Length" not in answer.headers:
                    asyncio.get_running_loop().call_later(after, one.strike, "clean end")
                await self._pass_on(answer.content, out, one)
                await out.write_eof()
                return out
        except (aiohttp.ClientError, OSError):
            # One side is gone: so is the other's connection.
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        finally:
            self._answers.discard(one)

    async def _pass_on(self, content: aiohttp.StreamReader, out: web.StreamResponse, one: _Answer) -> None:
        while True:
            reading, struck = asyncio.ensure_future(content.readany()), asyncio.ensure_future(one.struck.wait())
            try:
                await asyncio.wait([reading, struck], return_when=asyncio.FIRST_COMPLETED)
                chunk = reading.result() if reading.done() else b""
            finally:
                reading.cancel()
                struck.cancel()
            if one.fault == "silent answer":
                await self._say_nothing()
            if reading.done() and not chunk and not reading.cancelled():
                return
            if one.fault == "clean end":
                self._network.struck[one.fault] += 1
                # Anywhere in a line: a load balancer knows nothing of lines.
                await out.write(chunk[: random.Random(len(chunk)).randrange(len(chunk) + 1)])
                return
            await out.write(chunk)

    async def _say_nothing(self) -> None:
        self._network.struck["silent answer"] += 1
        await asyncio.Event().wait()


class _Answer:
    """An answer under way."""

    def __init__(self, asked: str) -> None:
        self.asked, self.fault, self.struck = asked, "", asyncio.Event()

    def strike(self, fault: str) -> None:
        self.fault = self.fault or fault
        self.struck.set()


def _certificate() -> tuple[bytes, bytes]:
    """Make a certificate for 127.0.0.1; return it, and it with its key, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a load balancer")])
    now = dt.datetime.now(dt.UTC)
    public = key.public_key()
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    return pem, secret + pem
