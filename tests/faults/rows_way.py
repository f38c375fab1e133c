"""Faults of the way between node and recorder: streams, the API, its answers."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from faults.case import Row

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from faults.case import Case


async def clean_ends(case: Case) -> None:
    for after in (0, 70_001, 123_457):
        await case.lines(1500)
        case.fault("cut", after_bytes=after, count=2)


async def resets(case: Case) -> None:
    for after in (0, 70_001, 123_457):
        await case.lines(1500)
        case.fault("abort", after_bytes=after, count=2)


async def stall(case: Case) -> None:
    await case.lines(3000)
    case.fault("stall", count=2)


async def blind(case: Case) -> None:
    await case.lines(2000)
    case.fault("blind")
    case.fault("rotate")


def answers(code: int, path: str = "/log\\?", **options: int) -> Callable[[Case], Awaitable[None]]:
    """Make the fault of an API that answers so for a while, after all streams were cut."""

    async def fault(case: Case) -> None:
        await case.lines(2000)
        case.fault("status", code=code, path=path, count=6, **options)
        case.fault("abort", count=2)

    return fault


async def expired_watch(case: Case) -> None:
    # With two pods one after the other: the second one comes after the watches' 410.
    await case.lines(1000)
    case.fault("expire")
    await case.lines(3000)
    case.fault("expire")


async def stopped_api(case: Case) -> None:
    await case.lines(2000)
    case.hit()
    os.kill(case.sandbox.pid, signal.SIGSTOP)
    try:
        await case.lasts(4)
    finally:
        os.kill(case.sandbox.pid, signal.SIGCONT)


async def kubelet_text(case: Case) -> None:
    await case.lines(2000)
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
