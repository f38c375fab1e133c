"""Logs of other origin: text, NDJSON and Parquet, also compressed with gzip or zstd, as rows of a recording."""

from __future__ import annotations

import gzip
import re
from datetime import datetime
from itertools import chain, islice
from typing import IO, TYPE_CHECKING, Any, Final, cast

import orjson
import zstandard

from cortex_jupyter.archive.columns import ROWS, raw_schema
from cortex_jupyter.archive.extra import library
from cortex_jupyter.errors import ArchiveDamaged
from cortex_jupyter.records import STREAMS, Source

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Bytes read at once, and lines looked at to tell what a file is.
_PIECE: Final = 4 << 20
_LOOK: Final = 100
#: Names under which others keep what a person reads, and when it was written; the first that is there is taken.
_TEXTS: Final = ("text", "message", "msg", "log", "line", "body", "content", "value", "raw")
_TIMES: Final = ("time", "timestamp", "@timestamp", "ts", "datetime", "date", "asctime")
_ORIGIN: Final[tuple[str, ...]] = ("pod", "container", "run", "stream")
_DATE: Final = r"\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d:\d\d"
_WRITTEN: Final = re.compile(rf"\[?({_DATE})(?:[.,](\d{{1,9}}))?\d*(Z|[+-]\d\d:?\d\d)?")
_STAMPED: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d) ?")
_FIELD: Final = re.compile(rf'"(?:{"|".join(map(re.escape, _TIMES))})"\s*:\s*(?:"([^"]*)"|(\d+(?:\.\d+)?))')
#: What wrote the lines of a file that does not say.
_CONTAINER: Final = "log"
_MAGIC: Final = {b"\x1f\x8b": "gzip", b"\x28\xb5": "zstd", b"PA": "parquet"}

#: Seconds since the epoch that are a log's time: from 1990 to 2200.
_EARLIEST: Final = 631_152_000
_LATEST: Final = 7_258_118_400

Row = tuple[int, int, int, str]  # time, source, stream, text


class Foreign:
    """A file of logs, read once from its beginning.

    Parameters
    ----------
    path : path
    name : str
        What it is called: the pod of lines that name none.

    Attributes
    ----------
    sources : dict
        The sources that have occurred so far.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name
        self.sources: dict[int, Source] = {}
        self._ids: dict[tuple[str, str, int], int] = {}
        self._zone, self._second = "", ("", 0)
        self._last = int(path.stat().st_mtime) * 1_000_000_000

    def tables(self) -> Iterator[Any]:
        """Give the rows in the order of the file, about `ROWS` at a time, with the columns of `raw_schema`.

        Raises
        ------
        ArchiveDamaged
            It is compressed and was cut off, or is no Parquet file although it begins as one.
        """
        pa = library("pyarrow")
        with self.path.open("rb") as file:
            kind = _MAGIC.get(file.read(2), "text")
        rows = self._parquet() if kind == "parquet" else self._lines(kind)
        seq = 1
        waiting: list[Row] = []
        size = 0
        for row in rows:
            waiting.append(row)
            size += len(row[3])
            if len(waiting) >= ROWS or size > 16 * _PIECE:
                yield _table(pa, seq, waiting)
                seq, waiting, size = seq + len(waiting), [], 0
        if waiting:
            yield _table(pa, seq, waiting)

    def _source(self, pod: str, container: str, run: int = 0) -> int:
        key = (pod, container, run)
        found = self._ids.get(key)
        if found is None:
            found = self._ids[key] = len(self._ids) + 1
            self.sources[found] = Source(pod, "", container, "", "main", run)
        return found

    # --------------------------------------------------------------------- text

    def _lines(self, kind: str) -> Iterator[Row]:
        lines = self._split(kind)
        head = list(islice(lines, _LOOK))
        if head and all(map(_ours, head)):
            yield from map(self._exported, chain(head, lines))
            return
        # `kubectl logs --timestamps`, and what container runtimes write: the time is no part of the line.
        stamped = bool(head) and all(_STAMPED.match(line) for line in head)
        source = self._source(self.name, _CONTAINER)
        for line in chain(head, lines):
            time = self._time(line)
            text = _STAMPED.sub("", line, count=1) if stamped else line
            yield time, source, 0, text

    def _split(self, kind: str) -> Iterator[str]:
        rest = b""
        try:
            with self._unpacked(kind) as file:
                first = True
                while piece := file.read(_PIECE):
                    if first:
                        piece, first = piece.removeprefix(b"\xef\xbb\xbf"), False
                    *whole, rest = (rest + piece).split(b"\n")
                    for line in whole:
                        yield line.removesuffix(b"\r").decode("utf-8", "backslashreplace")
        except (EOFError, gzip.BadGzipFile, zstandard.ZstdError, OSError) as error:
            raise ArchiveDamaged(f"{self.name} cannot be unpacked, or was cut off: {error}") from error
        if rest:
            yield rest.removesuffix(b"\r").decode("utf-8", "backslashreplace")

    def _unpacked(self, kind: str) -> IO[bytes]:
        if kind == "gzip":
            return cast("IO[bytes]", gzip.open(self.path, "rb"))
        file = self.path.open("rb")
        if kind == "zstd":
            return cast("IO[bytes]", zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True, closefd=True))  # fmt: skip
        return file

    def _exported(self, line: str) -> Row:
        """Read a line of our own NDJSON."""
        doc = orjson.loads(line)
        source = self._source(
            str(doc.get("pod") or self.name), str(doc.get("container") or _CONTAINER), int(doc.get("run") or 0)
        )
        stream = doc.get("stream")
        return self._time(str(doc["time"])), source, STREAMS.index(stream) if stream in STREAMS else 0, str(doc["text"])

    def _time(self, line: str) -> int:
        """Give when a line was written; where it does not say, when the one before was."""
        found = _WRITTEN.match(line)
        if found is not None:
            self._last = self._ns(found[1], found[2], found[3]) or self._last
        elif line[:1] == "{" and (field := _FIELD.search(line)) is not None:
            if field[2]:
                self._last = _number(float(field[2]) if "." in field[2] else int(field[2])) or self._last
            elif (inner := _WRITTEN.match(field[1])) is not None:
                self._last = self._ns(inner[1], inner[2], inner[3]) or self._last
        return self._last

    def _ns(self, date: str, fraction: str | None, zone: str | None) -> int | None:
        key = date + (zone or "")
        if self._second[0] != key:
            written = f"{date[:10].replace('/', '-')}T{date[11:]}{'+00:00' if zone in (None, 'Z') else zone}"
            try:
                self._second = (key, int(datetime.fromisoformat(written).timestamp()))
            except ValueError:  # the 31st of February
                return None
        return self._second[1] * 1_000_000_000 + int((fraction or "").ljust(9, "0"))

    # ------------------------------------------------------------------ Parquet

    def _parquet(self) -> Iterator[Row]:
        pa, pq = library("pyarrow"), library("pyarrow.parquet")
        try:
            with pq.ParquetFile(self.path) as file:
                names = {name.lower(): name for name in reversed(file.schema_arrow.names)}
                kinds = {field.name: field.type for field in file.schema_arrow}
                text = next((names[n] for n in _TEXTS if n in names and _texty(pa, kinds[names[n]])), None)
                text = text or next((n for n, k in kinds.items() if _texty(pa, k)), None)
                time = next((names[n] for n in _TIMES if n in names and names[n] != text), None)
                for batch in file.iter_batches(ROWS):
                    yield from self._rows(batch, text, time, names)
        except (pa.ArrowException, OSError) as error:
            raise ArchiveDamaged(f"{self.name} cannot be read as Parquet: {str(error).splitlines()[0]}") from error

    def _rows(self, batch: Any, text: str | None, time: str | None, names: dict[str, str]) -> Iterator[Row]:
        n = batch.num_rows
        columns: dict[str, list[Any]] = {c: batch.column(names[c]).to_pylist() for c in _ORIGIN if c in names}
        if text is None:  # nothing to read: each row as it is
            texts = [orjson.dumps(row, default=str).decode() for row in batch.to_pylist()]
        else:
            texts = [_text(x) for x in batch.column(text).to_pylist()]
        times: list[Any] = [None] * n if time is None else _times(batch.column(time))
        for i in range(n):
            line, when = texts[i], times[i]
            self._last = when if isinstance(when, int) else self._time(str(when) if when is not None else line)
            pod = _cell(columns, "pod", i) or self.name
            run = _cell(columns, "run", i)
            source = self._source(
                str(pod), str(_cell(columns, "container", i) or _CONTAINER), run if isinstance(run, int) else 0
            )
            stream = _cell(columns, "stream", i)
            yield self._last, source, STREAMS.index(stream) if stream in STREAMS else 0, line


def _table(pa: Any, seq: int, rows: list[Row]) -> Any:
    times, sources, streams, texts = zip(*rows, strict=True)
    arrays = (times, range(seq, seq + len(rows)), sources, streams, texts)
    target = raw_schema()
    return pa.table([pa.array(a, f.type) for a, f in zip(arrays, target, strict=True)], schema=target)


def _ours(line: str) -> bool:
    """Tell whether a line is one of `export FILE.ndjson`."""
    if line[:1] != "{":
        return False
    try:
        doc = orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return isinstance(doc, dict) and {"seq", "time", "pod", "text"} <= doc.keys()


def _texty(pa: Any, kind: Any) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return any(test(kind) for test in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_binary, pa.types.is_large_binary))  # fmt: skip


def _text(value: Any) -> str:
    return (
        value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else "" if value is None else str(value)
    )


def _cell(columns: dict[str, list[Any]], name: str, i: int) -> Any:
    return columns[name][i] if name in columns else None


def _times(column: Any) -> list[Any]:
    """Give times in ns; of text what it says."""
    pa = library("pyarrow")
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        return list(column.cast(pa.timestamp("ns"), safe=False).cast(pa.int64()).to_pylist())
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        return [None if x is None or x != x else _number(x) for x in column.to_pylist()]  # noqa: PLR0124 - NaN
    return list(column.to_pylist())


def _number(value: float) -> int:
    """Read seconds, milliseconds, microseconds or nanoseconds since the epoch; 0 for what is none, such as a step's number.

    Examples
    --------
    >>> _number(1_700_000_000), _number(1_700_000_000_000), _number(400)
    (1700000000000000000, 1700000000000000000, 0)
    """
    for power in (9, 6, 3, 0):
        if _EARLIEST <= value / 10 ** (9 - power) < _LATEST:
            # A float of our days is exact to a quarter of a microsecond, no further.
            return int(value) * 10**power + round(value % 1 * 1e6) * 10**power // 10**6
    return 0
