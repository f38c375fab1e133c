"""Answers are read in the same way if the API server, or a proxy, compresses them."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from aiohttp import web

from cortex_jupyter.cluster.logs import NotReady, open_log
from cortex_jupyter.cluster.watch import watch
from cortex_jupyter.errors import ClusterUnreachable, NotAllowed
from cortex_jupyter.model import Source

if TYPE_CHECKING:
    from cortex_jupyter.cluster.session import Cluster

PODS = "/api/v1/namespaces/team/pods"
LOG = f"{PODS}/p/log"
SOURCE = Source("p", "uid", "main", "containerd://1", "main", 0, "node-1")


def pod(name: str) -> dict[str, Any]:
    """Return a pod of a realistic size: about 10 kB."""
    metadata = {"name": name, "uid": name, "resourceVersion": "1", "annotations": {"note": "x" * 10_000}}
    return {"metadata": metadata, "spec": {"containers": []}}


class Compressing:
    """An API server behind a proxy that compresses every answer, whatever the client accepts."""

    def __init__(self, encoding: str) -> None:
        self.encoding = encoding
        self.accepted: dict[str, str] = {}

    def answer(self, document: Any, status: int = 200) -> Any:
        body = orjson.dumps(document)

        async def handle(request: web.Request) -> web.Response:
            self.accepted[request.path_qs] = request.headers.get("Accept-Encoding", "")
            data = gzip.compress(body) if self.encoding == "gzip" else zlib.compress(body)
            return web.Response(body=data, status=status, headers={"Content-Encoding": self.encoding})

        return handle

    def stream(self, *parts: bytes) -> Any:
        """Send each part as soon as it is written, then keep the stream open: compressed with a flush behind each."""

        async def handle(request: web.Request) -> web.StreamResponse:
            self.accepted[request.path_qs] = request.headers.get("Accept-Encoding", "")
            response = web.StreamResponse(headers={"Content-Encoding": self.encoding})
            await response.prepare(request)
            packer = zlib.compressobj(wbits=zlib.MAX_WBITS | (16 if self.encoding == "gzip" else 0))
            for part in parts:
                await response.write(packer.compress(part) + packer.flush(zlib.Z_SYNC_FLUSH))
            await asyncio.Event().wait()
            return response

        return handle


@pytest.fixture(params=["gzip", "deflate"])
def proxy(request: pytest.FixtureRequest) -> Compressing:
    return Compressing(request.param)


async def test_a_list_of_many_pods(api: Any, cluster: Cluster, proxy: Compressing) -> None:
    api.objects[PODS] = proxy.answer({"items": [pod(f"p{n}") for n in range(40)]})
    assert len((await cluster.json(PODS))["items"]) == 40


async def test_an_error_keeps_the_servers_message(api: Any, cluster: Cluster, proxy: Compressing) -> None:
    api.objects[PODS] = proxy.answer({"message": "pods is forbidden: " + "x" * 1000}, 403)
    with pytest.raises(NotAllowed, match="pods is forbidden"):
        await cluster.json(PODS)
    api.objects[LOG] = proxy.answer({"message": "container is waiting to start"}, 400)
    with pytest.raises(NotReady, match="waiting to start"):
        async with open_log(cluster, "team", SOURCE, follow=True):
            pass


async def test_a_watch_yields_each_event_at_once(api: Any, cluster: Cluster, proxy: Compressing) -> None:
    events = [orjson.dumps({"type": "ADDED", "object": pod(name)}) + b"\n" for name in ("b", "c")]
    listing, changes = proxy.answer({"metadata": {"resourceVersion": "1"}, "items": [pod("a")]}), proxy.stream(*events)

    async def handle(request: web.Request) -> web.StreamResponse:
        answer: web.StreamResponse = await (changes if "watch" in request.query else listing)(request)
        return answer

    api.objects[PODS] = handle
    names: list[str] = []
    async with asyncio.timeout(120), aclosing(watch(cluster, PODS, {})) as following:
        async for kind, item in following:
            names.append(item["metadata"]["name"] if kind == "ADDED" else kind)
            if len(names) == 4:
                break
    assert names == ["a", "SYNC", "b", "c"]
    # Compressing a stream of small events costs the API server more than it saves.
    assert [accepted for path, accepted in proxy.accepted.items() if "watch" in path] == ["identity"]


async def test_a_log_returns_each_line_at_once(api: Any, cluster: Cluster, proxy: Compressing) -> None:
    api.objects[LOG] = proxy.stream(b"2026-11-30T00:00:00Z one\n", b"2026-11-30T00:00:01Z two\n")
    async with asyncio.timeout(120), open_log(cluster, "team", SOURCE, follow=True) as lines:
        assert await lines.readline() == b"2026-11-30T00:00:00Z one\n"
        assert await lines.readline() == b"2026-11-30T00:00:01Z two\n"
    assert list(proxy.accepted.values()) == ["identity"]


async def test_a_damaged_compressed_answer_counts_as_an_outage(api: Any, cluster: Cluster) -> None:
    async def damaged(_: web.Request) -> web.Response:
        wrong_checksum = gzip.compress(b"{}" * 1000)[:-8] + b"checksum"
        return web.Response(body=wrong_checksum, headers={"Content-Encoding": "gzip"})

    api.objects[PODS] = damaged
    with pytest.raises(ClusterUnreachable, match="broke off"):
        await cluster.json(PODS)
