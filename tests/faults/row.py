"""Runs a row of the fault matrix on the sandbox: each line arrives once and in file order, or lies in a stated gap."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest
from faults.case import running_case
from faults.received import check_received

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import SandboxProcess
    from faults.case import Case, Row


async def _inject_fault(row: Row, case: Case) -> None:
    await row.fault(case)
    case.faults_done.touch()


def parametrize_rows(rows: list[Row]) -> Any:
    """Parametrize a test with rows. The rows are in several files because pytest-xdist runs files in parallel."""
    params = []
    for row in rows:
        marks = [pytest.mark.xfail(strict=True, reason=row.xfail)] if row.xfail else []
        params.append(pytest.param(row, id=row.name.replace(" ", "-"), marks=marks))
    return pytest.mark.parametrize("row", params)


async def run_row(row: Row, sandbox: SandboxProcess, name: str, folder: Path, result: Callable[..., None]) -> None:
    """Inject the fault while a task is recorded and read, then compare the received lines with the written ones."""
    figures: dict[str, Any] = {"row": row.name, "allowed": row.allowed, "result": "failed"}
    async with running_case(
        sandbox, name, folder, row.store_disk_mib, masked=row.masked, make_valkey=row.valkey
    ) as case:
        try:
            case.create(row)
            async with asyncio.timeout(120), asyncio.TaskGroup() as group:
                group.create_task(row.read(case) if row.read else case.read())  # type: ignore[arg-type]
                group.create_task(_inject_fault(row, case))
            written = case.node_logs.lines()
            figures["in"] = sum(map(len, written.values()))
            figures["missing"] = check_received(written, case.received, row.normalize)
            assert row.allowed == "gaps" or not case.received.gaps, case.received.gaps
            if row.after is not None:
                row.after(case)
            figures["result"] = "ok"
        finally:
            received = case.received
            figures |= {"out": received.count, "doubled": received.duplicates, "gaps": len(received.gaps)}
            figures["recovery_s"] = round(received.longest_pause(case.fault_time or time.monotonic()), 2)
            result(**figures)
