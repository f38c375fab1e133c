"""A tiny API server that answers from a table: an answer for each path, once or always."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from aiohttp import web

from cortex_jupyter.cluster.session import Cluster

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from multidict import CIMultiDictProxy


def status(code: int, message: str) -> web.Response:
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code}
    return web.json_response(body, status=code)


class Api:
    """The API server.

    Attributes
    ----------
    objects : dict
        Path to JSON, or to a function of the request; what is not there is a 404.
    requests : list of str
        `METHOD path?query`, as they came.
    tokens : set of str
        Those that are let in; with an empty string also who has none.
    seen : list
        The headers of each request.
    """

    def __init__(self) -> None:
        self.objects: dict[str, Any] = {}
        self.requests: list[str] = []
        self.tokens = {"secret"}
        self.seen: list[CIMultiDictProxy[str]] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(f"{request.method} {request.path_qs}")
        self.seen.append(request.headers)
        if request.headers.get("Authorization", "").removeprefix("Bearer ") not in self.tokens:
            return status(401, "Unauthorized")
        found = self.objects.get(request.path)
        if found is None:
            return status(404, f'"{request.path.rpartition("/")[2]}" not found')
        if callable(found):
            answer: Callable[[web.Request], Awaitable[web.StreamResponse]] = found
            return await answer(request)
        return web.json_response(found)

    def listing(self, path: str, *items: dict[str, Any], version: str = "1") -> None:
        self.objects[path] = {"metadata": {"resourceVersion": version}, "items": list(items)}

    def deny(self, path: str, message: str = "forbidden") -> None:
        async def answer(_: web.Request) -> web.Response:
            return status(403, message)

        self.objects[path] = answer


@asynccontextmanager
async def serving(api: Api, tls: ssl.SSLContext | None = None, port: int = 0) -> AsyncIterator[Api]:
    """Serve on a free port, or on this one."""
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", api.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls)
    await site.start()
    api.url = f"http{'s' if tls else ''}://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield api
    finally:
        await runner.cleanup()
        await asyncio.sleep(0)


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with serving(Api()) as one:
        yield one


def kubeconfig(path: Path, server: str, user: dict[str, Any] | None = None, **cluster: Any) -> str:
    """Write a kubeconfig and return its path."""
    context = {"cluster": "c", "user": "u", "namespace": "team"}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "x",
        "clusters": [{"name": "c", "cluster": {"server": server, **cluster}}],
        "users": [{"name": "u", "user": {"token": "secret"} if user is None else user}],
        "contexts": [{"name": "x", "context": context}, {"name": "y", "context": context | {"namespace": "other"}}],
    }
    path.write_text(yaml.safe_dump(document))
    return str(path)


@pytest.fixture
async def cluster(api: Api, tmp_path: Path) -> AsyncIterator[Cluster]:
    async with await Cluster.open(kubeconfig(tmp_path / "config", api.url)) as one:
        yield one
