"""A bad network between a client and an API server, for tests.

    client ── line (TCP) ── load balancer (HTTP) ── API server

The line is slow, falls silent, and resets connections; it passes TLS through unchanged. The load balancer terminates TLS,
presents its own certificate, and ends answers cleanly: the chunked body is well-formed, but incomplete. A test injects
faults by methods (`silence`, `reset`, `end_answers`, `mute`), or at random with a seed (`FaultRates`).

`support.relay.Relay` is simpler: a TCP relay to one port that a test cuts and restores.
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
#: Number of pieces in transit on the line at a time.
_IN_TRANSIT = 256
#: Headers that describe one connection and not the answer, so a proxy does not pass them on.
_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "host", "content-encoding-was", "te", "upgrade"})


@dataclass(frozen=True)
class FaultRates:
    """Random faults: the mean time until each kind hits a connection or an answer.

    The times have an exponential distribution (means in seconds); an infinite mean disables the fault.
    """

    seed: int = 0
    silent_s: float = math.inf
    reset_s: float = math.inf
    end_s: float = math.inf

    def draw(self, kind: str, number: int, mean_s: float) -> float:
        """Return the time until a fault (seconds); it depends only on the seed, the kind and the number."""
        if math.isinf(mean_s):
            return mean_s
        return random.Random(f"{self.seed} {kind} {number}").expovariate(1 / mean_s)


class Network:
    """A bad network to the API server of a kubeconfig; a context manager that runs in its own thread.

    Parameters
    ----------
    kubeconfig : path
    folder : path
        Folder for the kubeconfig that leads through the network.
    balanced : bool, optional
        Whether a load balancer terminates TLS. It sends the kubeconfig's credentials to the API server, so clients need none.

    Attributes
    ----------
    kubeconfig : Path
        The kubeconfig for clients.
    port : int
        TCP port of the line.
    round_trip_s : float
        Added latency for both directions together (seconds).
    bytes_per_s : float
        Bandwidth of each direction, shared by all connections.
    fault_rates : FaultRates
        Random faults of connections and answers that begin from now on.
    injected : Counter
        How many times each fault was injected.
    """

    def __init__(self, kubeconfig: str | Path, folder: Path, *, balanced: bool = False) -> None:
        self.kubeconfig = folder / "network-kubeconfig"
        self._upstream, self._folder, self.balanced = Path(kubeconfig), folder, balanced
        self.round_trip_s, self.bytes_per_s = 0.0, math.inf
        self.fault_rates = FaultRates()
        self.injected: Counter[str] = Counter()
        self.port = 0
        self._target: tuple[str, int] | None = None
        self._loop = asyncio.new_event_loop()
        self._line: _Line
        self._balancer: _Balancer | None = None
        self._stack = contextlib.AsyncExitStack()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    @classmethod
    def to_port(cls, port: int) -> Self:
        """Return a network to a port of this machine, such as a Jupyter server's; clients connect to the attribute `port`."""
        network = cls(Path(), Path())
        network._target = ("127.0.0.1", port)
        return network

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._stack.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(120)

    async def _start(self) -> None:
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
        network_config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "network",
            "clusters": [{"name": "network", "cluster": cluster}],
            "users": [{"name": "network", "user": user}],
            "contexts": [{"name": "network", "context": {**context, "cluster": "network", "user": "network"}}],
        }
        self.kubeconfig.write_text(yaml.safe_dump(network_config))

    async def _serve(self, target: tuple[str, int]) -> int:
        self._line = _Line(self, target)
        self.port = await self._stack.enter_async_context(self._line.serving())
        return self.port

    # ------------------------------------------------------------ faults by method

    def silence(self, path: str | None = None) -> int:
        """Make the open connections silent, without FIN or RST; return how many.

        Parameters
        ----------
        path : str, optional
            Affect only answers to requests whose `METHOD path?query` matches this regular expression.
        """
        return int(self._call(self._line.silence) if path is None else self._inject_in_answers("silent answer", path))

    def reset(self) -> int:
        """Reset each open connection in the middle of its next bytes; return how many."""
        return int(self._call(self._line.reset))

    def end_answers(self, path: str = "") -> int:
        """End the current answers to matching requests, cleanly but at any byte; return how many."""
        return self._inject_in_answers("clean end", path)

    def mute(self, path: str) -> None:
        """Do not answer future requests whose `METHOD path?query` matches; "" ends this."""
        assert self._balancer is not None
        self._balancer.muted = path

    def _inject_in_answers(self, fault: str, path: str) -> int:
        assert self._balancer is not None
        return int(self._call(self._balancer.inject, fault, path))

    def request_count(self, path: str) -> int:
        """Return the number of requests so far whose `METHOD path?query` matches."""
        assert self._balancer is not None
        return sum(bool(re.search(path, request)) for request in tuple(self._balancer.requests))

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        async def call() -> Any:
            return function(*arguments)

        return self._run(call())


class _Connection:
    """One connection through the line; a fault hits both of its directions."""

    def __init__(self, network: Network, number: int) -> None:
        rates = network.fault_rates
        self.network = network
        self.silent = asyncio.Event()
        self.resetting = False
        self.dead = asyncio.Event()
        self.timers = [
            asyncio.get_running_loop().call_later(after, act)
            for kind, mean, act in (
                ("silent", rates.silent_s, self.fall_silent),
                ("reset", rates.reset_s, self.reset),
            )
            if not math.isinf(after := rates.draw(kind, number, mean))
        ]

    def fall_silent(self) -> None:
        if not self.silent.is_set() and not self.dead.is_set():
            self.network.injected["silent connection"] += 1
            self.silent.set()

    def reset(self) -> None:
        if not self.silent.is_set() and not self.dead.is_set():
            self.resetting = True

    def close(self) -> None:
        for timer in self.timers:
            timer.cancel()
        self.dead.set()


class _Line:
    """The slow TCP line."""

    def __init__(self, network: Network, target: tuple[str, int]) -> None:
        self._network, self._target = network, target
        self._open: set[_Connection] = set()
        self._count = 0
        self._free = {True: 0.0, False: 0.0}  # loop time at which each direction (True: to the server) is free again

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[int]:
        """Accept connections while the block runs; yield the port."""
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
        before = self._network.injected["silent connection"]
        for connection in self._open:
            connection.fall_silent()
        return self._network.injected["silent connection"] - before

    def reset(self) -> int:
        for connection in self._open:
            connection.reset()
        return sum(connection.resetting for connection in self._open)

    async def _carry(self, client_in: asyncio.StreamReader, client_out: asyncio.StreamWriter) -> None:
        self._count += 1
        connection = _Connection(self._network, self._count)
        self._open.add(connection)
        server_out = None
        try:
            server_in, server_out = await asyncio.open_connection(*self._target)
            directions = [
                asyncio.create_task(self._transfer(connection, client_in, server_out, to_server=True)),
                asyncio.create_task(self._transfer(connection, server_in, client_out, to_server=False)),
            ]
            try:
                await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for direction in directions:
                    direction.cancel()
                await asyncio.gather(*directions, return_exceptions=True)
        except OSError:
            pass  # the server refuses the connection, so the client's connection ends
        finally:
            connection.close()
            self._open.discard(connection)
            for writer in (client_out, server_out):
                if writer is not None:
                    if connection.resetting:
                        _reset_on_close(writer)
                        writer.transport.abort()
                    writer.close()

    async def _transfer(
        self, connection: _Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, to_server: bool
    ) -> None:
        """Transfer one direction until its end; data keeps its order and its delay."""
        loop = asyncio.get_running_loop()
        in_transit: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_IN_TRANSIT)

        async def receive() -> None:
            while data := await reader.read(_PIECE):
                now = loop.time()
                self._free[to_server] = max(self._free[to_server], now) + len(data) / self._network.bytes_per_s
                await in_transit.put((self._free[to_server] + self._network.round_trip_s / 2, data))
            await in_transit.put((loop.time() + self._network.round_trip_s / 2, b""))

        receiving = asyncio.create_task(receive())
        try:
            while True:
                due, data = await in_transit.get()
                await asyncio.sleep(max(due - loop.time(), 0))
                if connection.silent.is_set():
                    # A broken path delivers neither data nor an end; this connection lasts until its client gives up.
                    await asyncio.wait([receiving]) if to_server else await asyncio.Event().wait()
                    return
                if connection.resetting and not to_server:
                    self._network.injected["reset inside a chunk"] += 1
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
            receiving.cancel()
            await asyncio.gather(receiving, return_exceptions=True)


def _reset_on_close(writer: asyncio.StreamWriter) -> None:
    """Make the kernel send RST instead of FIN when the socket closes."""
    connection = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class _Balancer:
    """The load balancer: a reverse proxy that ends answers cleanly."""

    def __init__(self, network: Network, upstream: Kube) -> None:
        self._network, self._upstream = network, upstream
        self.certificate = b""
        self.requests: list[str] = []
        self.muted = ""
        self._answers: set[_Exchange] = set()
        self._session: aiohttp.ClientSession

    @contextlib.asynccontextmanager
    async def serving(self, folder: Path) -> AsyncIterator[tuple[str, int]]:
        """Serve while the block runs; yield the address."""
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
        app.router.add_route("*", "/{path:.*}", self._forward)
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

    def inject(self, fault: str, path: str) -> int:
        matches = [exchange for exchange in self._answers if re.search(path, exchange.request) and not exchange.fault]
        for exchange in matches:
            exchange.inject(fault)
        return len(matches)

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        exchange = _Exchange(f"{request.method} {request.raw_path}")
        self.requests.append(exchange.request)
        if self.muted and re.search(self.muted, exchange.request):
            await self._stay_silent()
        headers = {k: v for k, v in request.headers.items() if k.lower() not in _HOP}
        if authorization := self._upstream.client.headers.get("Authorization"):
            headers["Authorization"] = authorization
        upstream = self._session.request(
            request.method,
            self._upstream.server + request.raw_path,
            headers=headers,
            data=await request.read() or None,
            skip_auto_headers=("Accept-Encoding", "User-Agent", "Accept", "Content-Type"),
        )
        self._answers.add(exchange)
        rates = self._network.fault_rates
        after = rates.draw("end", len(self.requests), rates.end_s)
        try:
            async with upstream as answer:
                out = web.StreamResponse(
                    status=answer.status, headers=[(k, v) for k, v in answer.headers.items() if k.lower() not in _HOP]
                )
                await out.prepare(request)
                # An answer with a Content-Length cannot end cleanly before its length.
                if not math.isinf(after) and "Content-Length" not in answer.headers:
                    asyncio.get_running_loop().call_later(after, exchange.inject, "clean end")
                await self._pass_on(answer.content, out, exchange)
                await out.write_eof()
                return out
        except (aiohttp.ClientError, OSError):
            # If one side has closed its connection, close the other side's too.
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        finally:
            self._answers.discard(exchange)

    async def _pass_on(self, content: aiohttp.StreamReader, out: web.StreamResponse, exchange: _Exchange) -> None:
        while True:
            reading, faulted = (
                asyncio.ensure_future(content.readany()),
                asyncio.ensure_future(exchange.fault_set.wait()),
            )
            try:
                await asyncio.wait([reading, faulted], return_when=asyncio.FIRST_COMPLETED)
                chunk = reading.result() if reading.done() else b""
            finally:
                reading.cancel()
                faulted.cancel()
            if exchange.fault == "silent answer":
                await self._stay_silent()
            if reading.done() and not chunk and not reading.cancelled():
                return
            if exchange.fault == "clean end":
                self._network.injected[exchange.fault] += 1
                # End anywhere within a line, because a load balancer does not know lines.
                await out.write(chunk[: random.Random(len(chunk)).randrange(len(chunk) + 1)])
                return
            await out.write(chunk)

    async def _stay_silent(self) -> None:
        self._network.injected["silent answer"] += 1
        await asyncio.Event().wait()


class _Exchange:
    """A request with its current answer, and the fault that was injected into it."""

    def __init__(self, request: str) -> None:
        self.request, self.fault, self.fault_set = request, "", asyncio.Event()

    def inject(self, fault: str) -> None:
        self.fault = self.fault or fault
        self.fault_set.set()


def _certificate() -> tuple[bytes, bytes]:
    """Return a new certificate for 127.0.0.1, alone and together with its key, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a load balancer")])
    now = dt.datetime.now(dt.UTC)
    public = key.public_key()
    certificate = (
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
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    return pem, secret + pem
