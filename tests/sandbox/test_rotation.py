"""Rotation by size, and which lines a follow gets across a rotation, as with a kubelet."""

from __future__ import annotations

import asyncio
import gzip
import os
from typing import TYPE_CHECKING, Any

import pytest
from support.kube import python_pod

from cortex_jupyter.sandbox.crilog import CriLog
from cortex_jupyter.sandbox.logoptions import LogOptions
from cortex_jupyter.sandbox.logreader import read

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import NewSandbox, SandboxProcess

WRITER = "import time\nfor i in range(4000):\n    print('%06d' % i, 'x' * 92)\n    if i % 100 == 99: time.sleep(0.05)"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, new_sandbox: NewSandbox) -> Iterator[Any]:
    """Run a sandbox that rotates logs at 40 kB and checks their sizes ten times a second."""
    with new_sandbox(
        tmp_path_factory.mktemp("small"), "--log-max-size", "40000", "--log-check", "0.1", "--log-max-files", "4"
    ) as process:
        yield process


def test_rotated_files_are_gzipped_and_the_oldest_removed(small: SandboxProcess) -> None:
    small.kube.create(python_pod("writer", WRITER))
    pod = small.kube.wait_pod("writer", lambda p: p["status"]["phase"] == "Succeeded")
    folder = small.root / "var/log/pods" / f"default_writer_{pod['metadata']['uid']}" / "main"
    names = sorted(p.name for p in folder.iterdir())
    assert names[0] == "0.log" and len(names) == 4
    assert [n.endswith(".gz") for n in names[1:]] == [True, True, False]
    numbers = []
    for name in [*names[1:], names[0]]:
        data = (folder / name).read_bytes()
        data = gzip.decompress(data) if name.endswith(".gz") else data
        numbers += [int(record.split(b" ")[3]) for record in data.splitlines()]
    assert numbers == list(range(numbers[0], 4000)) and numbers[0] > 0
    served = [int(line.split(b" ")[0]) for line in small.kube.logs("writer").splitlines()]
    assert served == numbers[len(numbers) - len(served) :]


def log_of(path: Path, clock: Any = None) -> CriLog:
    ticks = iter(range(10**18, 2 * 10**18))
    return CriLog(path / "0.log", lambda: clock or (lambda: next(ticks)))


async def lines_of(reader: Any, count: int) -> list[bytes]:
    data = b""
    async for block in reader:
        data += block
        if data.count(b"\n") >= count:
            break
    return data.splitlines()


async def test_a_follow_at_the_end_of_the_file_continues_in_the_new_one(tmp_path: Path) -> None:
    log = log_of(tmp_path)
    log.feed(b"stdout", b"1\n")
    reader = read(log, LogOptions(follow=True), None)
    assert await anext(reader) == b"1\n"
    waiting = asyncio.ensure_future(lines_of(reader, 2))
    await asyncio.sleep(0)  # now the follow is at the end of the file and watches for rotations
    log.feed(b"stdout", b"2\n")
    await log.rotate()
    log.feed(b"stdout", b"3\n")
    assert await waiting == [b"2", b"3"]
    log.close()


async def test_a_follow_with_a_backlog_stays_with_the_old_file(tmp_path: Path) -> None:
    # As in Kubernetes, the follow starts to watch at its first end of file, which is after this rotation.
    log = log_of(tmp_path)
    log.feed(b"stdout", b"x" * 1000 + b"\n" + b"y\n" * 40000)
    reader = read(log, LogOptions(follow=True), None)
    first = await anext(reader)
    assert first
    await log.rotate()
    log.feed(b"stdout", b"in the second file\n")
    log.close()
    rest = b"".join([block async for block in reader])
    assert b"second" not in rest and (first + rest).count(b"\n") == 40001


async def test_two_rotations_within_a_second_lose_nothing(tmp_path: Path) -> None:
    log = log_of(tmp_path)
    for number in range(3):
        log.feed(b"stdout", b"%d\n" % number)
        await log.rotate()
    log.close()
    assert len([name for name in os.listdir(tmp_path) if name.startswith("0.log.")]) == 3  # noqa: PTH208 - not async


async def test_records(tmp_path: Path) -> None:
    times = iter([10**18 + 500_000_000, 10**18 + 1, 10**18, 10**18, 10**18, 10**18])
    log = log_of(tmp_path, lambda: next(times))
    log.feed(b"stdout", b"half")
    log.feed(b"stdout", b" and half\nnext\n")
    log.feed(b"stderr", b"e" * 16385 + b"\n")
    log.feed(b"stdout", b"end")
    log.end_stream(b"stdout")
    log.close()
    at = b"2001-09-09T01:46:40"
    assert (tmp_path / "0.log").read_bytes().splitlines() == [
        at + b".5Z stdout F half and half",
        at + b".000000001Z stdout F next",
        at + b"Z stderr P " + b"e" * 16384,
        at + b"Z stderr F e",
        at + b"Z stdout P end",
    ]
    all_blocks = [block async for block in read(log, LogOptions(timestamps=True), None)]
    assert b"".join(all_blocks).splitlines()[0] == at + b".500000000Z half and half"
    blocks_since = [block async for block in read(log, LogOptions(), 10**18 + 2)]
    assert b"".join(blocks_since) == b"half and half\n"
