"""Faults of the node: rotation, restarts, deletion, clocks, and unusual lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from faults.case import Row
from faults.row import parametrize_rows, run_row
from support.jupyter import counter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import SandboxProcess
    from faults.case import Case

ONE_POD = {"parallelism": 1}
IDENTICAL_LINES = """
import os, time
done = False
while not done:
    done = os.path.exists('FAULTS_DONE')
    for i in range(10):
        print('ok\\n' * 100, end='', flush=True)
        time.sleep(0.08)
"""
TWO_WRITERS = """
import os, threading, time
def write(fd, word):
    i = -1
    while (i := i + 1) < 5000 or i % 20 or not os.path.exists('FAULTS_DONE'):
        os.write(fd, b'%s %08d\\n' % (word, i))
        if i % 20 == 19: time.sleep(0.012)
threads = [threading.Thread(target=write, args=a) for a in ((1, b'out'), (2, b'err'))]
[t.start() for t in threads]
[t.join() for t in threads]
"""
LONG_AND_EMPTY = """
import os, time
i = -1
while (i := i + 1) < 12 or not os.path.exists('FAULTS_DONE'):
    print('%08d ' % i + 'x' * (1 << 20) + '\\n\\n\\n%08d short' % i, flush=True)
    time.sleep(0.25)
"""


async def rotated_once(case: Case) -> None:
    await case.wait_lines(3000)
    case.fault("rotate")


async def rotated_every_2_s(case: Case) -> None:
    for _ in range(3):
        await case.wait_seconds(2)
        case.fault("rotate")


async def rotated_while_unreachable(case: Case) -> None:
    await case.wait_lines(2000)
    async with case.logs_unreachable():
        for _ in range(2):
            await case.wait_written(1200)
            case.fault("rotate")
        await case.wait_written(400)


async def rotated_while_unreachable_and_forbidden(case: Case) -> None:
    case.fault("deny", verb="get", resource="nodes/proxy")
    await rotated_while_unreachable(case)


async def rotated_beyond_the_kept_files(case: Case) -> None:
    await case.wait_lines(2000)
    async with case.logs_unreachable():
        for _ in range(6):  # the node keeps five files
            await case.wait_written(800)
            case.fault("rotate")


async def restarted_while_unreachable(case: Case) -> None:
    await case.wait_lines(2000)
    async with case.logs_unreachable():
        await case.wait_written(1000)
        case.fault("kill")
        await case.wait_written(2000)


async def restarted_twice_while_unreachable(case: Case) -> None:
    await case.wait_lines(1000)
    async with case.logs_unreachable():
        for _ in range(2):
            await case.wait_written(1000)
            case.fault("kill")
        await case.wait_written(2000)


async def deleted_while_unreachable(case: Case) -> None:
    await case.wait_lines(2000)
    async with case.logs_unreachable():
        await case.wait_written(1000)
        case.node_logs.open_new_files()
        for pod in case.sandbox.kube.pods_of(case.name):
            case.sandbox.kube.delete("pods", pod["metadata"]["name"])
        await case.wait_written(1000)  # by the pods that replace them


def coarse_clock(case: Case) -> None:
    case.fault("clock", resolution=1)


async def cuts(case: Case) -> None:
    for after in (0, 9_001, 20_011, 30_003):
        await case.wait_lines(700)
        case.fault("cut", after_bytes=after, count=1)


async def clock_jumps(case: Case) -> None:
    for round_ in range(5):
        await case.wait_lines(300)
        clock = case.fault("clock", offset=-0.4)
        if round_ % 4 == 0:
            case.fault("abort", after_bytes=5_003 * round_, count=1)
        await case.wait_lines(50)
        case.end_fault(clock)


async def clock_set_back(case: Case) -> None:
    await case.wait_lines(2000)
    case.fault("clock", offset=-3600)
    await case.wait_lines(500)
    case.fault("abort", count=2)


async def cuts_of_long_lines(case: Case) -> None:
    for after in (0, 700_001, 2_100_003):
        await case.wait_lines(4)
        case.fault("abort", after_bytes=after, count=1)


async def cut_before_the_end(case: Case) -> None:
    await case.wait_lines(1000)
    case.fault("cut", after_bytes=90_001, count=3)


RESTARTS = {"parallelism": 1, "backoff": 6}
LONGER = counter(10_000, per_second=2000, until="FAULTS_DONE")
ROWS = [
    Row("rotation once", rotated_once),
    Row("rotation every 2 s", rotated_every_2_s, program=counter(16_000, per_second=2000, until="FAULTS_DONE")),
    Row("rotation while disconnected", rotated_while_unreachable, program=LONGER),
    Row("the same without nodes/proxy", rotated_while_unreachable_and_forbidden, "gaps", program=LONGER),
    Row("rotated away altogether", rotated_beyond_the_kept_files, "gaps", program=LONGER),
    Row(
        "container restarts while disconnected",
        restarted_while_unreachable,
        program=LONGER,
        job=RESTARTS,
        restart="OnFailure",
    ),
    Row(
        "two restarts while disconnected",
        restarted_twice_while_unreachable,
        "gaps",
        program=LONGER,
        job=RESTARTS,
        restart="OnFailure",
    ),
    Row("pod deleted while disconnected", deleted_while_unreachable, "gaps"),
    Row("identical lines in one timestamp", cuts, program=IDENTICAL_LINES, job=ONE_POD, before=coarse_clock),
    Row("timestamps out of order", clock_jumps, program=TWO_WRITERS, job=ONE_POD),
    Row("clock set back by an hour", clock_set_back),
    Row("lines of 1 MiB and of 0 bytes", cuts_of_long_lines, program=LONG_AND_EMPTY, job=ONE_POD),
    Row(
        "no trailing newline",
        cut_before_the_end,
        program=counter(3000, per_second=1500, until="FAULTS_DONE").replace(
            "sys.stdout.flush(); sys.exit", "sys.stdout.write('no newline'); sys.stdout.flush(); sys.exit"
        ),
    ),
]


@parametrize_rows(ROWS)
async def test_row(
    row: Row, sandbox: SandboxProcess, unique: Callable[[str], str], tmp_path: Path, result: Callable[..., None]
) -> None:
    await run_row(row, sandbox, unique("f"), tmp_path, result)
