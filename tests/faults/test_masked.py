"""Faults while secrets are masked before lines are stored: no secret is stored, and each is counted once."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

from faults.case import Row
from faults.row import parametrize_rows, run_row
from faults.test_node import rotated_while_unreachable
from faults.test_recorder import killed
from support.jupyter import counter

from cortex_jupyter.model import TaskRef
from cortex_jupyter.store.masking import configure_masking

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import SandboxProcess
    from faults.case import Case

_SECRET = re.compile(r"s3cr3t\d{8}|user\d+@example\.org")


def program(lines: int) -> str:
    """Return a program that writes a password and an e-mail address in each line."""
    return counter(lines, per_second=2000, until="FAULTS_DONE").replace(
        "'x' * 60", "'password=s3cr3t%08d by user%d@example.org ' % (i, i) + 'x' * 20"
    )


def mask(text: str) -> str:
    """Return a line as it must be stored, without using the masking rules under test."""
    return _SECRET.sub("[masked]", text)


def check_all_masked(case: Case) -> None:
    assert _masked_counts(case) == [case.received.count]


def check_masked_from_one_line_on(case: Case) -> None:
    """Check that all lines after one position are masked, none before, and that a notice marks the position."""
    (masked_count,) = _masked_counts(case)
    messages = [n["message"] for n in case.received.notices if n.get("notice") == "mask"]
    assert 0 < masked_count < case.received.count
    assert messages == ["From here on secrets are masked before lines are stored"]


def _recording(case: Case) -> int:
    info = case.recordings.store.find(TaskRef("default", "job", case.task))
    assert info is not None
    return info.id


def _masked_counts(case: Case) -> list[int]:
    """Return the different counts of masked lines: those in the completeness statement, and that of the received lines.

    A single number means that all agree. -1 is added if not both kinds of secrets were counted.
    """
    texts = [[text for _, text in lines] for lines in case.received.lines().values()]
    kinds = case.recordings.store.complete(_recording(case)).masked
    masked = sum("password=[masked] by [masked] " in text for each in texts for text in each)
    for each in texts:
        plain = [bool(_SECRET.search(text)) for text in each]
        assert plain == sorted(plain, reverse=True), "a line is not masked, but an earlier one is"
    return sorted({masked, *kinds.values()} | ({-1} if len(kinds) != 2 else set()))


async def switch_masking_on(case: Case) -> None:
    await case.wait_lines(3000)
    case.mark_fault()
    await asyncio.to_thread(configure_masking, case.recordings.store, wish=True)
    await case.wait_lines(3000)
    await case.kill_recorder()


ROWS = [
    Row(
        "recorder killed three times, masked",
        killed,
        program=program(14_000),
        masked=True,
        normalize=mask,
        after=check_all_masked,
    ),
    Row(
        "rotation while disconnected, masked",
        rotated_while_unreachable,
        program=program(10_000),
        masked=True,
        normalize=mask,
        after=check_all_masked,
    ),
    Row(
        "masking switched on, recorder killed",
        switch_masking_on,
        program=program(10_000),
        normalize=mask,
        after=check_masked_from_one_line_on,
    ),
]


@parametrize_rows(ROWS)
async def test_fault_with_masking(
    row: Row, sandbox: SandboxProcess, unique: Callable[[str], str], tmp_path: Path, result: Callable[..., None]
) -> None:
    await run_row(row, sandbox, unique("f"), tmp_path, result)
