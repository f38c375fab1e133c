"""What remains of trimmed lines: the gap notice, and the lines that are needed to resume a container's log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import orjson
import zstandard

from cortex_jupyter.store.packing import pack
from cortex_jupyter.store.scan import Scan

if TYPE_CHECKING:
    from cortex_jupyter.model import Entry, IndexEntry
    from cortex_jupyter.store import Anchor, Readable, RetentionStore, Store

    #: Number, time and text of a trimmed line.
    Row = tuple[int, int, str]

#: Times of two writers may be out of order by this much (ns).
_SLACK: Final = 1_000_000_000


def trim_notice(store: Readable, recording: int) -> Entry | None:
    """Return the notice of trimmed lines, None if nothing was trimmed."""
    first = store.entry(recording, 1)
    return first if first is not None and first.event == "gap" and b'"notice":"trimmed"' in first.data else None


def trimmed_span(store: Readable, recording: int) -> tuple[int, int, int] | None:
    """Return the earliest and latest time (ns) of the trimmed lines and their number; None if nothing was trimmed.

    The recorder must not record these lines again, even if the node still has them.
    """
    first = trim_notice(store, recording)
    return None if first is None else (first.t_min, first.t_max, orjson.loads(first.data)["lines"])


def collect_resume_lines(store: Store, recording: int, rows: list[IndexEntry]) -> bytes:
    """Return, packed, the lines from each source's anchor on that are in these entries or were trimmed before.

    Resuming a container's log recognizes these lines. A container that was silent for long has its last lines among
    the oldest of the recording.
    """
    last = rows[-1].last
    before = _trimmed_rows(store, recording)
    lines: dict[int, list[Row]] = {}
    anchors: dict[int, Anchor] = {}
    for sid, (source, anchor) in store.sources(recording).items():
        if anchor.last and anchor.seq <= last and not anchor.ended and not source.part:
            anchors[sid] = anchor
            lines[sid] = [row for row in before.get(sid, []) if _is_after(anchor, row)]
    scan = Scan(store, recording)
    for index_row in rows:
        overlapping = {
            sid: a
            for sid, a in anchors.items()
            if index_row.last >= a.seq
            and index_row.t_max >= a.second
            and index_row.t_min <= max(a.last, a.top) + _SLACK
        }
        batch = scan.read_batch(index_row) if overlapping else None
        if batch is None:
            continue
        for number, sid, at, text in zip(batch.seqs, batch.sids, batch.times, batch.texts, strict=True):
            if sid in overlapping and _is_after(overlapping[sid], (number, at, text)):
                lines[sid].append((number, at, text))
    packed = {str(sid): rows_ for sid, rows_ in lines.items() if rows_}
    return pack(orjson.dumps(packed)) if packed else b""


def trimmed_lines(store: RetentionStore, recording: int, sid: int, anchor: Anchor) -> list[tuple[int, str]]:
    """Return a source's trimmed lines from its anchor on, as (time, text)."""
    return [
        (at, text)
        for number, at, text in _trimmed_rows(store, recording).get(sid, [])
        if _is_after(anchor, (number, at, text))
    ]


def _is_after(anchor: Anchor, row: Row) -> bool:
    return row[0] >= anchor.seq and row[1] >= anchor.second


def _trimmed_rows(store: RetentionStore, recording: int) -> dict[int, list[Row]]:
    data = store.resume_lines(recording)
    documents = orjson.loads(zstandard.decompress(data)) if data else {}
    return {int(sid): rows for sid, rows in documents.items()}
