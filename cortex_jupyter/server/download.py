"""`GET cortex/tasks/NAMESPACE/KIND/NAME/logs.ndjson`, `.txt` and `.parquet`: the recorded log as a file."""

from __future__ import annotations

import asyncio
import re
import tempfile
import threading
from contextlib import aclosing, nullcontext
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

import orjson
from jupyter_server.auth.decorator import authorized
from tornado import web
from tornado.iostream import StreamClosedError

from cortex_jupyter.errors import CortexError, TooMany
from cortex_jupyter.model import AFTER_ALL, rfc3339
from cortex_jupyter.query.instants import duration
from cortex_jupyter.query.language import NAMES, LogQuery
from cortex_jupyter.reader.event_stream import ReaderGoneError
from cortex_jupyter.reader.filtering import in_thread, run_filter
from cortex_jupyter.reader.name_check import check_names
from cortex_jupyter.reader.pages import tail_of
from cortex_jupyter.reader.text import TextFormat, rows
from cortex_jupyter.reader.window import wait_caught_up
from cortex_jupyter.server.streaming import StreamingHandler
from cortex_jupyter.store.scan import Scan, reading_order
from cortex_jupyter.telemetry import server_metrics

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from cortex_jupyter.model import Batch, IndexEntry, TaskRef
    from cortex_jupyter.query.filter import RowFilter
    from cortex_jupyter.reader.session import Recording
    from cortex_jupyter.store import RecordingInfo

_ALLOWED: Final = frozenset(NAMES) - {"follow", "limit", "before", "after"}
_TYPES: Final = {
    "ndjson": "application/x-ndjson; charset=utf-8",
    "txt": "text/plain; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
}
#: A download waits at most this long (seconds) until everything written so far is recorded, as a page does.
_SETTLE_S: Final = 30.0
#: Bytes that are read from a temporary file at once.
_PIECE: Final = 1 << 18
#: Lines of text that are sent at once.
_LINES: Final = 1000
#: Lines of at most this many characters wait for older ones, so that a text is in the order of time.
_MAX_WAITING: Final = 16 << 20
#: Query parameters that are a window, and those that change only how lines are written.
_WINDOW: Final = frozenset({"since", "until", "tail"})
_FORM: Final = frozenset({"timestamps", "pretty"})


class DownloadHandler(StreamingHandler):
    """The log of one task as a file: NDJSON in the order of recording, text and Parquet in the order of time.

    It is streamed, so memory does not grow with its size.
    """

    @web.authenticated
    @authorized
    async def head(self, namespace: str, kind: str, name: str, suffix: str) -> None:
        """Answer whether `get` would begin to send. A page asks before it follows a plain link, whose errors it cannot show."""
        await self._ask(namespace, kind, name)
        self.set_header("Content-Type", _TYPES[suffix])
        await self.finish(set_content_type=_TYPES[suffix])

    @web.authenticated
    @authorized
    async def get(self, namespace: str, kind: str, name: str, suffix: str) -> None:
        """Send the file."""
        recording, query = await self._ask(namespace, kind, name)
        try:
            await self.until_closed(self._send_while_open(recording, query, suffix), recording.ref)
        except CortexError as error:
            if not self._headers_written:
                raise
            server_metrics.count_refusal(error.code)
            self.request.connection.stream.close()  # type: ignore[union-attr]  # the client must see that the file is incomplete

    async def _ask(self, namespace: str, kind: str, name: str) -> tuple[Recording, LogQuery]:
        """Return the recording, and the query of the address. A plain link has no header, so it names the origin there."""
        arguments = self.arguments()
        arguments.pop("origin", None)
        query = self.query(arguments, "all", _ALLOWED)
        recording = await self.find(namespace, kind, name)
        await check_names(recording, query)
        return recording, query

    async def _send_while_open(self, recording: Recording, query: LogQuery, suffix: str) -> None:
        reader_gone = threading.Event()
        with self.reading():
            async with recording.keep_wanted():  # so that retention does not remove it meanwhile
                try:
                    await self._send(recording, query, suffix, reader_gone)
                finally:
                    reader_gone.set()

    async def _send(self, recording: Recording, query: LogQuery, suffix: str, reader_gone: threading.Event) -> None:
        info = await wait_caught_up(recording, _SETTLE_S)
        user, readers = self.service.user(self), self.service.readers
        with readers.files.use(user, 1) if suffix == "parquet" else nullcontext():
            await self._send_file(recording, query, suffix, info, reader_gone)

    async def _send_file(
        self, recording: Recording, query: LogQuery, suffix: str, info: RecordingInfo, reader_gone: threading.Event
    ) -> None:
        query = await asyncio.to_thread(query.among, recording.store, recording.id)
        batches = await run_filter(query.keep(), select, recording, query, info, reader_gone)
        pieces: Iterator[bytes]
        with tempfile.TemporaryDirectory(prefix="cortex-") as folder:
            if suffix == "parquet":
                path = Path(folder) / "logs.parquet"
                limit = self.service.app.max_file_bytes
                pieces = _pieces(await run_filter(query.keep(), parquet, recording, query, path, reader_gone, limit))
            elif suffix == "txt":
                check = partial(_check_reader, reader_gone)
                form = await asyncio.to_thread(TextFormat.of, recording.store, recording.id, query, check)
                pieces = text_pieces(batches, recording.store.index(recording.id), form)
            else:
                pieces = (b"".join(orjson.dumps(row) + b"\n" for row in rows(batch)) for batch in batches)
            name = file_name(recording.ref, query, suffix)
            self.set_header("Content-Type", _TYPES[suffix])
            self.set_header("Content-Disposition", f'attachment; filename="{name}"')
            self.set_header("Cache-Control", "no-store")
            try:
                async with aclosing(in_thread(pieces, query.keep())) as parts:
                    await self.send(parts)
                await self.finish(set_content_type=_TYPES[suffix])
            except StreamClosedError:
                return


def file_name(ref: TaskRef, query: LogQuery, suffix: str) -> str:
    """Return the name of a download: the task, whether it is filtered, and its window.

    The parts are joined by underscores, which no name in Kubernetes has. So a part of a log never has the name of a whole one.

    Examples
    --------
    >>> from cortex_jupyter.model import TaskRef
    >>> task = TaskRef("ml", "job", "train-1")
    >>> file_name(task, LogQuery.parse({"since": "all"}), "txt")
    'ml-train-1.txt'
    >>> file_name(task, LogQuery.parse({"level": "error", "since": "10m", "tail": 5}), "txt")
    'ml-train-1_filtered_last-10m_tail-5.txt'
    >>> file_name(task, LogQuery.parse({"since": "2026-01-31T12:00:00Z", "until": "2026-01-31T13:30:00Z"}), "parquet")
    'ml-train-1_from-2026-01-31T12-00-00Z_to-2026-01-31T13-30-00Z.parquet'
    """
    raw = query.raw
    parts = [f"{ref.namespace}-{ref.name}"]
    if raw.keys() - _WINDOW - _FORM:
        parts.append("filtered")
    since, until = str(raw.get("since", "")), str(raw.get("until", ""))
    if query.since is not None:
        parts.append(f"last-{since}" if duration(since) is not None else f"from-{rfc3339(query.since)[:19]}Z")
    if query.until is not None:
        parts.append(f"to-{until}-ago" if duration(until) is not None else f"to-{rfc3339(query.until)[:19]}Z")
    if query.tail is not None:
        parts.append(f"tail-{query.tail}")
    return "_".join(re.sub(r"[^A-Za-z0-9.-]+", "-", part) for part in parts) + f".{suffix}"


def text_pieces(batches: Iterable[Batch], index: list[IndexEntry], form: TextFormat) -> Iterator[bytes]:
    """Yield lines of text in the order of time, many at once."""
    records = (record for _, _, record in reading_order(batches, index, _MAX_WAITING))
    while piece := list(islice(records, _LINES)):
        lines = (form.line(r.source["pod"], r.source["container"], r.time, r.text) for r in piece)
        yield "".join(f"{line}\n" for line in lines).encode("utf-8", "replace")


def select(recording: Recording, query: LogQuery, info: RecordingInfo, reader_gone: threading.Event) -> Iterator[Batch]:
    """Return the batches of a recording that match a query. Stop when `reader_gone` is set, even if nothing matches for long."""
    store, id_, keep = recording.store, recording.id, query.keep()
    if keep is not None:
        keep = partial(_keep_unless_gone, keep, reader_gone)
    scan = Scan(store, id_, upto=info.last_seq, keep=keep).within(query.since, query.until)
    if query.tail is not None:
        low, upto, stopped = tail_of(store, id_, query)
        if stopped:
            hint = "add since, or go back by pages: `.../logs?grep=...&before=OLDER`"
            raise TooMany(f"cannot find the newest {query.tail} matching lines within {query.bounds.query_s:g} s", hint)
        scan = replace(scan, upto=upto, low=low or AFTER_ALL)
    return scan.narrowed(store.index(id_)).batches()


def _keep_unless_gone(keep: RowFilter, reader_gone: threading.Event, batch: Batch) -> Sequence[int]:
    _check_reader(reader_gone)
    return keep(batch)


def parquet(recording: Recording, query: LogQuery, path: Path, reader_gone: threading.Event, limit: int) -> Path:
    """Return the file to send: the archive's own file if it holds exactly the query's result, else a new one.

    The archive's file contains events of Kubernetes. A reader who may not see them gets a new file without them.

    Raises
    ------
    TooMany
        The new file would have more bytes than `limit`.
    """
    # pyarrow is an extra, and its import takes half a second.
    from cortex_jupyter.tables.parquet import file_of, to_parquet

    with_events = "events" not in recording.hidden
    archived = file_of(recording.store, recording.id, query) if with_events else None
    if archived is None:

        def check(_: int) -> None:
            _check_reader(reader_gone)
            _check_size(path.parent, limit)

        to_parquet(recording.store, recording.id, query, path, check, with_events=with_events)
        check(0)  # the last row group has been written since the last call
    return archived or path


def _check_size(folder: Path, limit: int) -> None:
    if sum(part.stat().st_size for part in folder.iterdir()) > limit:
        hint = "add since and until, archive the task and read its file, or raise CortexJupyter.max_file_bytes"
        raise TooMany(f"the Parquet file has more than the {limit} bytes of this server's limit", hint)


def _check_reader(reader_gone: threading.Event) -> None:
    if reader_gone.is_set():
        raise ReaderGoneError


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            yield piece
