"""List and watch a collection without end: first its objects, then every change, through broken connections."""

from __future__ import annotations

import asyncio
import math
import random
import time
from typing import TYPE_CHECKING, Any, Literal

import aiohttp
import orjson

from cortex_jupyter.cluster.session import ExpiredError, status_error
from cortex_jupyter.errors import ClusterError, ClusterUnreachable, NotAllowed, NotFound

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from cortex_jupyter.cluster import KubeObject
    from cortex_jupyter.cluster.session import Cluster

#: We ask the server to end each watch after this many seconds, so that a watch which a proxy keeps half alive ends too.
WATCH_S = 240
#: A watch without a byte for this many seconds is reopened. The API server sends a bookmark each minute
#: (`defaultBookmarkFrequency` in staging/src/k8s.io/apiserver/pkg/storage/cacher/cacher.go). It sends none for objects that it
#: does not cache, such as events, but a new watch from the same version costs little.
SILENT_S = 75.0
#: A watch that ends within this many seconds is not reopened at once.
_SHORT_S = 1.0
#: Reopening is triggered at most once in this many seconds, because hundreds of tasks may share a watch.
_REOPEN_INTERVAL_S = 3.0


class ReopenTrigger:
    """Makes watches reopen. For a caller with evidence that a watch misses changes, because its connection is dead.

    Examples
    --------
    >>> async def main():
    ...     reopen = ReopenTrigger()
    ...     waiting = asyncio.ensure_future(reopen.wait())
    ...     reopen.fire()
    ...     return await asyncio.wait_for(waiting, 1)
    >>> asyncio.run(main())
    True
    """

    def __init__(self) -> None:
        self._fired = asyncio.Event()
        self._last = -math.inf  # monotonic
        self._next: asyncio.TimerHandle | None = None

    def fire(self) -> None:
        """Make every watch with this trigger reopen, from the version that it has reached.

        Calls within three seconds of the last reopening count as one, at the end of the three seconds.
        """
        if self._next is not None:
            return
        if (wait := self._last + _REOPEN_INTERVAL_S - time.monotonic()) > 0:
            self._next = asyncio.get_running_loop().call_later(wait, self._reopen)
        else:
            self._reopen()

    def _reopen(self) -> None:
        self._next, self._last = None, time.monotonic()
        self._fired.set()
        self._fired = asyncio.Event()

    def wait(self) -> Coroutine[Any, Any, Literal[True]]:
        """Wait until the trigger fires; a firing counts from this call on."""
        return self._fired.wait()


async def watch(
    cluster: Cluster,
    path: str,
    query: dict[str, str],
    cut: Callable[[KubeObject], KubeObject] = lambda item: item,
    reopen: ReopenTrigger | None = None,
) -> AsyncIterator[tuple[str, KubeObject]]:
    """List a collection, then follow its changes.

    Parameters
    ----------
    cluster : Cluster
    path : str
        The collection.
    query : dict
        Selectors.
    cut : callable, optional
        Returns the part of an object to yield, with its name, uid and version. The watch keeps these parts to its end.
    reopen : ReopenTrigger, optional

    Yields
    ------
    tuple of (str, dict)
        `("ADDED" | "MODIFIED" | "DELETED", object)`; `("SYNC", {})` after each complete list. After an outage, objects that
        vanished meanwhile come as `DELETED`. `("LOST", {"message", "is_missing"})` when the API server cannot be reached, or
        has no such collection any more; the watch tries again by itself, and yields `("BACK", {})` when it succeeds.

    Raises
    ------
    NotAllowed, NotFound
        From the first list. Later they count as outages, because rights may come back.
    """
    by_uid: dict[str, KubeObject] = {}
    version = ""
    wait = 0.2
    first, lost = True, False
    while True:
        try:
            if not version:
                objects, listed = await cluster.read_list(path, query, cut)
                items = {item["metadata"]["uid"]: item for item in objects}
                del objects
                for uid in by_uid.keys() - items.keys():
                    yield "DELETED", by_uid[uid]
                for uid, item in items.items():
                    yield "MODIFIED" if uid in by_uid else "ADDED", item
                by_uid, version = items, listed
                first = False
                yield "SYNC", {}
            opened = time.monotonic()
            async for kind, item in _changes(cluster, path, query, version, reopen or ReopenTrigger(), lost=lost):
                if kind == "BACK":
                    lost = False
                    yield kind, item
                    continue
                version = item["metadata"]["resourceVersion"]
                wait = 0.2
                if kind == "BOOKMARK":
                    continue
                part = cut(item)
                by_uid.pop(part["metadata"]["uid"], None)
                if kind != "DELETED":
                    by_uid[part["metadata"]["uid"]] = part
                yield kind, part
            if time.monotonic() - opened < _SHORT_S:
                # A proxy ends every answer at once: do not hammer the server.
                await asyncio.sleep(wait * random.uniform(0.8, 1.2))  # noqa: S311 - no secret
                wait = min(wait * 2, 15)
        except ExpiredError:
            # https://kubernetes.io/docs/reference/using-api/api-concepts/#410-gone-responses
            version = ""
            await asyncio.sleep(wait * random.uniform(0.8, 1.2))  # noqa: S311 - no secret
            wait = min(wait * 2, 15)
        except (ClusterError, NotAllowed, NotFound, aiohttp.ClientError, TimeoutError, OSError) as error:
            if first and not isinstance(error, ClusterUnreachable):
                raise
            lost = True
            yield "LOST", {"message": str(error).partition("\n")[0], "is_missing": isinstance(error, NotFound)}
            await asyncio.sleep(wait * random.uniform(0.8, 1.2))  # noqa: S311 - no secret
            wait = min(wait * 2, 15)


async def _changes(
    cluster: Cluster, path: str, query: dict[str, str], version: str, reopen: ReopenTrigger, *, lost: bool
) -> AsyncIterator[tuple[str, KubeObject]]:
    """Yield the events of one watch until it ends, falls silent or must be reopened. After an outage, yield `BACK` first."""
    options = {"watch": "1", "allowWatchBookmarks": "true", "timeoutSeconds": str(WATCH_S), "resourceVersion": version}
    reopening = asyncio.ensure_future(reopen.wait())  # before the request: a trigger that fires meanwhile counts
    try:
        async with cluster.request(path, query | options) as response:
            if response.status >= 400:
                raise status_error(response.status, await response.read())
            if lost:
                yield "BACK", {}
            rest = b""
            while chunk := await _chunk(response.content, reopening):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    event = orjson.loads(line)
                    if event["type"] == "ERROR":
                        raise status_error(event["object"].get("code", 500), orjson.dumps(event["object"]))
                    yield event["type"], event["object"]
    finally:
        reopening.cancel()


async def _chunk(content: aiohttp.StreamReader, reopening: asyncio.Future[Literal[True]]) -> bytes:
    """Wait for bytes. Return none at the end, after a long silence, or to reopen: a new watch shows what was missed."""
    reading = asyncio.ensure_future(content.readany())
    waiting: list[asyncio.Future[Any]] = [reading, reopening]
    try:
        await asyncio.wait(waiting, timeout=SILENT_S, return_when=asyncio.FIRST_COMPLETED)
        return reading.result() if reading.done() else b""
    finally:
        reading.cancel()
