"""Read logs that others wrote: text, NDJSON and Parquet, also compressed with gzip or zstd."""

from __future__ import annotations

import gzip
import re
from itertools import chain, islice
from typing import IO, TYPE_CHECKING, Any, Final, cast

import orjson
import zstandard

from cortex_jupyter.archive.columns import ROWS_PER_PIECE, raw_schema
from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.errors import ArchiveDamaged
from cortex_jupyter.model import MEMBERSHIP, STREAMS, Source
from cortex_jupyter.tables.clock import TIMES, Clock, times

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

#: Bytes that are read at once.
_PIECE: Final = 4 << 20
#: Number of lines that are examined to find out what a file is.
_LOOK: Final = 100
#: Names of text columns in foreign logs. The first that is present is used.
_TEXTS: Final = ("text", "message", "msg", "log", "line", "body", "content", "value", "raw")
#: Columns that a foreign file may have. Kind, node, role, rank and attempt count only with a pod: it shows that they mean the
#: same as ours.
_ORIGIN: Final[tuple[str, ...]] = ("pod", "container", "kind", "run", "node", "stream", *MEMBERSHIP)
#: Kinds of a source.
_KINDS: Final = ("init", "main", "sidecar", "ephemeral")
_STAMPED: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d) ?")
_RANK: Final = re.compile(r"\d{1,9}(-\d{1,9})*")
#: The container of lines in a file that names none.
_CONTAINER: Final = "log"
_MAGIC: Final = {b"\x1f\x8b": "gzip", b"\x28\xb5": "zstd", b"PA": "parquet"}

Row = tuple[int, int, int, str]  # time, source, stream, text
Membership = tuple[str, str, str]  # role, rank, attempt


class Foreign:
    """A foreign log file, read once from its beginning.

    Parameters
    ----------
    path : path
    name : str
        The file's name, which is the pod of lines that name none.

    Attributes
    ----------
    sources : dict
        The sources of the lines that were read.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name
        self.sources: dict[int, Source] = {}
        self._ids: dict[tuple[Any, ...], int] = {}
        self._clock = Clock(int(path.stat().st_mtime) * 1_000_000_000)

    def tables(self) -> Iterator[Any]:
        """Yield the rows in the order of the file, about `ROWS_PER_PIECE` at a time, with the columns of `raw_schema`.

        Raises
        ------
        ArchiveDamaged
            The file is compressed and was cut off, or begins like a Parquet file and is none.
        """
        pa = import_optional("pyarrow")
        with self.path.open("rb") as file:
            kind = _MAGIC.get(file.read(2), "text")
        rows = self._parquet() if kind == "parquet" else self._lines(kind)
        seq = 1
        waiting: list[Row] = []
        size = 0
        for row in rows:
            waiting.append(row)
            size += len(row[3])
            if len(waiting) >= ROWS_PER_PIECE or size > 16 * _PIECE:
                yield _table(pa, seq, waiting)
                seq, waiting, size = seq + len(waiting), [], 0
        if waiting:
            yield _table(pa, seq, waiting)

    def _source(self, row: Mapping[str, Any]) -> int:
        """Return the id of a row's source. What the row lacks gets a default."""
        pod, container, kind, run, node = (row.get(name) for name in ("pod", "container", "kind", "run", "node"))
        kind = kind if pod and kind in _KINDS else "main"
        run = run if isinstance(run, int) and 0 <= run < 2**31 else 0
        node = node if pod and isinstance(node, str) else ""
        membership = _membership(*(row.get(name) for name in MEMBERSHIP)) if pod else _membership()
        key = (str(pod or self.name), str(container or _CONTAINER), kind, run, node, membership)
        source_id = self._ids.get(key)
        if source_id is None:
            role, rank, attempt = membership
            source_id = self._ids[key] = len(self._ids) + 1
            self.sources[source_id] = Source(
                key[0], "", key[1], "", kind, run, node, role=role, rank=rank, attempt=attempt
            )
        return source_id

    # --------------------------------------------------------------------- text

    def _lines(self, kind: str) -> Iterator[Row]:
        lines = self._split(kind)
        head = list(islice(lines, _LOOK))
        if head and all(map(_ours, head[:-1] or head)):  # the last line may have been cut off
            yield from map(self._exported, chain(head, lines))
            return
        # Written by `kubectl logs --timestamps` or a container runtime: the time is no part of the line.
        stamped = bool(head) and all(_STAMPED.match(line) for line in head)
        source = self._source({})
        for line in chain(head, lines):
            time = self._clock.line(line)
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
            return cast(
                "IO[bytes]", zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True, closefd=True)
            )
        return file

    def _exported(self, line: str) -> Row:
        """Parse a line of our own NDJSON. Any other line, such as a last one that was cut off, is returned as it is."""
        doc = _ours(line)
        if doc is None:
            return self._clock.line(line), self._source({}), 0, line
        return self._clock.line(doc["time"]), self._source(doc), _stream(doc), doc["text"]

    # ------------------------------------------------------------------ Parquet

    def _parquet(self) -> Iterator[Row]:
        pa, pq = import_optional("pyarrow"), import_optional("pyarrow.parquet")
        try:
            with pq.ParquetFile(self.path) as file:
                # By position: a name may occur twice.
                kinds = [field.type for field in file.schema_arrow]
                column_index = {name.lower(): i for i, name in reversed([*enumerate(file.schema_arrow.names)])}
                texty = [i for i, kind in enumerate(kinds) if _texty(pa, kind)]
                text = next(
                    (column_index[n] for n in _TEXTS if column_index.get(n) in texty), texty[0] if texty else None
                )
                time = next((column_index[n] for n in TIMES if column_index.get(n, text) != text), None)
                for batch in file.iter_batches(ROWS_PER_PIECE):
                    yield from self._rows(batch, text, time, column_index)
        except (pa.ArrowException, OSError) as error:
            raise ArchiveDamaged(f"{self.name} cannot be read as Parquet: {str(error).splitlines()[0]}") from error

    def _rows(self, batch: Any, text: int | None, time: int | None, column_index: dict[str, int]) -> Iterator[Row]:
        n = batch.num_rows
        columns: dict[str, list[Any]] = {
            c: batch.column(column_index[c]).to_pylist() for c in _ORIGIN if c in column_index
        }
        if text is None:  # there is no text column: each row becomes JSON
            texts = [orjson.dumps(row, default=str).decode() for row in batch.to_pylist()]
        else:
            texts = [_text(x) for x in batch.column(text).to_pylist()]
        whens: list[Any] = [None] * n if time is None else times(batch.column(time))
        for i in range(n):
            row = {name: values[i] for name, values in columns.items()}
            yield self._clock.at(whens[i], texts[i]), self._source(row), _stream(row), texts[i]


def _table(pa: Any, seq: int, rows: list[Row]) -> Any:
    times, sources, streams, texts = zip(*rows, strict=True)
    arrays = (times, range(seq, seq + len(rows)), sources, streams, texts)
    target = raw_schema()
    return pa.table([pa.array(a, f.type) for a, f in zip(arrays, target, strict=True)], schema=target)


def _ours(line: str) -> dict[str, Any] | None:
    """Parse a line of `export FILE.ndjson`; None if it is none."""
    if line[:1] != "{":
        return None
    try:
        doc = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    mine = "seq" in doc and all(isinstance(doc.get(key), str) for key in ("time", "pod", "text"))
    return doc if mine else None


def _stream(row: Mapping[str, Any]) -> int:
    stream = row.get("stream")
    return STREAMS.index(stream) if stream in STREAMS else 0


def _membership(role: Any = "", rank: Any = "", attempt: Any = "") -> Membership:
    """Return role, rank and attempt; an invalid value becomes empty."""
    return (
        role if isinstance(role, str) else "",
        rank if isinstance(rank, str) and _RANK.fullmatch(rank) else "",
        attempt if isinstance(attempt, str) and _RANK.fullmatch(attempt) else "",
    )


def _texty(pa: Any, kind: Any) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return any(
        test(kind)
        for test in (
            pa.types.is_string,
            pa.types.is_large_string,
            pa.types.is_string_view,
            pa.types.is_binary,
            pa.types.is_large_binary,
        )
    )


def _text(value: object) -> str:
    return (
        value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else "" if value is None else str(value)
    )
