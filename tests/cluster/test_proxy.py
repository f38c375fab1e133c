"""The choice of the proxy to the API server, and requests through it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from cluster.conftest import Api, kubeconfig, serving
from cluster.test_configuration import encoded, secure
from support.authority import Authority

from cortex_jupyter.cluster.proxy import proxy_for
from cortex_jupyter.cluster.session import Cluster
from cortex_jupyter.errors import NoCluster

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.mark.parametrize(
    ("no_proxy", "host", "direct"),
    [
        # The documented cases of golang.org/x/net/http/httpproxy, and realistic ones of its tests.
        ("", "10.96.0.1", False),
        ("10.0.0.0/8", "10.96.0.1", True),
        ("10.0.0.0/8", "11.96.0.1", False),
        ("10.0.0.0/8", "api.example", False),
        (" 192.168.0.0/16 , 10.96.0.1 ", "10.96.0.1:6443", True),
        ("10.96.0.1:6443", "10.96.0.1:6443", True),
        ("10.96.0.1:6443", "10.96.0.1", False),
        ("10.96.0.1:443", "10.96.0.1", True),
        ("fd00::/8", "[fd00::1]:443", True),
        ("fd00::1", "[fd00::1]", True),
        ("[fd00::1]:6443", "[fd00::1]:6443", True),
        ("::ffff:10.96.0.1", "10.96.0.1", True),
        ("example.com", "example.com", True),
        ("example.com", "API.Example.com:6443", True),
        ("example.com", "badexample.com", False),
        (".example.com", "api.example.com", True),
        (".example.com", "example.com", False),
        ("*.example.com", "api.example.com", True),
        ("example.com:6443", "api.example.com", False),
        ("*", "anything.example", True),
        ("10.0.0.0/99,:80,,/", "10.96.0.1", False),
        ("", "localhost:6443", True),
        ("", "127.0.0.1:6443", True),
        ("", "127.1.2.3", True),
        ("", "[::1]:6443", True),
    ],
)
def test_no_proxy(no_proxy: str, host: str, direct: bool) -> None:
    environ = {"HTTPS_PROXY": "http://proxy:3128", "no_proxy": no_proxy}
    assert proxy_for(f"https://{host}", environ) == (None if direct else "http://proxy:3128")


def test_the_variable_follows_the_scheme_and_upper_case_wins() -> None:
    assert proxy_for("http://api.example", {"HTTPS_PROXY": "http://proxy"}) is None
    assert proxy_for("http://api.example", {"HTTP_PROXY": "http://a", "http_proxy": "http://b"}) == "http://a"
    assert proxy_for("https://api.example", {"ALL_PROXY": "http://proxy"}) is None
    assert proxy_for("https://api.example", {"https_proxy": "proxy:3128"}) == "http://proxy:3128"


@asynccontextmanager
async def tunnel(port: int) -> AsyncIterator[tuple[str, list[str]]]:
    """A proxy that connects every request to one port, and the list of requested addresses."""
    asked: list[str] = []
    writers: list[asyncio.StreamWriter] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        asked.append(head.split(b"\r\n")[0].decode())
        there, back = await asyncio.open_connection("127.0.0.1", port)
        writers.extend([writer, back])
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await asyncio.gather(pump(reader, back), pump(there, writer), return_exceptions=True)

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked
    finally:
        server.close()
        for one in writers:
            one.close()
        await asyncio.gather(*(one.wait_closed() for one in writers), return_exceptions=True)


@pytest.mark.parametrize("named", ["kubeconfig", "environment"])
async def test_tls_through_a_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str) -> None:
    authority = Authority()
    async with (
        secure(tmp_path, authority, "api.example") as api,
        tunnel(int(api.url.rpartition(":")[2])) as (proxy, asked),
    ):
        more = {"certificate-authority-data": encoded(authority.pem)}
        if named == "kubeconfig":
            monkeypatch.setenv("NO_PROXY", "*")  # it applies only to proxies from the environment
            more["proxy-url"] = proxy
        else:
            monkeypatch.setenv("HTTPS_PROXY", proxy)
        path = kubeconfig(tmp_path / "c", "https://api.example:6443", **more)
        async with await Cluster.open(path) as cluster:
            assert await cluster.json("/x") == {"ok": 1}
        assert asked == ["CONNECT api.example:6443 HTTP/1.1"]


async def test_an_address_in_no_proxy_is_reached_directly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loopback is always reached directly, so the test uses other addresses of this machine."""
    async with serving(Api()) as api:
        api.objects["/x"] = {"ok": 1}
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        monkeypatch.setenv("NO_PROXY", "10.0.0.0/8")
        async with await Cluster.open(kubeconfig(tmp_path / "c", api.url)) as cluster:
            assert await cluster.json("/x") == {"ok": 1}
        async with (
            await Cluster.open(kubeconfig(tmp_path / "c", "https://10.96.0.1:443")) as one,
            await Cluster.open(kubeconfig(tmp_path / "c", "http://11.96.0.1:443")) as two,
        ):
            assert (one._configuration.proxy, two._configuration.proxy) == (None, "http://127.0.0.1:9")


async def test_an_unsupported_proxy_is_an_error_at_once(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path / "c", "https://api.example", **{"proxy-url": "socks5://127.0.0.1:1080"})
    with pytest.raises(NoCluster, match=r"socks5://127\.0\.0\.1:1080 is not supported: use an HTTP proxy"):
        await Cluster.open(path)
