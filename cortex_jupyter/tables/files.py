"""A log as a file, in pieces: what the server's downloads send, and the kernel's."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final

from cortex_jupyter.errors import TooMany
from cortex_jupyter.model import AFTER_ALL, rfc3339
from cortex_jupyter.query.instants import duration
from cortex_jupyter.query.language import NAMES, LogQuery
from cortex_jupyter.reader.event_stream import ReaderGoneError
from cortex_jupyter.reader.pages import tail_of
from cortex_jupyter.store.scan import Scan, reading_order

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from cortex_jupyter.model import Batch, IndexEntry, TaskRef
    from cortex_jupyter.query.filter import RowFilter
    from cortex_jupyter.reader.session import Recording
    from cortex_jupyter.reader.text import TextFormat
    from cortex_jupyter.store import RecordingInfo

#: Parameters of a query for a file.
ALLOWED: Final = frozenset(NAMES) - {"follow", "limit", "before", "after"}
#: Time limit of a download's wait until all lines that the task has written are recorded (seconds). A page waits as long.
SETTLE_S: Final = 30.0
#: Bytes that are read from a temporary file at once.
_PIECE: Final = 1 << 18
#: Lines of text that are sent at once.
_LINES: Final = 1000
#: Lines of at most this many characters wait for older ones, so that a text is in the order of time.
_MAX_WAITING: Final = 16 << 20
#: Query parameters that are a window, and parameters that change only how lines are written.
_WINDOW: Final = frozenset({"since", "until", "tail"})
_FORM: Final = frozenset({"timestamps", "pretty"})


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
    check_reader(reader_gone)
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
            check_reader(reader_gone)
            _check_size(path.parent, limit)

        to_parquet(recording.store, recording.id, query, path, check, with_events=with_events)
        check(0)  # the last row group has been written since the last call
    return archived or path


def _check_size(folder: Path, limit: int) -> None:
    if sum(part.stat().st_size for part in folder.iterdir()) > limit:
        hint = "add since and until, archive the task and read its file, or raise CortexJupyter.max_file_bytes"
        raise TooMany(f"the Parquet file has more than the {limit} bytes of this server's limit", hint)


def check_reader(reader_gone: threading.Event) -> None:
    """Raise `ReaderGoneError` if the reader of a file has gone."""
    if reader_gone.is_set():
        raise ReaderGoneError


def read_pieces(path: Path) -> Iterator[bytes]:
    """Read a file piece by piece."""
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            yield piece
