"""`GET cortex/tasks/NAMESPACE/KIND/NAME/logs`: the three cases of DESIGN section 4.1.

A running task that is followed answers with a stream; one that is over, or is not followed, with a page of JSON;
a request that is wrong with an error of its own status, before the first byte.
"""

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
from cortex_jupyter.reader.filtering import run_filter
from cortex_jupyter.reader.name_check import check_names
from cortex_jupyter.reader.page_json import page, parse_moment
from cortex_jupyter.reader.state import present
from cortex_jupyter.reader.window import Window, wait_caught_up
from cortex_jupyter.server.sse import Slot
from cortex_jupyter.server.streaming import StreamingHandler

if TYPE_CHECKING:
    from cortex_jupyter.query.language import LogQuery
    from cortex_jupyter.reader.session import Recording

_ALLOWED: Final = frozenset(NAMES) | {"format", "cursor", "at"}
#: A page waits so long, seconds, for what had been written; then it answers with what there is.
_SETTLE_S: Final = 30.0


class LogsHandler(StreamingHandler):
    """The log of one task."""

    @web.authenticated
    @authorized
    async def get(self, namespace: str, kind: str, name: str) -> None:
        """Answer with a stream or a page."""
        arguments = self.arguments()
        query = self.query(arguments, "all", _ALLOWED)
        plain = _plain(arguments.get("format", ""))
        resume = self.resume(arguments.get("cursor"))
        if len(resume) > 1:
            raise BadQuery("there are several cursors for one task", "give the `id:` of this task's events")
        recording = await self.find(namespace, kind, name, resume[0] or query.after or query.before)
        await check_names(recording, query)
        info = await recording.info()
        if self._accepts_stream() or (query.follow and not info.done):
            if query.before or arguments.get("at"):
                raise BadQuery("before or at is given for a stream", "a stream goes on; go back by pages")
            window = await Window.open(recording, query, resume[0] or query.after, info=info)
            await self.stream([Slot(recording.ref.key, window)], plain=plain)
        elif arguments.get("cursor"):
            raise BadQuery("cursor is given for a page", "pages take before=`older` or after=`newer`")
        else:
            await self.until_closed(
                self._page(recording, query, parse_moment(arguments.get("at"), query)), recording.ref
            )

    def _accepts_stream(self) -> bool:
        return "text/event-stream" in self.request.headers.get("Accept", "")

    async def _page(self, recording: Recording, query: LogQuery, at: int | None) -> None:
        info = await wait_caught_up(recording, _SETTLE_S)
        ahead = recording.ahead(info)
        query = query.ahead(ahead).with_default_since("all" if info.done else "1m", time.time_ns() + ahead)
        keep = query.keep()
        task = await present(recording, info)
        gone = threading.Event()

        def written() -> bytes:
            return orjson.dumps(page(recording, query, info, task, at, gone.is_set))

        user, readers = self.service.user(self), self.service.readers
        try:
            async with readers.pages.turn(user), self.service.filters.turn(user) if keep else nullcontext():
                body = await run_filter(keep, written)
        finally:
            gone.set()
        # A reader that takes its time has the server keep the page until then.
        with readers.buffered.use(user, len(body)), contextlib.suppress(StreamClosedError):
            await self.reply(body)


def _plain(value: str) -> bool:
    if value not in ("", "json", "text"):
        raise BadQuery(f"format={value[:60]!r} is no format", "format is json or text")
    return value == "text"
