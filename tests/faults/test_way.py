"""Faults between the node and the recorder: streams, the API, and its answers."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from faults.case import Row
from faults.row import parametrize_rows, run_row

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from conftest import SandboxProcess
    from faults.case import Case


async def clean_ends(case: Case) -> None:
    for after in (0, 70_001, 123_457):
        await case.wait_lines(1500)
        case.fault("cut", after_bytes=after, count=2)


async def resets(case: Case) -> None:
    for after in (0, 70_001, 123_457):
        await case.wait_lines(1500)
        case.fault("abort", after_bytes=after, count=2)


async def stall(case: Case) -> None:
    await case.wait_lines(3000)
    case.fault("stall", count=2)


async def blind(case: Case) -> None:
    await case.wait_lines(2000)
    case.fault("blind")
    case.fault("rotate")


def answers(code: int, path: str = "/log\\?", **options: int) -> Callable[[Case], Awaitable[None]]:
    """Return a fault: all streams are reset, and the next requests are answered with this status code."""

    async def fault(case: Case) -> None:
        await case.wait_lines(2000)
        case.fault("status", code=code, path=path, count=6, **options)
        case.fault("abort", count=2)

    return fault


async def expired_watch(case: Case) -> None:
    # The Job runs two pods in turn; the second one starts after the watches' 410.
    await case.wait_lines(1000)
    case.fault("expire")
    await case.wait_lines(3000)
    case.fault("expire")


async def stopped_api(case: Case) -> None:
    await case.wait_lines(2000)
    case.mark_fault()
    os.kill(case.sandbox.pid, signal.SIGSTOP)
    try:
        await case.wait_seconds(4)
    finally:
        os.kill(case.sandbox.pid, signal.SIGCONT)


async def kubelet_text(case: Case) -> None:
    await case.wait_lines(2000)
    case.fault("garbage", count=2)
    case.fault("abort", count=2)


ROWS = [
    Row("clean EOF while running", clean_ends),
    Row("reset in mid-line", resets),
    Row("silence on an open connection", stall),
    Row("blind after a rotation", blind),
    Row("500 on the log", answers(500)),
    Row("503 on everything", answers(503, "/api")),
    Row("429 with Retry-After on the log", answers(429, retry_after=1)),
    Row("401 on everything, then accepted", answers(401, "/api")),
    Row("410 on the watches", expired_watch, job={"parallelism": 1, "completions": 2}),
    Row("API server stopped for 4 s", stopped_api),
    Row("kubelet error text in the body", kubelet_text),
]


@parametrize_rows(ROWS)
async def test_row(
    row: Row, sandbox: SandboxProcess, unique: Callable[[str], str], tmp_path: Path, result: Callable[..., None]
) -> None:
    await run_row(row, sandbox, unique("f"), tmp_path, result)
