"""A row of the matrix, end to end on the sandbox: every line once and in the order of its file, or a gap says so."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest
from faults.case import begun
from faults.seen import judge

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from faults.case import Case, Row


async def _strike(row: Row, case: Case) -> None:
    await row.fault(case)
    case.struck.touch()


def each(rows: list[Row]) -> Any:
    """Run a test with each of some rows. They are in several files, so that they run beside each other."""
    params = []
    for row in rows:
        marks = [pytest.mark.xfail(strict=True, reason=row.xfail)] if row.xfail else []
        params.append(pytest.param(row, id=row.name.replace(" ", "-"), marks=marks))
    return pytest.mark.parametrize("row", params)


async def hold(row: Row, sandbox: Any, name: str, folder: Path, result: Callable[..., None]) -> None:
    """Have the fault strike while a task is recorded and read, and judge what was read by what is on the disk."""
    figures: dict[str, Any] = {"row": row.name, "allowed": row.allowed, "result": "failed"}
    async with begun(sandbox, name, folder, row.disk, masked=row.masked, make=row.place) as case:
        try:
            case.create(row)
            async with asyncio.timeout(120), asyncio.TaskGroup() as group:
                group.create_task(row.read(case) if row.read else case.read())  # type: ignore[arg-type]
                group.create_task(_strike(row, case))
            wrote = case.disk.lines()
            figures["in"] = sum(map(len, wrote.values()))
            figures["missing"] = judge(wrote, case.seen, row.form)
            assert row.allowed == "gaps" or not case.seen.gaps, case.seen.gaps
            if row.after is not None:
                row.after(case)
            figures["result"] = "ok"
        finally:
            seen = case.seen
            figures |= {"out": seen.count, "doubled": seen.doubled, "gaps": len(seen.gaps)}
            figures["recovery_s"] = round(seen.pause(case.hit_at or time.monotonic()), 2)
            result(**figures)
