"""The layout of a recording in a Parquet file.

One row per line, in reading order, so that a window of time is a range of row groups. Notices and the completeness
statement are in the file's key-value metadata. So every program sees one line per row, no column has two meanings, and
one read of the footer gets notices and statement. `text` is the truth. `level` and the spans of message and fields are
derived from it for speed and statistics; `message` and `fields` would double the file, so readers cut them out of
`text`.
docs/reference/archive.md describes the files for users.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import orjson
import zstandard

from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.errors import ArchiveDamaged
from cortex_jupyter.model import MEMBERSHIP, STREAMS, Entry, IndexEntry

if TYPE_CHECKING:
    import pyarrow as pa

    from cortex_jupyter.model import PublicSource

#: Increase it with a change that would make older releases misread a file: they refuse files with a greater version.
#: They ignore new keys of the manifest, the metadata, a source (`Source.from_dict`) and the task (`TaskRef.from_dict`).
VERSION: Final = 1
# The keys of the file's metadata.
#: What the store knew about the recording, and the layout's version.
RECORDING_INFO: Final = b"cortex_jupyter.archive"
#: The completeness statement.
STATEMENT: Final = b"cortex_jupyter.complete"
NOTICES: Final = b"cortex_jupyter.notices"
#: The index by `seq`.
BLOCKS: Final = b"cortex_jupyter.blocks"
#: The trigram index.
TRIGRAMS: Final = b"cortex_jupyter.grams"
#: Columns with few distinct values. `schema` puts the column `run` behind the first five.
CATEGORICAL: Final = ("namespace", "task", "pod", "container", "kind", "node", "stream", "level", *MEMBERSHIP)
#: Columns whose values increase, or nearly, from row to row.
_INCREASING: Final = ("time", "seq")
#: Where message and fields are in the text, see `spans`.
SPAN_COLUMNS: Final = ("message_at", "message_len", "fields_at")
#: Minimum number of rows in a row group. A window reads up to one group too much at each edge, and each group costs
#: 1.5 kB of footer.
_MIN_GROUP_ROWS: Final = 65_536
#: Maximum number of rows in a row group, for the largest recordings.
_MAX_GROUP_ROWS: Final = 262_144
#: A file that would have more row groups than this gets larger groups instead, up to the maximum.
_TARGET_GROUPS: Final = 512
#: Maximum number of records in a block of the index. A reader reads and sends a block at once.
BLOCK_RECORDS: Final = 4096


@dataclass(slots=True)
class Block:
    """Records with consecutive `seq`, without a notice between them.

    Parameters
    ----------
    seq, n : int
    t_min, t_max : int
        Earliest and latest time, in ns since the Unix epoch.
    first, last : int
        First and last row group that hold the records; the first is greater than the last if none is known.
    """

    seq: int
    n: int
    t_min: int
    t_max: int
    first: int = 1 << 30
    last: int = -1


def schema() -> pa.Schema:
    """Return the Arrow schema of a file."""
    pa = import_optional("pyarrow")
    categorical = pa.dictionary(pa.int32(), pa.string())
    types = {"time": pa.timestamp("ns", "UTC"), "seq": pa.int64()}
    types |= (
        dict.fromkeys(CATEGORICAL[:5], categorical) | {"run": pa.int32()} | dict.fromkeys(CATEGORICAL[5:], categorical)
    )
    types |= {"text": pa.large_string(), "source": pa.int32()} | dict.fromkeys(SPAN_COLUMNS, pa.int32())
    return pa.schema(list(types.items()))


def complete_schema(schema_of_file: pa.Schema) -> pa.Schema:
    """Return the Arrow schema of a file, with the columns of `MEMBERSHIP`. Older files lack these columns: they read as empty."""
    for name in MEMBERSHIP:
        if name not in schema_of_file.names:
            schema_of_file = schema_of_file.append(schema().field(name))
    return schema_of_file


def writer_options() -> dict[str, Any]:
    """Return the arguments for `pyarrow.parquet.ParquetWriter`."""
    delta = dict.fromkeys(_INCREASING, "DELTA_BINARY_PACKED")
    encoded = [*CATEGORICAL, "run", "source", *SPAN_COLUMNS]
    return {
        "compression": "zstd",
        "compression_level": 1,  # smaller than level 3 on such text, and faster: measured
        "use_dictionary": encoded,
        "column_encoding": delta,
        # Not for the text: its least and greatest line exclude nothing, and the footer would hold them in full.
        "write_statistics": [*_INCREASING, *encoded],
    }


def group_rows(rows: int) -> int:
    """Return the number of rows of a row group in a file with `rows` rows.

    Examples
    --------
    >>> group_rows(1_000_000), group_rows(300_000_000)
    (65536, 262144)
    """
    return min(max(_MIN_GROUP_ROWS, rows // _TARGET_GROUPS), _MAX_GROUP_ROWS)


def build_columns(
    raw: pa.Table, task: tuple[str, str], sources: dict[int, PublicSource], spans: dict[str, Any]
) -> pa.Table:
    """Return the columns of a file.

    Parameters
    ----------
    raw : pyarrow.Table
        `time`, `seq`, `source`, `stream`, `text`.
    task : tuple of str
        Namespace and key.
    sources : dict
        Source id to `Source.public`.
    spans : dict
        The columns `level`, `message_at`, `message_len`, `fields_at`, in the chunks of `text`.

    Returns
    -------
    pyarrow.Table
    """
    pa, pc = import_optional("pyarrow"), import_optional("pyarrow.compute")
    target = schema()
    positions = pc.index_in(raw["source"], value_set=pa.array(sources, pa.int32()))

    def categories(indices: Any, values: list[Any]) -> Any:
        distinct = list(dict.fromkeys(values))
        codes = pa.array([distinct.index(v) for v in values], pa.int32())
        dictionary = pa.array(distinct, pa.string())
        chunks = [pa.DictionaryArray.from_arrays(codes.take(c), dictionary) for c in indices.chunks]
        return pa.chunked_array(chunks, pa.dictionary(pa.int32(), pa.string()))

    def of_source(name: Literal["pod", "container", "kind", "node", "role", "rank", "attempt"]) -> Any:
        return categories(positions, [source.get(name) or "" for source in sources.values()])

    zeros = pc.multiply(pc.fill_null(positions, 0), 0)
    runs = pa.array([source.get("run", 0) for source in sources.values()], pa.int32())
    columns = {
        "time": raw["time"].cast(target.field("time").type),
        "seq": raw["seq"],
        "namespace": categories(zeros, [task[0]]),
        "task": categories(zeros, [task[1]]),
        "pod": of_source("pod"),
        "container": of_source("container"),
        "kind": of_source("kind"),
        "run": runs.take(positions),
        "node": of_source("node"),
        "stream": categories(raw["stream"], list(STREAMS)),
        "text": raw["text"],
        "source": raw["source"],
        **spans,
        "level": spans["level"].cast(target.field("level").type),
        "role": of_source("role"),
        "rank": of_source("rank"),
        "attempt": of_source("attempt"),
    }
    return pa.table([columns[name] for name in target.names], schema=target)


def blocks(index: list[IndexEntry]) -> list[Block]:
    """Join the batches of a recording's index into blocks.

    Examples
    --------
    >>> rows = (1, 2, "log", 5, 6), (3, 1, "log", 7, 7), (4, 1, "status", 8, 8), (5, 1, "log", 9, 9)
    >>> [(b.seq, b.n) for b in blocks([IndexEntry(*row) for row in rows])]
    [(1, 3), (5, 1)]
    """
    joined: list[Block] = []
    for row in index:
        if row.event != "log":
            continue
        block = joined[-1] if joined else None
        if block is not None and block.seq + block.n == row.seq and block.n + row.n <= BLOCK_RECORDS:
            block.n += row.n
            block.t_min, block.t_max = min(block.t_min, row.t_min), max(block.t_max, row.t_max)
        else:
            joined.append(Block(row.seq, row.n, row.t_min, row.t_max))
    return joined


def pack(doc: object) -> bytes:
    """Compress a document into text, because Parquet's metadata is text."""
    return base64.b64encode(zstandard.ZstdCompressor(level=6).compress(orjson.dumps(doc)))


def unpack(data: bytes) -> Any:
    """Return the document that `pack` compressed.

    Raises
    ------
    ArchiveDamaged
    """
    try:
        return orjson.loads(zstandard.ZstdDecompressor().decompress(base64.b64decode(data)))
    except (ValueError, zstandard.ZstdError) as error:
        raise ArchiveDamaged(f"the metadata of an archived file is damaged: {error}") from error


def pack_blocks(index: list[Block]) -> bytes:
    """Pack the index. Values are differences to the block before, which compress well."""
    rows, previous = [], Block(0, 0, 0, 0, 0, 0)
    for b in index:
        rows.append(
            [
                b.seq - previous.seq - previous.n,
                b.n,
                b.t_min - previous.t_min,
                b.t_max - b.t_min,
                b.first - previous.first,
                b.last - b.first,
            ]
        )
        previous = b
    return pack(rows)


def unpack_blocks(data: bytes) -> list[Block]:
    """Unpack the index.

    Examples
    --------
    >>> unpack_blocks(pack_blocks([Block(3, 2, 10, 20, 0, 1)]))
    [Block(seq=3, n=2, t_min=10, t_max=20, first=0, last=1)]
    """
    index, previous = [], Block(0, 0, 0, 0, 0, 0)
    for seq, n, t_min, span, first, groups in unpack(data):
        at, low, group = previous.seq + previous.n + seq, previous.t_min + t_min, previous.first + first
        previous = Block(at, n, low, low + span, group, group + groups)
        index.append(previous)
    return index


def pack_notices(notices: list[Entry]) -> bytes:
    """Pack notices."""
    return pack([[e.seq, e.event, e.t_min, e.data.decode()] for e in notices])


def unpack_notices(data: bytes) -> list[Entry]:
    """Unpack notices.

    Examples
    --------
    >>> unpack_notices(pack_notices([Entry(3, 1, "end", 7, 7, b"{}")]))
    [Entry(seq=3, n=1, event='end', t_min=7, t_max=7, data=b'{}')]
    """
    return [Entry(seq, 1, event, time, time, text.encode()) for seq, event, time, text in unpack(data)]
