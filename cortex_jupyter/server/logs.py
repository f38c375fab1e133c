"""`GET cortex/tasks/NAMESPACE/KIND/NAME/logs`: an event stream or a JSON page (docs/reference/http.md)."""

from __future__ import annotations

import contextlib
import threading
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Final

import orjson
from jupyter_server.auth.decorator import authorized
from tornado import web
from tornado.iostream import StreamClosedError

from cortex_jupyter.errors import BadQuery
from cortex_jupyter.query.language import NAMES
from cortex_jupyter.reader.event_stream import Slot
from cortex_jupyter.reader.filtering import run_filter
from cortex_jupyter.reader.name_check import check_names
from cortex_jupyter.reader.page_json import page, parse_moment
from cortex_jupyter.reader.state import present
from cortex_jupyter.reader.window import Window, wait_caught_up
from cortex_jupyter.server.streaming import StreamingHandler

if TYPE_CHECKING:
    from cortex_jupyter.query.language import LogQuery
    from cortex_jupyter.reader.session import Recording

_ALLOWED: Final = frozenset(NAMES) | {"format", "cursor", "at"}
#: A page waits at most this long (seconds) until everything written so far is recorded. Then it holds what there is.
_SETTLE_S: Final = 30.0


class LogsHandler(StreamingHandler):
    """The log of one task."""

    @web.authenticated
    @authorized
    async def get(self, namespace: str, kind: str, name: str) -> None:
        """Answer with a stream or a page."""
        arguments = self.arguments()
        query = self.query(arguments, "all", _ALLOWED)
        plain = _is_plain(arguments.get("format", ""))
        resume = self.resume(arguments.get("cursor"))
        if len(resume) > 1:
            raise BadQuery(
                "cannot resume: several cursors are given for one task", "give the `id:` of this task's events"
            )
        recording = await self.find(namespace, kind, name, resume[0] or query.after or query.before)
        await check_names(recording, query)
        info = await recording.info()
        if self._accepts_stream() or (query.follow and not info.done):
            if query.before or arguments.get("at"):
                raise BadQuery("a stream takes neither before nor at: it only goes forward", "go back by pages")
            window = await Window.open(recording, query, resume[0] or query.after, info=info)
            await self.stream([Slot(recording.ref.key, window)], plain=plain)
        elif arguments.get("cursor"):
            raise BadQuery("a page does not take cursor", "give before=`older` or after=`newer`")
        else:
            await self.until_closed(
                self._page(recording, query, parse_moment(arguments.get("at"), query)), recording.ref
            )

    def _accepts_stream(self) -> bool:
        return "text/event-stream" in self.request.headers.get("Accept", "")

    async def _page(self, recording: Recording, query: LogQuery, at: int | None) -> None:
        info = await wait_caught_up(recording, _SETTLE_S)
        clock_ahead = recording.clock_ahead(info)
        query = query.ahead(clock_ahead).with_default_since("all" if info.done else "1m", time.time_ns() + clock_ahead)
        keep = query.keep()
        task = await present(recording, info)
        reader_gone, read = threading.Event(), self.read_of(recording.ref)

        def write() -> bytes:
            document = page(recording, query, info, task, at, reader_gone.is_set)
            read.lines = len(document["records"])
            return orjson.dumps(document)

        user, readers = self.service.user(self), self.service.readers
        try:
            async with readers.pages.slot(user), self.service.filters.slot(user) if keep else nullcontext():
                body = await run_filter(keep, write)
        finally:
            reader_gone.set()
        # The server holds the page in memory until a slow reader has received it.
        with readers.buffered.use(user, len(body)), contextlib.suppress(StreamClosedError):
            await self.reply(body)


def _is_plain(value: str) -> bool:
    if value not in ("", "json", "text"):
        raise BadQuery(f"there is no format {value[:60]!r}", "write format=json or format=text")
    return value == "text"
