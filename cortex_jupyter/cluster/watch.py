"""List and watch a collection for ever: what is there, then every change, through cuts and expired versions."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson

from cortex_jupyter.cluster.session import status_error
from cortex_jupyter.errors import ClusterError, ClusterUnreachable, NotAllowed, NotFound

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from cortex_jupyter.cluster.session import Cluster

#: The server is asked to end each watch after this long, seconds, so that a dead connection is noticed.
WATCH_S = 240
#: One that ends sooner than this, seconds, is not opened again at once.
_SHORT_S = 1.0
_GONE = 410


async def watch(
    cluster: Cluster,
    path: str,
    query: dict[str, str],
    cut: Callable[[dict[str, Any]], dict[str, Any]] = lambda item: item,
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

    Yields
    ------
    tuple of (str, dict)
        `("ADDED" | "MODIFIED" | "DELETED", object)`; `("SYNC", {})` after each complete list. After a list that
        followed an outage, what vanished meanwhile comes as `DELETED`. `("LOST", {"message"})` when the API
        server cannot be reached; the watch goes on by itself.

    Raises
    ------
    NotAllowed, NotFound
        From the first list. Later they are outages: permissions come back.
    """
    known: dict[str, dict[str, Any]] = {}
    version = ""
    wait = 0.2
    first = True
    while True:
        try:
            if not version:
                doc = await cluster.json(path, query)
                items = {item["metadata"]["uid"]: cut(item) for item in doc["items"]}
                for uid in known.keys() - items.keys():
                    yield "DELETED", known[uid]
                for uid, item in items.items():
                    yield "MODIFIED" if uid in known else "ADDED", item
                known, version = items, doc["metadata"]["resourceVersion"]
                first = False
                yield "SYNC", {}
            opened = time.monotonic()
            async for kind, item in _changes(cluster, path, query, version):
                version = item["metadata"]["resourceVersion"]
                wait = 0.2
                if kind == "BOOKMARK":
                    continue
                part = cut(item)
                if kind == "DELETED":
                    known.pop(part["metadata"]["uid"], None)
                else:
                    known[part["metadata"]["uid"]] = part
                yield kind, part
            if time.monotonic() - opened < _SHORT_S:
                # Something on the way ends every answer at once.
                await asyncio.sleep(wait * random.uniform(0.8, 1.2))  # noqa: S311
                wait = min(wait * 2, 15)
        except _ExpiredError:
            version = (
                ""  # 410: list again, https://kubernetes.io/docs/reference/using-api/api-concepts/#410-gone-responses
            )
        except (ClusterError, NotAllowed, NotFound, aiohttp.ClientError, TimeoutError, OSError) as error:
            if first and not isinstance(error, ClusterUnreachable):
                raise
            yield "LOST", {"message": str(error).partition("\n")[0]}
            await asyncio.sleep(wait * random.uniform(0.8, 1.2))  # noqa: S311
            wait = min(wait * 2, 15)


class _ExpiredError(Exception):
    """The version is too old to watch from."""


async def _changes(
    cluster: Cluster, path: str, query: dict[str, str], version: str
) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    options = {"watch": "1", "allowWatchBookmarks": "true", "timeoutSeconds": str(WATCH_S), "resourceVersion": version}
    async with cluster.request(path, query | options, read_timeout=WATCH_S + 30) as response:
        if response.status == _GONE:
            raise _ExpiredError
        if response.status >= 400:  # noqa: PLR2004
            raise status_error(response.status, await response.read())
        rest = b""
        async for chunk in response.content.iter_any():
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                event = orjson.loads(line)
                if event["type"] == "ERROR":
                    if event["object"].get("code") == _GONE:
                        raise _ExpiredError
                    raise status_error(event["object"].get("code", 500), orjson.dumps(event["object"]))
                yield event["type"], event["object"]
