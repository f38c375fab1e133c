"""A watch never ends and loses no change, through broken connections, expired versions and refusals."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from aiohttp import web
from cluster.conftest import status

from cortex_jupyter.cluster import watch as lib
from cortex_jupyter.cluster.watch import ReopenTrigger, watch
from cortex_jupyter.errors import NotAllowed

if TYPE_CHECKING:
    from collections.abc import Callable

    from cortex_jupyter.cluster.session import Cluster

PATH = "/api/v1/namespaces/team/pods"


class Pods:
    """A collection with a history, as a real API server has it."""

    def __init__(self) -> None:
        self.items: dict[str, dict[str, Any]] = {}
        self.history: list[tuple[int, str, dict[str, Any]]] = []
        self.version = 1
        self.oldest = 0  # versions before this one are forgotten
        self.answers: list[Callable[[web.Request], web.Response]] = []
        self.watches = 0
        self.news = asyncio.Event()
        self.cuts = 0
        self.dead = 0  # this many first watches carry no events

    def change(self, kind: str, name: str) -> None:
        self.version += 1
        item = {"metadata": {"name": name, "uid": name, "resourceVersion": str(self.version)}}
        if kind == "DELETED":
            self.items.pop(name)
        else:
            self.items[name] = item
        self.history.append((self.version, kind, item))
        self.news.set()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if self.answers:
            return self.answers.pop(0)(request)
        if "watch" not in request.query:
            return web.json_response(
                {"metadata": {"resourceVersion": str(self.version)}, "items": list(self.items.values())}
            )
        self.watches += 1
        at = int(request.query["resourceVersion"])
        response = web.StreamResponse()
        await response.prepare(request)
        if at < self.oldest:
            error = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old"}}
            await response.write(orjson.dumps(error) + b"\n")
            return response
        mine = self.watches
        if mine <= self.dead:
            await asyncio.Event().wait()
        while True:
            for version, kind, item in [h for h in self.history if h[0] > at]:
                data = orjson.dumps({"type": kind, "object": item}) + b"\n"
                await response.write(data[:7])
                await response.write(data[7:])
                at = version
            if self.cuts >= mine:
                return response
            self.news.clear()
            await self.news.wait()

    def cut(self) -> None:
        self.cuts = self.watches
        self.news.set()


@pytest.fixture
def pods(api: Any, monkeypatch: pytest.MonkeyPatch) -> Pods:
    one = Pods()
    api.objects[PATH] = one.handle
    real = asyncio.sleep
    monkeypatch.setattr(lib.asyncio, "sleep", lambda _: real(0.01))  # type: ignore[attr-defined]
    return one


class Watching:
    """Follows a watch in an asyncio task, and tracks the objects from its events alone."""

    def __init__(self, cluster: Cluster) -> None:
        self.there: set[str] = set()
        self.events: list[str] = []
        self.reopen = ReopenTrigger()
        self.task = asyncio.create_task(self._run(cluster))

    async def _run(self, cluster: Cluster) -> None:
        async for kind, item in watch(cluster, PATH, {}, reopen=self.reopen):
            self.events.append(kind)
            if kind in ("ADDED", "MODIFIED"):
                self.there.add(item["metadata"]["name"])
            elif kind == "DELETED":
                self.there.remove(item["metadata"]["name"])

    async def until(self, test: Callable[[], object]) -> None:
        async with asyncio.timeout(120):
            while not test():
                assert not self.task.done(), self.task.exception()
                await asyncio.wait([self.task], timeout=0.01)

    async def close(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])


async def test_existing_objects_come_first_and_then_every_change(pods: Pods, cluster: Cluster) -> None:
    pods.change("ADDED", "a")
    seen = Watching(cluster)
    await seen.until(lambda: "SYNC" in seen.events)
    assert seen.there == {"a"}
    pods.change("ADDED", "b")
    pods.change("DELETED", "a")
    await seen.until(lambda: seen.there == {"b"})
    await seen.close()


async def test_a_broken_connection_loses_no_change(pods: Pods, cluster: Cluster) -> None:
    seen = Watching(cluster)
    for i in range(5):
        await seen.until(lambda i=i: pods.watches > i)
        pods.cut()
        pods.change("ADDED", f"p{i}")
        if i:
            pods.change("DELETED", f"p{i - 1}")
    await seen.until(lambda: seen.there == {"p4"})
    assert seen.events.count("SYNC") == 1
    await seen.close()


async def test_a_silent_watch_is_reopened(pods: Pods, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lib, "SILENT_S", 0.2)
    pods.change("ADDED", "a")
    pods.dead = 1  # the first watch: its connection carries nothing
    seen = Watching(cluster)
    await seen.until(lambda: pods.watches == 1)
    pods.change("ADDED", "b")
    await seen.until(lambda: seen.there == {"a", "b"})
    assert seen.events == ["ADDED", "SYNC", "ADDED"], "a silent watch is reported as an outage"
    await seen.close()


async def test_a_watch_reopens_when_its_trigger_fires(pods: Pods, cluster: Cluster) -> None:
    pods.dead = 1
    seen = Watching(cluster)
    await seen.until(lambda: pods.watches == 1)
    pods.change("ADDED", "a")
    seen.reopen.fire()
    await seen.until(lambda: seen.there == {"a"})
    assert seen.events == ["SYNC", "ADDED"]
    await seen.close()


async def test_the_end_of_an_outage_is_reported_without_a_change(pods: Pods, cluster: Cluster) -> None:
    seen = Watching(cluster)
    await seen.until(lambda: pods.watches == 1)
    pods.answers = [lambda _: status(503, "not now")]
    pods.cut()
    await seen.until(lambda: "BACK" in seen.events)
    assert seen.events == ["SYNC", "LOST", "BACK"]
    await seen.close()


async def test_after_an_expired_version_vanished_objects_are_deleted(pods: Pods, cluster: Cluster) -> None:
    pods.change("ADDED", "a")
    pods.change("ADDED", "b")
    seen = Watching(cluster)
    await seen.until(lambda: pods.watches == 1)
    # The watch breaks. Meanwhile an object goes, another comes, and the server forgets both changes.
    pods.answers = [lambda _: status(410, "too old")]
    pods.change("DELETED", "a")
    pods.change("ADDED", "c")
    pods.oldest = pods.version
    pods.history.clear()
    pods.cut()
    await seen.until(lambda: seen.events.count("SYNC") == 2)
    assert seen.there == {"b", "c"}
    pods.change("ADDED", "d")
    pods.oldest = pods.version + 10  # reported within the stream, as an ERROR event
    pods.cut()
    await seen.until(lambda: seen.there == {"b", "c", "d"})
    await seen.close()


@pytest.mark.parametrize("code", [500, 503, 401, 403, 404])
async def test_a_refusal_later_is_an_outage(pods: Pods, cluster: Cluster, code: int) -> None:
    pods.change("ADDED", "a")
    seen = Watching(cluster)
    await seen.until(lambda: pods.watches == 1)
    pods.answers = [lambda _: status(code, "not now")] * 4
    pods.cut()
    await seen.until(lambda: "LOST" in seen.events)
    pods.change("ADDED", "b")
    await seen.until(lambda: seen.there == {"a", "b"})
    assert not pods.answers
    await seen.close()


async def test_a_refusal_of_the_first_list_is_raised(pods: Pods, cluster: Cluster) -> None:
    pods.answers = [lambda _: status(403, "pods is forbidden")]
    with pytest.raises(NotAllowed, match="forbidden"):
        await anext(watch(cluster, PATH, {}))


async def test_a_server_that_ends_each_watch_at_once_is_not_hammered(
    pods: Pods, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    real = asyncio.sleep

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        await real(0)

    monkeypatch.setattr(lib.asyncio, "sleep", sleep)  # type: ignore[attr-defined]
    pods.cuts = 20
    seen = Watching(cluster)
    await seen.until(lambda: pods.watches > 10)
    assert len(waits) >= 9
    assert max(waits) > 1
    await seen.close()


async def test_a_busy_server_is_not_an_outage(pods: Pods, cluster: Cluster) -> None:
    pods.change("ADDED", "a")
    pods.answers = [lambda _: status(429, "too many requests")]
    seen = Watching(cluster)
    await seen.until(lambda: pods.watches == 1)
    pods.answers = [lambda _: status(429, "too many requests")] * 2
    pods.cut()
    await seen.until(lambda: not pods.answers)
    pods.change("ADDED", "b")
    await seen.until(lambda: seen.there == {"a", "b"})
    assert "LOST" not in seen.events
    await seen.close()
