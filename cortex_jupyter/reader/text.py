"""Write records as rows of JSON and as lines of text."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import orjson

from cortex_jupyter.model import MEMBERSHIP, STREAMS, Batch, Cursor, rfc3339
from cortex_jupyter.parsing.level import level
from cortex_jupyter.store.scan import Scan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from cortex_jupyter.model import PublicSource, Source
    from cortex_jupyter.query.language import LogQuery
    from cortex_jupyter.reader.events import Burst
    from cortex_jupyter.store import Readable

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


@dataclass(frozen=True, slots=True)
class TextFormat:
    """How a file of text shows the records of a query.

    Lines of one container are written as they are. Lines of several begin with their source and time, as `kubectl logs
    --prefix --timestamps` writes them.

    Parameters
    ----------
    labels : mapping
        Pod and container to the name of the source; empty if one container wrote all lines.
    timestamps, pretty : bool
        As for `line`.
    """

    labels: Mapping[tuple[str, str], str]
    timestamps: bool
    pretty: bool

    @classmethod
    def of(
        cls, store: Readable, recording: int, query: LogQuery, check: Callable[[], object] = lambda: None
    ) -> TextFormat:
        """Return the format for a query.

        It blocks: if some of several containers may be silent, it looks for their lines in the query's window.

        Parameters
        ----------
        store : Readable
        recording : int
        query : LogQuery
            `timestamps=false` leaves out the times also of several containers.
        check : callable, optional
            Called now and then; it may raise to end the search.
        """
        sources = query.sources(store, recording)
        scan = Scan(store, recording).within(query.since, query.until).narrowed(store.index(recording))
        several = _wrote_several(scan, {(s.pod, s.container) for s in sources}, check)
        timestamps = query.timestamps or (several and "timestamps" not in query.raw)
        return cls(_labels(sources) if several else {}, timestamps, query.pretty)

    def line(self, pod: str, container: str, time: int, text: str) -> str:
        """Write a record."""
        text = line(time, text, timestamps=self.timestamps, pretty=self.pretty)
        return f"[{self.labels.get((pod, container), f'{pod}/{container}')}] {text}" if self.labels else text


def _wrote_several(scan: Scan, containers: set[tuple[str, str]], check: Callable[[], object]) -> bool:
    if len(containers) < 2:
        return False
    seen: set[tuple[str, str]] = set()
    for batch in scan.batches():
        check()
        seen |= {(source["pod"], source["container"]) for source in batch.sources.values()} & containers
        if len(seen) > 1:
            return True
    return False


def _labels(sources: Iterable[Source]) -> dict[tuple[str, str], str]:
    """Return a name for each pod and container.

    Examples
    --------
    >>> from cortex_jupyter.model import Source
    >>> workers = [Source(f"bert-{i}", f"u{i}", "main", f"c{i}", role="worker", rank=str(i)) for i in range(2)]
    >>> sorted(_labels(workers).values()), sorted(_labels([*workers, Source("bert-1", "u1", "agent", "c2")]).values())
    (['worker-0', 'worker-1'], ['bert-1/agent', 'worker-0/main', 'worker-1/main'])
    """
    pods: dict[str, set[str]] = {}
    for source in sources:
        pods.setdefault(_place(source), set()).add(source.pod)
    has_several_containers = len({source.container for source in sources}) > 1
    labels = {}
    for source in sources:
        place = _place(source)
        # A pod that was made again has the place of the one before.
        name = place if place and len(pods[place]) == 1 else source.pod
        labels[source.pod, source.container] = f"{name}/{source.container}" if has_several_containers else name
    return labels


def _place(source: Source) -> str:
    """Return where a source stands in its task: `worker-3`, `driver`."""
    return f"{source.role}-{source.rank}" if source.role and source.rank else source.role


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
