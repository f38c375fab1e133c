"""`GET cortex/tasks/NAMESPACE/KIND/NAME/logs.ndjson`, `.txt` and `.parquet`: the recorded log as a file."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from contextlib import aclosing, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import orjson
from jupyter_server.auth.decorator import authorized
from tornado import web
from tornado.iostream import StreamClosedError

from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.errors import CortexError
from cortex_jupyter.reader.filtering import in_thread, run_filter
from cortex_jupyter.reader.name_check import check_names
from cortex_jupyter.reader.text import TextFormat, rows
from cortex_jupyter.reader.window import wait_caught_up
from cortex_jupyter.server.streaming import StreamingHandler
from cortex_jupyter.tables.files import (
    ALLOWED,
    SETTLE_S,
    check_reader,
    file_name,
    parquet,
    read_pieces,
    select,
    text_pieces,
)
from cortex_jupyter.telemetry import server_metrics

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from cortex_jupyter.query.language import LogQuery
    from cortex_jupyter.reader.session import Recording
    from cortex_jupyter.store import RecordingInfo

_TYPES: Final = {
    "ndjson": "application/x-ndjson; charset=utf-8",
    "txt": "text/plain; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
}


class DownloadHandler(StreamingHandler):
    """The log of one task as a file: NDJSON in the order of recording, text and Parquet in the order of time.

    It is streamed, so memory does not grow with its size.
    """

    @web.authenticated
    @authorized
    async def head(self, namespace: str, kind: str, name: str, suffix: str) -> None:
        """Answer with the status with which `get` would begin, as far as it is known without reading the log.

        A page asks before it follows a plain link, whose errors it cannot show.
        """
        await self._ask(namespace, kind, name)
        with self.reading(), self._counted(suffix):
            if suffix == "parquet":
                await asyncio.to_thread(import_optional, "pyarrow")  # it takes half a second
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
            self.outcome = error.code
            self.request.connection.stream.close()  # type: ignore[union-attr]  # the client must see that the file is incomplete

    async def _ask(self, namespace: str, kind: str, name: str) -> tuple[Recording, LogQuery]:
        """Return the recording, and the query of the address. A plain link has no header, so it names the origin there."""
        arguments = self.arguments()
        arguments.pop("origin", None)
        query = self.query(arguments, "all", ALLOWED)
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
        info = await wait_caught_up(recording, SETTLE_S)
        with self._counted(suffix):
            await self._send_file(recording, query, suffix, info, reader_gone)

    def _counted(self, suffix: str) -> AbstractContextManager[None]:
        """Count a Parquet file, which takes space on the disk, as one of the user's."""
        user, readers = self.service.user(self), self.service.readers
        return readers.files.use(user, 1) if suffix == "parquet" else nullcontext()

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
                pieces = read_pieces(
                    await run_filter(query.keep(), parquet, recording, query, path, reader_gone, limit)
                )
            elif suffix == "txt":
                check = partial(check_reader, reader_gone)
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
