"""Faults while secrets are masked before lines are stored: none is stored, and each is counted once."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

from faults.case import Row
from faults.rows_node import rotated_while_away
from faults.rows_recorder import killed
from support.jupyter import counter

from cortex_jupyter.model import TaskRef
from cortex_jupyter.store.masking import masking

if TYPE_CHECKING:
    from faults.case import Case

_SECRET = re.compile(r"s3cr3t\d{8}|user\d+@example\.org")


def program(lines: int) -> str:
    """Return a program whose lines hold a password and an address each."""
    return counter(lines, per_second=2000, until="STRUCK").replace(
        "'x' * 60", "'password=s3cr3t%08d by user%d@example.org ' % (i, i) + 'x' * 20"
    )


def hidden(text: str) -> str:
    """Return a line as it is to be stored; the rules are not asked."""
    return _SECRET.sub("[masked]", text)


def all_masked(case: Case) -> None:
    assert _masked(case) == [case.seen.count]


def from_some_line_on(case: Case) -> None:
    """Lines from before masking was switched on stay as they are, the others are masked; it is said where."""
    (after,) = _masked(case)
    said = [n["message"] for n in case.seen.notices if n.get("notice") == "mask"]
    assert 0 < after < case.seen.count
    assert said == ["From here on secrets are masked before lines are stored"]


def _recording(case: Case) -> int:
    info = case.recordings.store.find(TaskRef("default", "job", case.task))
    assert info is not None
    return info.id


def _masked(case: Case) -> list[int]:
    """Return how many lines are masked, by the statement and by what was read."""
    texts = [[text for _, text in lines] for lines in case.seen.lines().values()]
    kinds = case.recordings.store.complete(_recording(case)).masked
    masked = sum("password=[masked] by [masked] " in text for each in texts for text in each)
    for each in texts:
        plain = [bool(_SECRET.search(text)) for text in each]
        assert plain == sorted(plain, reverse=True), "a line is not masked, after one that is"
    return sorted({masked, *kinds.values()} | ({-1} if len(kinds) != 2 else set()))


async def switched_on(case: Case) -> None:
    await case.lines(3000)
    case.hit()
    await asyncio.to_thread(masking, case.recordings.store, wish=True)
    await case.lines(3000)
    await case.kill_recorder()


ROWS = [
    Row("recorder killed three times, masked", killed, program=program(14_000), masked=True, form=hidden, after=all_masked),
    Row("rotation while disconnected, masked", rotated_while_away, program=program(10_000), masked=True, form=hidden, after=all_masked),
    Row("masking switched on, recorder killed", switched_on, program=program(10_000), form=hidden, after=from_some_line_on),
]  # fmt: skip
