"""Find the errors of a log: tracebacks, and lines of level error or critical.

An error is listed once, however many pods report it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from cortex_jupyter.analysis.shapes import shapes
from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.parsing.blocks import Block, Blocks, Frame
from cortex_jupyter.parsing.fields import plain
from cortex_jupyter.parsing.level import LEVELS
from cortex_jupyter.parsing.progress import last_state
from cortex_jupyter.tables.schema import coded

if TYPE_CHECKING:
    from datetime import datetime

    import pyarrow as pa

    from cortex_jupyter.archive.optional import Flags, Ints

#: Number of lines of the same container run and stream that are shown before an error.
CONTEXT: Final = 5
#: Maximum number of characters that are shown of each line.
_WIDTH: Final = 1000
_BAD: Final = frozenset(LEVELS[LEVELS.index("error") :])


@dataclass(slots=True)
class Error:
    """One error, wherever and however often it occurred.

    Parameters
    ----------
    kind : str
        `python`, `java`, `go`, `rust`, `native`, `nccl`, `cuda`; `line` for a line of level error or critical without a
        traceback.
    type, message : str
        Of the first occurrence: `ValueError`, `bad shape (3, 4)`. For a line, its level and its message.
    frames : list of Frame
        `file`, `line`, `function`, `code`, as in the traceback.
    chain : list of str
        The exceptions that came before it, or that it groups.
    count : int
    pods : list of str
        Ordered by when each reported it first.
    first, last : datetime
        Cut to microseconds. The record `log.seq[error.seq]` has nanoseconds.
    seq : int
        Number of its first line: `log.seq[error.seq]`.
    text : str
        The whole first traceback.
    context : list of str
        The lines before it, at most five, of the same container run and stream. A line that was redrawn, such as a
        progress bar, stands in its newest state.
    """

    kind: str
    type: str
    message: str
    frames: list[Frame] = field(default_factory=list)
    chain: list[str] = field(default_factory=list)
    count: int = 0
    pods: list[str] = field(default_factory=list)
    first: datetime | None = None
    last: datetime | None = None
    seq: int = 0
    text: str = ""
    context: list[str] = field(default_factory=list)
    #: The row of its first line, and its source, in the table that was searched.
    row: int = 0
    source: int = 0
    #: The row of the first line of each occurrence.
    rows: list[int] = field(default_factory=list, repr=False)

    @property
    def title(self) -> str:
        """Type and message."""
        return f"{self.type}: {self.message}" if self.message else self.type


def errors(table: pa.Table) -> list[Error]:
    """Find the errors of a log.

    Parameters
    ----------
    table : pyarrow.Table
        Records, as `to_arrow` returns them.

    Returns
    -------
    list of Error
        Ordered by their first occurrence.
    """
    np = import_optional("numpy")
    if table.num_rows == 0:
        return []
    texts, source = table["text"].to_pylist(), line_sources(table)
    reader, blocks = Blocks(), []
    for of, text in zip(source.tolist(), texts, strict=True):
        if (block := reader.feed(of, text)) is not None:
            blocks.append(block)
    blocks = sorted([*blocks, *reader.close()], key=lambda block: block.first)
    in_block = np.zeros(len(texts), np.bool_)
    for block in blocks:
        in_block[block.rows] = True
    groups: dict[str, list[int]] = {}
    error_by_key: dict[str, Error] = {}
    for block in blocks:
        key = block.signature
        groups.setdefault(key, []).append(block.first)
        if key not in error_by_key:
            error_by_key[key] = Error(
                block.kind, block.type, block.message, block.frames, block.chain, text=_text(block, texts)
            )
    _lines(table, in_block, groups, error_by_key)
    order = _by_source(source)
    result = [_complete(error_by_key[key], rows, table, texts, source, order) for key, rows in groups.items()]
    return sorted(result, key=lambda error: error.row)


def line_sources(table: pa.Table) -> Ints:
    """Return for each line a number that identifies its run of a container and its stream."""
    np = import_optional("numpy")
    key = table["run"].to_numpy().astype(np.int64)
    for name in ("pod", "container", "stream"):
        codes, names = coded(table[name])
        key = key * len(names) + codes
    return np.unique(key, return_inverse=True)[1]


def _text(block: Block, texts: list[str]) -> str:
    return "\n".join(plain(texts[row][:_WIDTH]) for row in block.rows)


def _lines(table: pa.Table, in_block: Flags, groups: dict[str, list[int]], error_by_key: dict[str, Error]) -> None:
    """Add the lines of level error or critical. Lines whose messages have the same shape are one error."""
    np, pa = import_optional("numpy"), import_optional("pyarrow")
    levels, names = coded(table["level"])
    bad = np.isin(levels, [i for i, name in enumerate(names) if name in _BAD]) & ~in_block
    rows = np.flatnonzero(bad)
    if not len(rows):
        return
    messages = table["message"].take(pa.array(rows))
    shape = shapes(messages)
    order = np.argsort(shape.shape, kind="stable")
    bounds = np.searchsorted(shape.shape[order], np.arange(len(shape.texts) + 1))
    for position, text in enumerate(shape.texts):
        occurrences, key = rows[order[bounds[position] : bounds[position + 1]]].tolist(), f"line\n{text}"
        groups[key] = occurrences
        level, whole = str(names[levels[occurrences[0]]]), plain(str(table["text"][occurrences[0]].as_py())[:_WIDTH])
        error_by_key[key] = Error(
            "line", level.upper(), messages[int(shape.first[position])].as_py()[:_WIDTH], text=whole
        )


def _by_source(source: Ints) -> tuple[Ints, Ints]:
    """Return the rows sorted by source, and the position of each row in that order."""
    np = import_optional("numpy")
    order = np.argsort(source, kind="stable")
    position = np.empty(len(source), np.int64)
    position[order] = np.arange(len(source))
    return order, position


def _complete(
    error: Error, rows: list[int], table: pa.Table, texts: list[str], source: Ints, by_source: tuple[Ints, Ints]
) -> Error:
    pa = import_optional("pyarrow")
    order, position = by_source
    at = pa.array(rows)
    times = table["time"].take(at).cast(pa.timestamp("us", "UTC"), safe=False)
    error.count, error.row, error.rows, error.source = len(rows), rows[0], rows, int(source[rows[0]])
    error.pods = list(dict.fromkeys(table["pod"].take(at).to_pylist()))
    error.first, error.last = times[0].as_py(), times[-1].as_py()
    error.seq = table["seq"][rows[0]].as_py()
    index = int(position[rows[0]])
    before = [int(row) for row in order[max(0, index - CONTEXT) : index] if source[row] == error.source]
    error.context = [plain(last_state(texts[row])[:_WIDTH]) for row in before]
    return error


def as_table(errors: list[Error]) -> pa.Table:
    """Return errors as a table.

    Returns
    -------
    pyarrow.Table
        `kind`, `type`, `message`, `count`, `pods` (list), `first`, `last`, `file`, `line`, `function` (of the frame that
        failed), `frames` (list of structs), `chain` (list), `seq`, `text`, `context` (list).
    """
    pa = import_optional("pyarrow")
    frame = pa.struct([("file", pa.string()), ("line", pa.int32()), ("function", pa.string()), ("code", pa.string())])
    moment, some = pa.timestamp("us", "UTC"), pa.list_(pa.string())
    failed = [_failed(error) for error in errors]
    columns = {
        "kind": ([e.kind for e in errors], pa.string()),
        "type": ([e.type for e in errors], pa.string()),
        "message": ([e.message for e in errors], pa.string()),
        "count": ([e.count for e in errors], pa.int64()),
        "pods": ([e.pods for e in errors], some),
        "first": ([e.first for e in errors], moment),
        "last": ([e.last for e in errors], moment),
        "file": ([f and f.file for f in failed], pa.string()),
        "line": ([f and f.line for f in failed], pa.int32()),
        "function": ([f and f.function for f in failed], pa.string()),
        "frames": (
            [
                [{"file": f.file, "line": f.line, "function": f.function, "code": f.code} for f in e.frames]
                for e in errors
            ],
            pa.list_(frame),
        ),
        "chain": ([e.chain for e in errors], some),
        "seq": ([e.seq for e in errors], pa.int64()),
        "text": ([e.text for e in errors], pa.string()),
        "context": ([e.context for e in errors], some),
    }
    return pa.table({name: pa.array(values, kind) for name, (values, kind) in columns.items()})


def _failed(error: Error) -> Frame | None:
    """Return the stack frame of the line that failed: in Python the last one, else the first."""
    if not error.frames:
        return None
    return error.frames[-1 if error.kind == "python" else 0]
