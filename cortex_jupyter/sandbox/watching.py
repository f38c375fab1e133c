"""Watches: every change after a resource version, once, in order.

As the watch cache does (`staging/src/k8s.io/apiserver/pkg/storage/cacher`): without a version, or with 0, the
objects there are come first as ADDED; a change that takes an object out of the selection is a DELETED;
a version that is no longer held is an ERROR event with a 410 Status inside a 200 stream; bookmarks where
they are asked for, also just before the stream ends at its timeout.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from typing import TYPE_CHECKING, Any

import orjson

from cortex_jupyter.sandbox import tables
from cortex_jupyter.sandbox.status import ApiError, expired
from cortex_jupyter.sandbox.stream import Stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

    from cortex_jupyter.sandbox.config import Config
    from cortex_jupyter.sandbox.faults import Faults
    from cortex_jupyter.sandbox.objects import Change, Store
    from cortex_jupyter.sandbox.resources import Resource
    from cortex_jupyter.sandbox.selectors import Matcher

Object = dict[str, Any]


def _line(kind: str, obj: Object) -> bytes:
    return orjson.dumps({"type": kind, "object": obj}) + b"\n"


class Watch:
    """One watch request.

    Parameters
    ----------
    store, faults, config
        Of the sandbox.
    resource : Resource
        What is watched.
    matches : callable
        Namespace and selectors.
    """

    def __init__(self, store: Store, faults: Faults, config: Config, resource: Resource, matches: Matcher) -> None:
        self._store, self._faults, self._config = store, faults, config
        self._resource, self._matches = resource, matches
        self._shape: Callable[[Object], Object] = lambda obj: obj

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer until the timeout, the client or a fault ends it."""
        query = request.query
        start = query.get("resourceVersion", "")
        if start and not start.isdecimal():
            text = f'resourceVersion: Invalid value: "{start}": strconv.ParseUint: parsing "{start}": invalid syntax'
            raise ApiError(500, text, reason="")
        timeout = float(query.get("timeoutSeconds") or 0) or 3600.0
        bookmarks = query.get("allowWatchBookmarks", "").lower() in ("true", "1")
        path = f"{request.method} {request.path_qs}"
        self._shape = functools.partial(tables.shape, request, self._resource)
        async with Stream(request, "application/json", self._faults, lambda: self._faults.watch(path)) as stream:
            with self._store.watch() as queue, contextlib.suppress(ConnectionError):
                try:
                    await stream.send(self._first(start))
                except ApiError as error:
                    await stream.send(_line("ERROR", error.body))
                    return stream.response
                await self._follow(stream, queue, timeout, bookmarks=bookmarks)
        return stream.response

    def _first(self, start: str) -> bytes:
        if start in ("", "0"):
            found = [obj for obj in self._store.select(self._resource.plural) if self._matches(obj)]
            return b"".join(_line("ADDED", self._shape(obj)) for obj in found)
        missed = [c for c in self._store.since(int(start)) if c.plural == self._resource.plural]
        return b"".join(self._event(c) for c in missed)

    def _event(self, change: Change) -> bytes:
        before = change.old is not None and self._matches(change.old)
        after = change.new is not None and self._matches(change.new)
        if after:
            return _line("MODIFIED" if before else "ADDED", self._shape(change.object))
        if before:
            meta = change.object["metadata"] | {"resourceVersion": str(change.version)}
            return _line("DELETED", self._shape(change.object | {"metadata": meta}))
        return b""

    async def _follow(
        self, stream: Stream, queue: asyncio.Queue[Change | None], seconds: float, *, bookmarks: bool
    ) -> None:
        end = time.monotonic() + seconds
        mark = time.monotonic() + self._config.bookmark
        while (left := end - time.monotonic()) > 0:
            due = min(left, mark - time.monotonic()) if bookmarks else left
            try:
                change = await asyncio.wait_for(queue.get(), max(0.001, min(due, 1.0)))
            except TimeoutError:
                # Nothing waits in the queue at this moment, so the store's version is this stream's too.
                marking = bookmarks and time.monotonic() >= mark
                mark = time.monotonic() + self._config.bookmark if marking else mark
                await stream.send(self._bookmark() if marking else b"")
                continue
            if change is None:
                await stream.send(_line("ERROR", expired(self._store.oldest - 1, self._store.oldest).body))
                return
            if change.plural == self._resource.plural and (data := self._event(change)):
                await stream.send(data)
        if bookmarks and queue.empty():
            await stream.send(self._bookmark())

    def _bookmark(self) -> bytes:
        meta = {"resourceVersion": str(self._store.version), "creationTimestamp": None}
        return _line(
            "BOOKMARK", {"kind": self._resource.kind, "apiVersion": self._resource.api_version, "metadata": meta}
        )
