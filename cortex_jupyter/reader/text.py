"""Write records as rows of JSON and as lines of text."""

from __future__ import annotations

import contextlib
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import orjson

from cortex_jupyter.model import MEMBERSHIP, STREAMS, Batch, Cursor, rfc3339
from cortex_jupyter.parsing.level import level

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cortex_jupyter.model import PublicSource
    from cortex_jupyter.query.language import LogQuery
    from cortex_jupyter.reader.events import Burst

# The line breaks of an event stream: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
_BREAK: Final = re.compile(r"\r\n|\r|\n")


def row(seq: int, time: int, source: PublicSource, stream: int, text: str) -> dict[str, Any]:
    """Return a record as the contract has it; role, rank and attempt only where its source has them.

    Parameters
    ----------
    seq, time : int
        Number; ns since the Unix epoch.
    source : dict
        As `Source.public` returns it.
    stream : int
        Index in `STREAMS`.
    text : str
    """
    record = {
        "seq": seq,
        "time": format_time(time),
        "pod": source["pod"],
        "container": source["container"],
        "kind": source["kind"],
        "run": source["run"],
        "stream": STREAMS[stream],
        "text": text,
        "level": level(text),
    }
    for name in MEMBERSHIP:
        if name in source:
            record[name] = source[name]
    return record


def rows(batch: Batch) -> Iterator[dict[str, Any]]:
    """Return the records of a batch as `row` does."""
    columns = zip(batch.seqs, batch.times, batch.sids, batch.streams, batch.texts, strict=True)
    return (row(seq, time, batch.sources[sid], stream, text) for seq, time, sid, stream, text in columns)


@lru_cache(maxsize=4096)
def _second(second: int) -> str:
    return rfc3339(second * 1_000_000_000)[:19]


def format_time(time: int) -> str:
    """Format a time as `rfc3339` does; it caches the second, which most lines share with the line before.

    Examples
    --------
    >>> format_time(1_700_000_000_000_000_005)
    '2023-11-14T22:13:20.000000005Z'
    """
    second, fraction = divmod(time, 1_000_000_000)
    return f"{_second(second)}.{fraction:09d}Z"


def line(time: int, text: str, *, timestamps: bool, pretty: bool) -> str:
    r"""Write a record as text, as `kubectl logs` does.

    Parameters
    ----------
    time : int
        ns since the Unix epoch.
    text : str
    timestamps : bool
        Put the time before the text.
    pretty : bool
        Spread a JSON object over several lines; one nested deeper than 254 stays as it is.

    Examples
    --------
    >>> line(0, '{"a":1}', timestamps=True, pretty=True)
    '1970-01-01T00:00:00.000000000Z {\n  "a": 1\n}'
    """
    if pretty and text.lstrip()[:1] in ("{", "["):
        with contextlib.suppress(orjson.JSONDecodeError, TypeError):  # it is no JSON, or too deep to write
            text = orjson.dumps(orjson.loads(text), option=orjson.OPT_INDENT_2).decode()
    return f"{format_time(time)} {text}" if timestamps else text


def lines(batch: Batch, query: LogQuery) -> str:
    """Write a batch as text, with a line break after each record."""
    pairs = zip(batch.times, batch.texts, strict=True)
    return "".join(line(t, m, timestamps=query.timestamps, pretty=query.pretty) + "\n" for t, m in pairs)


def events(burst: Burst, query: LogQuery) -> bytes:
    """Encode events, one for each line, for `curl` and clients that want lines; it blocks.

    In an event stream a carriage return ends a line, so a text with several parts is sent as several lines of one
    event.
    """
    out = []
    for event in burst.events:
        if event.event != "log":
            out.append(event.written)
            continue
        batch = Batch.decode(event.entry.data)
        for seq, time, text in zip(batch.seqs, batch.times, batch.texts, strict=True):
            out_line = line(time, text, timestamps=query.timestamps, pretty=query.pretty)
            data = "".join(f"data: {part}\n" for part in _BREAK.split(out_line))
            out.append(f"id: {Cursor.at(event.recording, seq, event.epochs)}\n{data}\n".encode("utf-8", "replace"))
    return b"".join(out)
