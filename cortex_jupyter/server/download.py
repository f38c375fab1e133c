"""`GET cortex/tasks/NAMESPACE/KIND/NAME/logs.ndjson`, `.txt` and `.parquet`: what is recorded, as a file."""

from __future__ import annotations

import asyncio
import re
import tempfile
import threading
from contextlib import aclosing, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson
from jupyter_server.auth.decorator import authorized
from tornado import web
from tornado.iostream import StreamClosedError

from cortex_jupyter.errors import CortexError, TooMany
from cortex_jupyter.query.language import NAMES, LogQuery
from cortex_jupyter.reader import text
from cortex_jupyter.reader.filtering import in_turn
from cortex_jupyter.reader.names import check_names
from cortex_jupyter.reader.stored import in_thread, start, stored, tail_of
from cortex_jupyter.reader.window import caught_up
from cortex_jupyter.server.streaming import StreamingHandler
from cortex_jupyter.telemetry import server_metrics

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cortex_jupyter.model import Batch
    from cortex_jupyter.query.filter import Keep
    from cortex_jupyter.reader.session import Recording
    from cortex_jupyter.store import RecordingInfo

_ALLOWED: Final = frozenset(NAMES) - {"follow", "limit", "before", "after"}
_TYPES: Final = {
    "ndjson": "application/x-ndjson; charset=utf-8",
    "txt": "text/plain; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
}
#: As for a page; and the bytes that are read from a temporary file at once.
_SETTLE_S: Final = 30.0
_PIECE: Final = 1 << 18


class DownloadHandler(StreamingHandler):
    """The log of one task as a file, in the order of recording; streamed, so that its size does not matter."""

    @web.authenticated
    @authorized
    async def get(self, namespace: str, kind: str, name: str, suffix: str) -> None:
        """Send the file."""
        query = self.query(self.arguments(), "all", _ALLOWED)
        recording = await self.find(namespace, kind, name)
        await check_names(recording, query)
        try:
            await self.until_closed(self._kept(recording, query, suffix), recording.ref)
        except CortexError as error:
            if not self._headers_written:
                raise
            server_metrics.refused(error.code)
            self.request.connection.stream.close()  # type: ignore[union-attr]  # a file that ends early is no file

    async def _kept(self, recording: Recording, query: LogQuery, suffix: str) -> None:
        gone = threading.Event()
        with self.reading():
            async with recording.wanted():  # as long as it takes, so that retention leaves it alone
                try:
                    await self._send(recording, query, suffix, gone)
                finally:
                    gone.set()

    async def _send(self, recording: Recording, query: LogQuery, suffix: str, gone: threading.Event) -> None:
        info = await caught_up(recording, _SETTLE_S)
        user, readers = self.service.user(self), self.service.readers
        with readers.files.use(user, 1) if suffix == "parquet" else nullcontext():
            await self._send_file(recording, query, suffix, info, gone)

    async def _send_file(
        self, recording: Recording, query: LogQuery, suffix: str, info: RecordingInfo, gone: threading.Event
    ) -> None:
        query = await asyncio.to_thread(query.among, recording.store, recording.id)
        batches = await in_turn(query.keep(), select, recording, query, info, gone)
        pieces: Iterator[bytes]
        with tempfile.TemporaryDirectory(prefix="cortex-") as folder:
            if suffix == "parquet":
                path = Path(folder) / "logs.parquet"
                limit = self.service.app.max_file_bytes
                pieces = _pieces(await in_turn(query.keep(), parquet, recording, query, path, gone, limit))
            elif suffix == "txt":
                pieces = (text.lines(batch, query).encode("utf-8", "replace") for batch in batches)
            else:
                pieces = (b"".join(orjson.dumps(row) + b"\n" for row in text.rows(batch)) for batch in batches)
            ref = recording.ref
            name = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{ref.namespace}-{ref.name}.{suffix}")
            self.set_header("Content-Type", _TYPES[suffix])
            self.set_header("Content-Disposition", f'attachment; filename="{name}"')
            self.set_header("Cache-Control", "no-store")
            try:
                async with aclosing(in_thread(pieces, query.keep())) as parts:
                    await self.send(parts)
                await self.finish(set_content_type=_TYPES[suffix])
            except StreamClosedError:
                return


class ReaderGoneError(Exception):
    """Nobody waits for the file any more; raised in a thread to which nobody listens either."""


def select(recording: Recording, query: LogQuery, info: RecordingInfo, gone: threading.Event) -> Iterator[Batch]:
    """Give what a query wants of a recording, until `gone` is set: also where nothing matches for long."""
    store, id_, keep = recording.store, recording.id, query.keep()
    window: dict[str, Any] = {"since": query.since, "until": query.until, "keep": keep and partial(_asked, keep, gone)}
    upto = info.last_seq
    if query.tail is not None:
        low, upto, stopped = tail_of(recording, query)
        if stopped:
            hint = "bound it by since, or go back by pages: `.../logs?grep=...&before=OLDER`"
            raise TooMany(f"the newest {query.tail} such lines were not found within {query.bounds.query_s:g} s", hint)
        window["low"] = low or (1 << 63, 0)
    held = stored(store, id_, upto=upto, after=start(store, id_, query.since), **window)
    return (batch for _, batch in held if batch is not None)


def _asked(keep: Keep, gone: threading.Event, batch: Batch) -> Iterable[int]:
    _still(gone)
    return keep(batch)


def parquet(recording: Recording, query: LogQuery, path: Path, gone: threading.Event, limit: int) -> Path:
    """Return the file to send: the archive's own where it holds just that, else one that is written by row groups.

    The archive's own holds the events of Kubernetes; a reader who may not see them gets a file without them.

    Raises
    ------
    TooMany
        It would have more bytes than `limit`.
    """
    # Here and not above: with it comes pyarrow, which is an extra and takes half a second.
    from cortex_jupyter.tables.parquet import file_of, to_parquet  # noqa: PLC0415

    with_events = "events" not in recording.hidden
    held = file_of(recording.store, recording.id, query) if with_events else None
    if held is None:

        def go_on(_: int) -> None:
            _go_on(path.parent, gone, limit)

        to_parquet(recording.store, recording.id, query, path, go_on, with_events=with_events)
        _go_on(path.parent, gone, limit)  # of the last row group nothing was known before
    return held or path


def _go_on(folder: Path, gone: threading.Event, limit: int) -> None:
    _still(gone)
    if sum(part.stat().st_size for part in folder.iterdir()) > limit:
        hint = "bound it by since and until, archive the task and read its file, or raise CortexJupyter.max_file_bytes"
        raise TooMany(f"the Parquet file has more than the {limit} bytes of this server's limit", hint)


def _still(gone: threading.Event) -> None:
    if gone.is_set():
        raise ReaderGoneError


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            yield piece
