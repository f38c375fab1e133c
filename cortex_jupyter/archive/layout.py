"""How a recording lies in a Parquet file.

One row per line, in the order in which people read, so that a window of time is a run of row groups. Notices and the
completeness statement stand in the file's key-value metadata and are no rows: a reader of other make counts lines when
it counts rows, columns keep one meaning, and one read of the footer gives them with the index. `text` is the truth.
`level` and the places of message and fields are derived from it when the file is written, for statistics and speed;
`message` and `fields` themselves would double the file and are cut out when it is read.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any, Final

import orjson
import zstandard

from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.errors import ArchiveDamaged
from cortex_jupyter.model import STREAMS, Entry

#: Raised by what an older reader would get wrong, who then refuses it; a key more in manifest or metadata harms none.
VERSION: Final = 1
#: Keys of the file's metadata: the version and what the store knew, the statement, notices, the index by number, and by `grams`.
ABOUT: Final = b"cortex_jupyter.archive"
STATEMENT: Final = b"cortex_jupyter.complete"
NOTICES: Final = b"cortex_jupyter.notices"
BLOCKS: Final = b"cortex_jupyter.blocks"
TRIGRAMS: Final = b"cortex_jupyter.grams"
#: Columns with few values; columns that grow; where message and fields are in the text, see `tables.spans`.
CATEGORICAL: Final = ("namespace", "task", "pod", "container", "kind", "node", "stream", "level")
_GROWING: Final = ("time", "seq")
SPAN_COLUMNS: Final = ("message_at", "message_len", "fields_at")
#: Rows of a row group: a window wastes one at each edge, and each costs 1.5 kB of footer.
_GROUP: Final = 65_536
_LARGEST: Final = 262_144
_GROUPS: Final = 512
#: Numbers of a block of the index: what is read and sent at once.
_BLOCK: Final = 4096


@dataclass(slots=True)
class Block:
    """A run of numbers without a notice between.

    Parameters
    ----------
    seq, n : int
    t_min, t_max : int
        ns since the epoch.
    first, last : int
        Row groups that hold them; the first is above the last while none is known.
    """

    seq: int
    n: int
    t_min: int
    t_max: int
    first: int = 1 << 30
    last: int = -1


def schema() -> Any:
    """Give the Arrow schema of a file."""
    pa = import_optional("pyarrow")
    few = pa.dictionary(pa.int32(), pa.string())
    types = {"time": pa.timestamp("ns", "UTC"), "seq": pa.int64()}
    types |= dict.fromkeys(CATEGORICAL[:5], few) | {"run": pa.int32()} | dict.fromkeys(CATEGORICAL[5:], few)
    types |= {"text": pa.large_string(), "source": pa.int32()} | dict.fromkeys(SPAN_COLUMNS, pa.int32())
    return pa.schema(list(types.items()))


def options() -> dict[str, Any]:
    """Give what `pyarrow.parquet.ParquetWriter` is to do."""
    growing = dict.fromkeys(_GROWING, "DELTA_BINARY_PACKED")
    few = [*CATEGORICAL, "run", "source", *SPAN_COLUMNS]
    return {
        "compression": "zstd",
        "compression_level": 1,  # smaller than level 3 on such text, and faster: measured
        "use_dictionary": few,
        "column_encoding": growing,
        # Not of the text: its first and last line by the alphabet exclude nothing, and stand in the footer in full.
        "write_statistics": [*_GROWING, *few],
    }


def group_rows(rows: int) -> int:
    """Give how many rows a row group of a file of so many has.

    Examples
    --------
    >>> group_rows(1_000_000), group_rows(300_000_000)
    (65536, 262144)
    """
    return min(max(_GROUP, rows // _GROUPS), _LARGEST)


def block_rows() -> int:
    """Give how many numbers a block of the index has at most."""
    return _BLOCK


def build_columns(raw: Any, task: tuple[str, str], sources: dict[int, dict[str, Any]], places: dict[str, Any]) -> Any:
    """Give the columns of a file.

    Parameters
    ----------
    raw : pyarrow.Table
        `time`, `seq`, `source`, `stream`, `text`.
    task : tuple of str
        Namespace and key.
    sources : dict
        Source id to what `Source.public` gives.
    places : dict
        The columns `level`, `message_at`, `message_len`, `fields_at`, in the chunks of `text`.

    Returns
    -------
    pyarrow.Table
    """
    pa, pc = import_optional("pyarrow"), import_optional("pyarrow.compute")
    target = schema()
    place = pc.index_in(raw["source"], value_set=pa.array(sources, pa.int32()))

    def few(indices: Any, values: list[Any]) -> Any:
        distinct = list(dict.fromkeys(values))
        codes = pa.array([distinct.index(v) for v in values], pa.int32())
        dictionary = pa.array(distinct, pa.string())
        chunks = [pa.DictionaryArray.from_arrays(codes.take(c), dictionary) for c in indices.chunks]
        return pa.chunked_array(chunks, pa.dictionary(pa.int32(), pa.string()))

    def of_source(name: str) -> Any:
        return few(place, [source.get(name) or "" for source in sources.values()])

    zero = pc.multiply(pc.fill_null(place, 0), 0)
    runs = pa.array([source.get("run", 0) for source in sources.values()], pa.int32())
    columns = {
        "time": raw["time"].cast(target.field("time").type),
        "seq": raw["seq"],
        "namespace": few(zero, [task[0]]),
        "task": few(zero, [task[1]]),
        "pod": of_source("pod"),
        "container": of_source("container"),
        "kind": of_source("kind"),
        "run": runs.take(place),
        "node": of_source("node"),
        "stream": few(raw["stream"], list(STREAMS)),
        "text": raw["text"],
        "source": raw["source"],
        **places,
        "level": places["level"].cast(target.field("level").type),
    }
    return pa.table([columns[name] for name in target.names], schema=target)


def blocks(index: list[tuple[int, int, str, int, int]]) -> list[Block]:
    """Join the batches of a recording's index to blocks.

    Examples
    --------
    >>> [(b.seq, b.n) for b in blocks([(1, 2, "log", 5, 6), (3, 1, "log", 7, 7), (4, 1, "status", 8, 8), (5, 1, "log", 9, 9)])]
    [(1, 3), (5, 1)]
    """
    found: list[Block] = []
    for seq, n, event, t_min, t_max in index:
        if event != "log":
            continue
        last = found[-1] if found else None
        if last is not None and last.seq + last.n == seq and last.n + n <= _BLOCK:
            last.n += n
            last.t_min, last.t_max = min(last.t_min, t_min), max(last.t_max, t_max)
        else:
            found.append(Block(seq, n, t_min, t_max))
    return found


def pack(doc: Any) -> bytes:
    """Write what may be long, as text, because Parquet's metadata is text."""
    return base64.b64encode(zstandard.ZstdCompressor(level=6).compress(orjson.dumps(doc)))


def unpack(data: bytes) -> Any:
    """Read what `pack` wrote.

    Raises
    ------
    ArchiveDamaged
    """
    try:
        return orjson.loads(zstandard.ZstdDecompressor().decompress(base64.b64decode(data)))
    except (ValueError, zstandard.ZstdError) as error:
        raise ArchiveDamaged(f"the metadata of an archive is damaged: {error}") from error


def pack_blocks(found: list[Block]) -> bytes:
    """Write the index: each number as the difference to the block before, which compresses."""
    rows, before = [], Block(0, 0, 0, 0, 0, 0)
    for b in found:
        rows.append([b.seq - before.seq - before.n, b.n, b.t_min - before.t_min, b.t_max - b.t_min, b.first - before.first, b.last - b.first])  # fmt: skip
        before = b
    return pack(rows)


def unpack_blocks(data: bytes) -> list[Block]:
    """Read the index.

    Examples
    --------
    >>> unpack_blocks(pack_blocks([Block(3, 2, 10, 20, 0, 1)]))
    [Block(seq=3, n=2, t_min=10, t_max=20, first=0, last=1)]
    """
    found, before = [], Block(0, 0, 0, 0, 0, 0)
    for seq, n, t_min, span, first, groups in unpack(data):
        at, low, group = before.seq + before.n + seq, before.t_min + t_min, before.first + first
        before = Block(at, n, low, low + span, group, group + groups)
        found.append(before)
    return found


def pack_notices(notices: list[Entry]) -> bytes:
    """Write notices."""
    return pack([[e.seq, e.event, e.t_min, e.data.decode()] for e in notices])


def unpack_notices(data: bytes) -> list[Entry]:
    """Read notices.

    Examples
    --------
    >>> unpack_notices(pack_notices([Entry(3, 1, "end", 7, 7, b"{}")]))
    [Entry(seq=3, n=1, event='end', t_min=7, t_max=7, data=b'{}')]
    """
    return [Entry(seq, 1, event, time, time, text.encode()) for seq, event, time, text in unpack(data)]
