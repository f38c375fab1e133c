"""Faults of the node: rotation, restarts, deletion, clocks, and what lines can be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from faults.case import Row
from support.jupyter import counter

if TYPE_CHECKING:
    from faults.case import Case

ONE = {"parallelism": 1}
SAME = """
import os, time
struck = False
while not struck:
    struck = os.path.exists('STRUCK')
    for i in range(10):
        print('ok\\n' * 100, end='', flush=True)
        time.sleep(0.08)
"""
TWO_WRITERS = """
import os, threading, time
def write(fd, word):
    i = -1
    while (i := i + 1) < 5000 or i % 20 or not os.path.exists('STRUCK'):
        os.write(fd, b'%s %08d\\n' % (word, i))
        if i % 20 == 19: time.sleep(0.012)
threads = [threading.Thread(target=write, args=a) for a in ((1, b'out'), (2, b'err'))]
[t.start() for t in threads]
[t.join() for t in threads]
"""
LONG_AND_EMPTY = """
import os, time
i = -1
while (i := i + 1) < 12 or not os.path.exists('STRUCK'):
    print('%08d ' % i + 'x' * (1 << 20) + '\\n\\n\\n%08d short' % i, flush=True)
    time.sleep(0.25)
"""


async def rotated_once(case: Case) -> None:
    await case.lines(3000)
    case.fault("rotate")


async def rotated_every_2_s(case: Case) -> None:
    for _ in range(3):
        await case.lasts(2)
        case.fault("rotate")


async def rotated_while_away(case: Case) -> None:
    await case.lines(2000)
    async with case.away():
        for _ in range(2):
            await case.written(1200)
            case.fault("rotate")
        await case.written(400)


async def rotated_while_away_and_forbidden(case: Case) -> None:
    case.fault("deny", verb="get", resource="nodes/proxy")
    await rotated_while_away(case)


async def rotated_away_altogether(case: Case) -> None:
    await case.lines(2000)
    async with case.away():
        for _ in range(6):  # the node keeps five files
            await case.written(800)
            case.fault("rotate")


async def restarted_while_away(case: Case) -> None:
    await case.lines(2000)
    async with case.away():
        await case.written(1000)
        case.fault("kill")
        await case.written(2000)


async def restarted_twice_while_away(case: Case) -> None:
    await case.lines(1000)
    async with case.away():
        for _ in range(2):
            await case.written(1000)
            case.fault("kill")
        await case.written(2000)


async def deleted_while_away(case: Case) -> None:
    await case.lines(2000)
    async with case.away():
        await case.written(1000)
        case.disk.keep()
        for pod in case.sandbox.kube.pods_of(case.name):
            case.sandbox.kube.delete("pods", pod["metadata"]["name"])
        await case.written(1000)  # by the pods that the Job makes in their place


def coarse(case: Case) -> None:
    case.fault("clock", resolution=1)


async def cuts(case: Case) -> None:
    for after in (0, 9_001, 20_011, 30_003):
        await case.lines(700)
        case.fault("cut", after_bytes=after, count=1)


async def order(case: Case) -> None:
    for round_ in range(5):
        await case.lines(300)
        clock = case.fault("clock", offset=-0.4)
        if round_ % 4 == 0:
            case.fault("abort", after_bytes=5_003 * round_, count=1)
        await case.lines(50)
        case.mend(clock)


async def set_back(case: Case) -> None:
    await case.lines(2000)
    case.fault("clock", offset=-3600)
    await case.lines(500)
    case.fault("abort", count=2)


async def cuts_of_long_lines(case: Case) -> None:
    for after in (0, 700_001, 2_100_003):
        await case.lines(4)
        case.fault("abort", after_bytes=after, count=1)


async def cut_before_the_end(case: Case) -> None:
    await case.lines(1000)
    case.fault("cut", after_bytes=90_001, count=3)


RESTARTS = {"parallelism": 1, "backoff": 6}
LONGER = counter(10_000, per_second=2000, until="STRUCK")
ROWS = [
    Row("rotation once", rotated_once),
    Row("rotation every 2 s", rotated_every_2_s, program=counter(16_000, per_second=2000, until="STRUCK")),
    Row("rotation while disconnected", rotated_while_away, program=LONGER),
    Row("the same without nodes/proxy", rotated_while_away_and_forbidden, "gaps", program=LONGER),
    Row("rotated away altogether", rotated_away_altogether, "gaps", program=LONGER),
    Row("container restarts while disconnected", restarted_while_away, program=LONGER, job=RESTARTS, restart="OnFailure"),
    Row("two restarts while disconnected", restarted_twice_while_away, "gaps", program=LONGER, job=RESTARTS, restart="OnFailure"),
    Row("pod deleted while disconnected", deleted_while_away, "gaps"),
    Row("identical lines in one timestamp", cuts, program=SAME, job=ONE, before=coarse),
    Row("timestamps out of order", order, program=TWO_WRITERS, job=ONE),
    Row("clock set back by an hour", set_back),
    Row("lines of 1 MiB and of 0 bytes", cuts_of_long_lines, program=LONG_AND_EMPTY, job=ONE),
    Row("no trailing newline", cut_before_the_end, program=counter(3000, per_second=1500, until="STRUCK").replace(
        "sys.stdout.flush(); sys.exit", "sys.stdout.write('no newline'); sys.stdout.flush(); sys.exit")),
]  # fmt: skip
