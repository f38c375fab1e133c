"""List and watch a collection for ever: what is there, then every change, through cuts and expired versions."""

from __future__ import annotations

import asyncio
import math
import random
import time
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson

from cortex_jupyter.cluster.session import ExpiredError, status_error
from cortex_jupyter.errors import ClusterError, ClusterUnreachable, NotAllowed, NotFound

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from cortex_jupyter.cluster.session import Cluster

#: The server is asked to end each watch after this long, seconds, so that one that a proxy keeps half alive ends.
WATCH_S = 240
#: A watch without a byte for this long, seconds, is opened anew. The API server sends a bookmark each minute
#: (`defaultBookmarkFrequency` in staging/src/k8s.io/apiserver/pkg/storage/cacher/cacher.go); of what it does not cache, as
#: events, it sends none, and a new watch from the same version costs little.
SILENT_S = 75.0
#: One that ends sooner than this, seconds, is not opened again at once.
_SHORT_S = 1.0
#: A watch in doubt is opened anew at most this often, in seconds: hundreds of tasks may share it.
_DOUBTS_APART_S = 3.0


class Doubt:
    """Lets someone who knows more than a watch tells have it opened anew: its connection may be dead.

    Examples
    --------
    >>> async def main():
    ...     doubt = Doubt()
    ...     waiting = asyncio.ensure_future(doubt.wait())
    ...     await asyncio.sleep(0)
    ...     doubt.arise()
    ...     return await asyncio.wait_for(waiting, 1)
    >>> asyncio.run(main())
    True
    """

    def __init__(self) -> None:
        self._arisen = asyncio.Event()
        self._last = -math.inf  # monotonic
        self._next: asyncio.TimerHandle | None = None

    def arise(self) -> None:
        """Have every watch that is open opened anew, from the version that it has reached.

        Doubts that follow another within three seconds count as one, at the end of that time.
        """
        if self._next is not None:
            return
        if (wait := self._last + _DOUBTS_APART_S - time.monotonic()) > 0:
            self._next = asyncio.get_running_loop().call_later(wait, self._open_anew)
        else:
            self._open_anew()

    def _open_anew(self) -> None:
        self._next, self._last = None, time.monotonic()
        self._arisen.set()
        self._arisen = asyncio.Event()

    async def wait(self) -> bool:
        """Wait for it."""
        return await self._arisen.wait()


async def watch(
    cluster: Cluster,
    path: str,
    query: dict[str, str],
    cut: Callable[[dict[str, Any]], dict[str, Any]] = lambda item: item,
    doubt: Doubt | None = None,
) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """Follow a collection.

    Parameters
    ----------
    cluster : Cluster
    path : str
        The collection.
    query : dict
        Selectors.
    cut : callable, optional
        Gives of each object the part that is yielded, and kept to the watch's end; with its name, uid and version.
    doubt : Doubt, optional

    Yields
    ------
    tuple of (str, dict)
        `("ADDED" | "MODIFIED" | "DELETED", object)`; `("SYNC", {})` after each complete list. After a list that
        followed an outage, what vanished meanwhile comes as `DELETED`. `("LOST", {"message"})` when the API
        server cannot be reached; the watch goes on by itself, and says `("BACK", {})` when it does.

    Raises
    ------
    NotAllowed, NotFound
        From the first list. Later they are outages: permissions come back.
    """
    known: dict[str, dict[str, Any]] = {}
    version = ""
    wait = 0.2
    first, lost = True, False
    while True:
        try:
            if not version:
                objects, listed = await cluster.read_list(path, query, cut)
                items = {item["metadata"]["uid"]: item for item in objects}
                del objects
                for uid in known.keys() - items.keys():
                    yield "DELETED", known[uid]
                for uid, item in items.items():
                    yield "MODIFIED" if uid in known else "ADDED", item
                known, version = items, listed
                first = False
                yield "SYNC", {}
            opened = time.monotonic()
            async for kind, item in _changes(cluster, path, query, version, doubt or Doubt(), lost=lost):
                if kind == "BACK":
                    lost = False
                    yield kind, item
                    continue
                version = item["metadata"]["resourceVersion"]
                wait = 0.2
                if kind == "BOOKMARK":
                    continue
                part = cut(item)
                known.pop(part["metadata"]["uid"], None)
                if kind != "DELETED":
                    known[part["metadata"]["uid"]] = part
                yield kind, part
            if time.monotonic() - opened < _SHORT_S:
                # Something on the way ends every answer at once.
                await asyncio.sleep(wait * random.uniform(0.8, 1.2))  # noqa: S311
                wait = min(wait * 2, 15)
        except ExpiredError:
            # https://kubernetes.io/docs/reference/using-api/api-concepts/#410-gone-responses
            version = ""
            await asyncio.sleep(wait * random.uniform(0.8, 1.2))  # noqa: S311
            wait = min(wait * 2, 15)
        except (ClusterError, NotAllowed, NotFound, aiohttp.ClientError, TimeoutError, OSError) as error:
            if first and not isinstance(error, ClusterUnreachable):
                raise
            lost = True
            yield "LOST", {"message": str(error).partition("\n")[0]}
            await asyncio.sleep(wait * random.uniform(0.8, 1.2))  # noqa: S311
            wait = min(wait * 2, 15)


async def _changes(
    cluster: Cluster, path: str, query: dict[str, str], version: str, doubt: Doubt, *, lost: bool
) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """Give the events of one watch, until it ends, falls silent or is doubted; `BACK` first where the server was lost."""
    options = {"watch": "1", "allowWatchBookmarks": "true", "timeoutSeconds": str(WATCH_S), "resourceVersion": version}
    doubted = asyncio.ensure_future(doubt.wait())  # from now on: what arises while it is being opened counts
    try:
        async with cluster.request(path, query | options) as response:
            if response.status >= 400:  # noqa: PLR2004
                raise status_error(response.status, await response.read())
            if lost:
                yield "BACK", {}
            rest = b""
            while chunk := await _chunk(response.content, doubted):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    event = orjson.loads(line)
                    if event["type"] == "ERROR":
                        raise status_error(event["object"].get("code", 500), orjson.dumps(event["object"]))
                    yield event["type"], event["object"]
    finally:
        doubted.cancel()


async def _chunk(content: aiohttp.StreamReader, doubted: asyncio.Future[bool]) -> bytes:
    """Wait for bytes; give none at the end, after a long silence, or in doubt: only another watch can show what was missed."""
    reading = asyncio.ensure_future(content.readany())
    waiting: list[asyncio.Future[Any]] = [reading, doubted]
    try:
        await asyncio.wait(waiting, timeout=SILENT_S, return_when=asyncio.FIRST_COMPLETED)
        return reading.result() if reading.done() else b""
    finally:
        reading.cancel()
