"""Fetch from a container's rotated files what `pods/log` no longer serves."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cortex_jupyter.errors import ClusterError, NotAllowed, NotFound
from cortex_jupyter.recorder.text.align import Aligner, seam
from cortex_jupyter.recorder.text.lines import Lines, parse_cri
from cortex_jupyter.recorder.text.parser import PLAIN, Parser

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cortex_jupyter.cluster.rotated import RotatedFiles
    from cortex_jupyter.recorder.text.align import Line

#: A file may be renamed (rotated, compressed) between listing and reading; so often is it listed anew.
_TRIES = 3
#: What would have closed a gap.
HINT = "allow the verb `get` on `nodes/proxy`: rotated files can then be read"


@dataclass(slots=True)
class Bridged:
    """What lies between the recorded lines and those a new stream began with.

    Parameters
    ----------
    lines : Lines
        To be recorded before what arrived.
    missed : tuple of (int, int) or None
        Times between which lines are missing all the same.
    reason, hint : str
        Why they are.
    """

    lines: Lines = field(default_factory=Lines)
    missed: tuple[int, int] | None = None
    reason: str = ""
    hint: str = ""


async def bridge(
    files: RotatedFiles,
    recorded: list[Line],
    second: int,
    arrived: list[Line],
    parser: Parser = PLAIN,
    left: tuple[int, int, int] | None = None,
) -> Bridged:
    """Close the hole between what is recorded and what arrived, both seams aligned by content.

    Parameters
    ----------
    files : RotatedFiles
    recorded : list of (int, str)
        The source's recorded lines with a time not before `second`; not empty.
    second : int
        The anchor's, ns.
    arrived : list of (int, str)
        The first lines of the new stream, which do not overlap the recorded ones; empty where it brought none.
    parser : Parser, optional
        Whose form both have.
    left : tuple of (int, int, int), optional
        As for `Aligner`.
    """
    hole = (recorded[-1][0], arrived[0][0] if arrived else time.time_ns())
    try:
        lines = await _newest(files, recorded[0][0], parser)
    except NotAllowed:
        return Bridged(missed=hole, reason="rotated away before they could be read", hint=HINT)
    except (ClusterError, NotFound) as error:
        return Bridged(missed=hole, reason=f"rotated away, and the rotated files cannot be read: {error.message}")
    return await asyncio.to_thread(_between, lines, Aligner(recorded, left), recorded[-1][0], second, arrived)


def _between(lines: Lines, aligner: Aligner, last: int, second: int, arrived: list[Line]) -> Bridged:
    kept = [i for i, t in enumerate(lines.times) if t >= second]
    rows = [(lines.times[i], lines.texts[i]) for i in kept]
    skip = aligner.feed(rows)
    if skip is None:
        skip = aligner.settle()
    # Between listing and opening the file may have been rotated once more: then it holds what arrived, too.
    end = seam(rows, arrived)
    found = Bridged(lines.pick(kept[skip:end]))
    if not aligner.overlap:
        following = [*rows[:1], *arrived[:1]]
        found.missed = (last, following[0][0] if following else time.time_ns())
        found.reason = "rotated away more than once before they could be read, and removed from the node"
    return found


async def _newest(files: RotatedFiles, back_to: int, parser: Parser) -> Lines:
    """Read the newest rotated files, as many as reach back to a time."""
    for attempt in range(_TRIES):
        data: list[bytes] = []
        try:
            for name in reversed(await files.names()):
                data.insert(0, await files.read(name))
                first = parse_cri(data[0][: data[0].find(b"\n") + 1]).times
                if first and first[0] < back_to:
                    break
            # A line may have begun in one file and ended in the next.
            return await asyncio.to_thread(parser.file, b"".join(data))
        except NotFound:
            if attempt == _TRIES - 1:
                raise
    raise AssertionError


async def older(files: RotatedFiles, first: list[Line], parser: Parser = PLAIN) -> AsyncIterator[Lines]:
    """Give the lines of the rotated files, oldest first, up to where the recorded ones begin.

    Parameters
    ----------
    files : RotatedFiles
    first : list of (int, str)
        The first recorded lines; empty where nothing is recorded.
    parser : Parser, optional
        Whose form they have.

    Raises
    ------
    NotAllowed, NotFound, ClusterError
        They cannot be read.
    """
    done: set[str] = set()
    rest = b""
    while True:
        # Listed anew each time: files are renamed and removed while we read. A compressed one keeps its stamp.
        names = [n for n in await files.names() if n.removesuffix(".gz") not in done]
        if not names:
            break
        try:
            data = rest + await files.read(names[0])
        except NotFound:
            continue
        done.add(names[0].removesuffix(".gz"))
        # Files end with whole lines of the file, but perhaps with a part (`P`) of a line of the log.
        lines, rest = await asyncio.to_thread(_whole, data, parser)
        if first and len(lines) and lines.times[0] > first[0][0]:
            return  # rotated since recording began: the file with the first line has been removed
        end = await asyncio.to_thread(seam, lines.rows(), first)
        if len(lines):
            yield lines.part(0, end)
        if end < len(lines):
            return


def _whole(data: bytes, parser: Parser) -> tuple[Lines, bytes]:
    """Parse a file but for the parts at its end that the next file completes."""
    end = len(data)
    while end:
        start = data.rfind(b"\n", 0, end - 1) + 1
        if data[start:end].split(b" ", 3)[2:3] != [b"P"]:
            break
        end = start
    return parser.file(data[:end]), data[end:]
