"""Read from a container's rotated files what `pods/log` no longer serves."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cortex_jupyter.errors import ClusterError, NotAllowed, NotFound
from cortex_jupyter.recorder.text.align import Aligner, overlap_start
from cortex_jupyter.recorder.text.lines import Lines, parse_cri
from cortex_jupyter.recorder.text.masking import UNMASKED, Masking

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cortex_jupyter.cluster.rotated import RotatedFiles
    from cortex_jupyter.recorder.text.align import Line

#: A file may be renamed (rotated, compressed) between listing and reading; the files are listed up to this often.
_ATTEMPTS = 3
#: The hint of a gap that rotated files would have closed.
NODES_PROXY_HINT = "allow the verb `get` on `nodes/proxy`: rotated files can then be read"


@dataclass(slots=True)
class BridgeResult:
    """The lines between the recorded ones and the first ones of a new stream.

    Parameters
    ----------
    lines : Lines
        Lines to record before what arrived.
    missing : tuple of (int, int) or None
        The times between which lines are still missing.
    reason, hint : str
        Why they are missing, and what would have avoided it.
    """

    lines: Lines = field(default_factory=Lines)
    missing: tuple[int, int] | None = None
    reason: str = ""
    hint: str = ""


async def bridge(
    files: RotatedFiles,
    recorded: list[Line],
    second: int,
    arrived: list[Line],
    masking: Masking = UNMASKED,
    trimmed: tuple[int, int, int] | None = None,
) -> BridgeResult:
    """Read the lines between the recorded ones and what arrived; align both ends by content.

    Parameters
    ----------
    files : RotatedFiles
    recorded : list of (int, str)
        The source's recorded lines with a time not before `second`; not empty.
    second : int
        The anchor's second (ns).
    arrived : list of (int, str)
        The first lines of the new stream, which do not overlap the recorded ones. Empty if it brought none.
    masking : Masking, optional
    trimmed : tuple of (int, int, int), optional
        As for `Aligner`.
    """
    gap_times = (recorded[-1][0], arrived[0][0] if arrived else time.time_ns())
    try:
        lines = await _read_newest(files, recorded[0][0])
    except NotAllowed:
        return BridgeResult(missing=gap_times, reason="rotated away before they could be read", hint=NODES_PROXY_HINT)
    except (ClusterError, NotFound) as error:
        return BridgeResult(
            missing=gap_times, reason=f"rotated away, and the rotated files cannot be read: {error.message}"
        )
    return await asyncio.to_thread(
        _between, lines, masking, Aligner(recorded, trimmed), recorded[-1][0], second, arrived
    )


def _between(
    lines: Lines, masking: Masking, aligner: Aligner, last: int, second: int, arrived: list[Line]
) -> BridgeResult:
    positions = [i for i, t in enumerate(lines.times) if t >= second]
    rows = masking.rows([(lines.times[i], lines.texts[i]) for i in positions])
    skip = aligner.feed(rows)
    if skip is None:
        skip = aligner.settle()
    # The file may have been rotated again between listing and opening: then it also holds what arrived.
    end = overlap_start(rows, arrived)
    result = BridgeResult(lines.pick(positions[skip:end]))
    if not aligner.overlaps:
        next_lines = [*rows[:1], *arrived[:1]]
        result.missing = (last, next_lines[0][0] if next_lines else time.time_ns())
        result.reason = "rotated away more than once before they could be read, and removed from the node"
    return result


async def _read_newest(files: RotatedFiles, back_to: int) -> Lines:
    """Read the newest rotated files, as many as reach back to a time (ns)."""
    for attempt in range(_ATTEMPTS):
        data: list[bytes] = []
        try:
            for name in reversed(await files.names()):
                data.insert(0, await files.read(name))
                first = parse_cri(data[0][: data[0].find(b"\n") + 1]).times
                if first and first[0] < back_to:
                    break
            # A line may have begun in one file and ended in the next.
            return await asyncio.to_thread(parse_cri, b"".join(data))
        except NotFound:
            if attempt == _ATTEMPTS - 1:
                raise
    raise AssertionError


async def older_lines(files: RotatedFiles, first: list[Line], masking: Masking = UNMASKED) -> AsyncIterator[Lines]:
    """Yield the lines of the rotated files, oldest first, up to the first recorded line.

    Parameters
    ----------
    files : RotatedFiles
    first : list of (int, str)
        The first recorded lines; empty if nothing is recorded.
    masking : Masking, optional

    Raises
    ------
    NotAllowed, NotFound, ClusterError
        The files cannot be read.
    """
    done: set[str] = set()
    rest = b""
    while True:
        # List again each time: files are renamed and removed while we read. A compressed file keeps its time stamp.
        names = [n for n in await files.names() if n.removesuffix(".gz") not in done]
        if not names:
            break
        try:
            data = rest + await files.read(names[0])
        except NotFound:
            continue
        done.add(names[0].removesuffix(".gz"))
        # A file ends with a whole record, which may be only a part (`P`) of a line of the log.
        lines, rest = await asyncio.to_thread(_parse_whole, data)
        if first and len(lines) and lines.times[0] > first[0][0]:
            return  # rotated since recording began; the file with the first recorded line was removed
        end = await asyncio.to_thread(_first_recorded, lines, first, masking)
        if len(lines):
            yield lines.part(0, end)
        if end < len(lines):
            return


def _parse_whole(data: bytes) -> tuple[Lines, bytes]:
    """Parse a file except for the parts of a line at its end that the next file completes; return both."""
    end = len(data)
    while end:
        start = data.rfind(b"\n", 0, end - 1) + 1
        if data[start:end].split(b" ", 3)[2:3] != [b"P"]:
            break
        end = start
    return parse_cri(data[:end]), data[end:]


def _first_recorded(lines: Lines, first: list[Line], masking: Masking) -> int:
    """Return the index of the first recorded line in a file; the number of lines if it is not there."""
    if not first or first[0][0] not in lines.times:
        return len(lines)  # most files are older: do not mask their lines only to compare them
    return overlap_start(masking.rows(lines.rows()), first)
