"""Watches: every change after a resource version, once, in order.

The rules come from the watch cache (`staging/src/k8s.io/apiserver/pkg/storage/cacher`):

- Without a version, or with 0, the existing objects come first, as ADDED.
- If a change makes an object stop matching the selector, the event is DELETED.
- For a version that is no longer held, the stream answers 200 and sends an ERROR event with a 410 Status.
- If the client requests bookmarks, they come at intervals and just before the stream ends at its timeout.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import orjson

from cortex_jupyter.cluster import KubeObject
from cortex_jupyter.sandbox.representations import Representation
from cortex_jupyter.sandbox.status import ApiError, expired
from cortex_jupyter.sandbox.stream import Stream

if TYPE_CHECKING:
    from aiohttp import web

    from cortex_jupyter.sandbox.config import Config
    from cortex_jupyter.sandbox.faults import Faults
    from cortex_jupyter.sandbox.objects import Change, Store
    from cortex_jupyter.sandbox.resources import Resource
    from cortex_jupyter.sandbox.selectors import Matcher

Represent = Callable[[KubeObject], KubeObject]


def _line(kind: str, obj: KubeObject) -> bytes:
    return orjson.dumps({"type": kind, "object": obj}) + b"\n"


class Watch:
    """Serves one watch request.

    Parameters
    ----------
    store, faults, config
        The sandbox's store, faults and settings.
    resource : Resource
        The watched resource.
    matches : callable
        Whether an object is in the namespace and matches the selectors.
    """

    def __init__(self, store: Store, faults: Faults, config: Config, resource: Resource, matches: Matcher) -> None:
        self._store, self._faults, self._config = store, faults, config
        self._resource, self._matches = resource, matches

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Send events until the timeout, the client or a fault ends the stream."""
        query = request.query
        start = query.get("resourceVersion", "")
        if start and not start.isdecimal():
            text = f'resourceVersion: Invalid value: "{start}": strconv.ParseUint: parsing "{start}": invalid syntax'
            raise ApiError(500, text, reason="")
        timeout = float(query.get("timeoutSeconds") or 0) or 3600.0
        bookmarks = query.get("allowWatchBookmarks", "").lower() in ("true", "1")
        path = f"{request.method} {request.path_qs}"
        represent = Representation(request, self._resource).watched
        async with Stream(request, "application/json", self._faults, lambda: self._faults.watch_fault(path)) as stream:
            with self._store.watch() as queue, contextlib.suppress(ConnectionError):
                try:
                    await stream.send(self._first(start, represent))
                except ApiError as error:
                    await stream.send(_line("ERROR", error.body))
                    return stream.response
                await self._follow(stream, queue, timeout, represent, bookmarks=bookmarks)
        return stream.response

    def _first(self, start: str, represent: Represent) -> bytes:
        if start in ("", "0"):
            existing = [obj for obj in self._store.select(self._resource.group_resource) if self._matches(obj)]
            return b"".join(_line("ADDED", represent(obj)) for obj in existing)
        missed = [c for c in self._store.since(int(start)) if c.group_resource == self._resource.group_resource]
        return b"".join(self._event(c, represent) for c in missed)

    def _event(self, change: Change, represent: Represent) -> bytes:
        matched_before = change.old is not None and self._matches(change.old)
        matches_now = change.new is not None and self._matches(change.new)
        if matches_now:
            return _line("MODIFIED" if matched_before else "ADDED", represent(change.object))
        if matched_before:
            meta = change.object["metadata"] | {"resourceVersion": str(change.version)}
            return _line("DELETED", represent(change.object | {"metadata": meta}))
        return b""

    async def _follow(
        self,
        stream: Stream,
        queue: asyncio.Queue[Change | None],
        seconds: float,
        represent: Represent,
        *,
        bookmarks: bool,
    ) -> None:
        end = time.monotonic() + seconds
        next_bookmark = time.monotonic() + self._config.bookmark
        while (remaining := end - time.monotonic()) > 0:
            timeout = min(remaining, next_bookmark - time.monotonic()) if bookmarks else remaining
            try:
                change = await asyncio.wait_for(queue.get(), max(0.001, min(timeout, 1.0)))
            except TimeoutError:
                # The queue is empty, so this stream has sent every change up to the store's version.
                if self._is_withdrawn():
                    return
                is_bookmark_due = bookmarks and time.monotonic() >= next_bookmark
                next_bookmark = time.monotonic() + self._config.bookmark if is_bookmark_due else next_bookmark
                await stream.send(self._bookmark() if is_bookmark_due else b"")
                continue
            if change is None:
                await stream.send(_line("ERROR", expired(self._store.oldest - 1, self._store.oldest).body))
                return
            if change.group_resource == self._resource.group_resource and (data := self._event(change, represent)):
                await stream.send(data)
        if bookmarks and queue.empty():
            await stream.send(self._bookmark())

    def _is_withdrawn(self) -> bool:
        """Whether the resource is no longer served; the API server then ends its watches (`tearDown` of its storage)."""
        r = self._resource
        return self._store.resources.find(r.group, r.version, r.plural) is None

    def _bookmark(self) -> bytes:
        meta = {"resourceVersion": str(self._store.version), "creationTimestamp": None}
        return _line(
            "BOOKMARK", {"kind": self._resource.kind, "apiVersion": self._resource.api_version, "metadata": meta}
        )
