"""Faults of a store that is a server: it dies, fails over, is full, forgets, or the way to it is cut."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import orjson
import pytest
from faults.case import Row
from faults.rows_masked import all_masked, hidden, program
from faults.rows_recorder import stood_still
from faults.seen import Seen
from support.hand import until
from support.jupyter import counter
from support.valkey import Place
from valkey import ResponseError

from cortex_jupyter.errors import CursorNotHeld
from cortex_jupyter.model import TaskRef

if TYPE_CHECKING:
    from pathlib import Path

    from faults.case import Case

LONG = counter(10_000, per_second=2000, until="STRUCK")


async def restarted(case: Case) -> None:
    for _ in range(2):
        await case.lines(3000)
        case.hit()
        await asyncio.to_thread(case.place.primary.kill)
        await case.lasts(1)
        await asyncio.to_thread(case.place.primary.start)


async def failed_over(case: Case) -> None:
    """The replica is behind when the primary dies."""
    await case.lines(3000)
    case.place.between.cut()
    await case.lasts(1)
    await promoted(case)
    # There is no other replica to wait for: that is for whoever runs the servers.
    (replica,) = case.place.replicas
    await asyncio.to_thread(case.place.add_replica, replica.port)


async def promoted(case: Case) -> None:
    (replica,) = case.place.replicas
    case.hit()
    await asyncio.to_thread(case.place.primary.kill)
    await asyncio.to_thread(replica.ask, "REPLICAOF", "NO", "ONE")
    case.place.relay.cut()
    case.place.relay.mend(replica.port)


async def failed_over_unconfirmed(case: Case) -> None:
    """Nobody waits for the replica, so that it lacks what readers have seen."""
    await case.lines(3000)
    case.place.between.cut()
    await case.lines(2000)
    await promoted(case)
    await lost(case)


async def cut_off(case: Case) -> None:
    await case.lines(3000)
    case.place.relay.cut()
    case.hit()
    await case.lasts(1)
    case.place.relay.mend()


async def full(case: Case) -> None:
    await case.lines(3000)
    memory = case.place.primary
    case.hit()
    memory.ask("CONFIG", "SET", "maxmemory", memory.client().info("memory")["used_memory"] + 1000)
    await case.until(lambda: any("store is full" in n["message"] for n in case.seen.notices), "that the store is full")
    await case.lasts(1)
    memory.ask("CONFIG", "SET", "maxmemory", 0)


async def disk_full(case: Case) -> None:
    """Its own disk: it refuses everything that would change it, so that the recording itself can say nothing."""
    await case.lines(3000)
    filler = case.folder / "store/filler"
    case.hit()
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    await refused(case)
    await case.lasts(1)
    filler.unlink()


async def refused(case: Case) -> None:
    def refuses() -> bool:
        try:
            case.place.primary.ask("PING")
        except ResponseError as error:
            return "MISCONF" in str(error)
        return False

    await case.until(refuses, "that the server refuses to write")


async def went_back(case: Case) -> None:
    """The server comes back as it was a second before, as after a power cut with `appendfsync everysec`."""
    await case.lines(3000)
    server = case.place.primary
    (file,) = (server.folder / "appendonlydir").glob("*.incr.aof")
    size = file.stat().st_size
    await case.lines(1500)
    case.hit()
    await asyncio.to_thread(server.kill)
    os.truncate(file, size)
    await asyncio.to_thread(server.start)
    await lost(case)


async def lost(case: Case) -> None:
    await case.until(lambda: any(n.get("notice") == "store" for n in case.seen.notices), "that records were lost")


async def from_snapshot(case: Case) -> None:
    """What came after the last snapshot is nowhere."""
    await case.lines(3000)
    server = case.place.primary
    await asyncio.to_thread(server.ask, "SAVE")
    await case.lines(2000)
    case.hit()
    await asyncio.to_thread(server.kill)
    await asyncio.to_thread(server.start)
    await lost(case)


async def read_twice(case: Case) -> None:
    """Read on over what is given once more, as a notice says; then anew, as one who comes later."""
    await case.read()
    first = case.seen
    assert not first.doubled and not first.gaps
    wrote, got = case.disk.lines(), first.lines()
    lacks = {key: len({*lines} - {*got.get(key, [])}) for key, lines in wrote.items()}
    assert not any(lacks.values()), f"who read all the time lacks {lacks}"
    case.seen = Seen()
    await case.read()


async def forgot(case: Case) -> None:
    """The server comes back without its file."""
    await case.lines(4000)
    server = case.place.primary
    case.hit()
    await asyncio.to_thread(server.kill)
    shutil.rmtree(server.folder / "appendonlydir")
    await asyncio.to_thread(server.start)


async def read_again(case: Case) -> None:
    """Read until the recording is gone, and then what the cluster still has."""
    with pytest.raises(CursorNotHeld):
        await case.read()
    case.seen = Seen()
    recording = await case.recordings.find(TaskRef.parse(case.task))
    async with recording.wanted():
        async for frame in recording.feed.frames():
            case.seen.take(frame.event, orjson.loads(frame.entry.data))


def snapshots(folder: Path) -> Place:
    return Place(folder, save="3600 1")


_WEEK_S = 7 * 86400.0


def collector(case: Case) -> None:
    """Start a collector that has been told to mask and how much to keep; readers have not."""
    url, config = case.recordings.store.url, str(case.sandbox.kubeconfig)
    command = [sys.executable, "-m", "cortex_jupyter.recorder", "--store", url, "--kubeconfig", config, "--all"]
    told = {"CORTEX_MASK": "1", "CORTEX_STORE_MAX_AGE": "7d"}
    with (case.folder / "collector.log").open("ab") as log:
        process = subprocess.Popen([*command, "-n", "default"], stdout=log, stderr=log, env=os.environ | told)
    case.processes.append(process)


async def read_what_is_collected(case: Case) -> None:
    """Read without a wish until the recording is gone, and then what is recorded anew by itself."""
    with pytest.raises(CursorNotHeld):
        await _read_unasked(case)
    case.seen = Seen()
    await _read_unasked(case)
    store = case.recordings.store
    await until(lambda: store.budget().max_age_s == _WEEK_S)


async def _read_unasked(case: Case) -> None:
    ref = TaskRef("default", "job", case.task)
    await until(lambda: case.recordings.store.find(ref))
    info = case.recordings.store.find(ref)
    assert info is not None
    async for frame in case.recordings.feed(info.id).frames():
        case.seen.take(frame.event, orjson.loads(frame.entry.data))


def masked_and_kept_as_told(case: Case) -> None:
    all_masked(case)
    assert case.recordings.store.budget().max_age_s == _WEEK_S


def durable(folder: Path, replicas: int = 0, *, wait: bool = True) -> Place:
    return Place(folder, replicas, wait=wait, appendonly="yes", appendfsync="everysec")


ROWS = [
    Row("Valkey killed twice, started from its file", restarted, program=LONG, place=durable),
    Row("Valkey fails over to a replica that lags", failed_over, place=partial(durable, replicas=1)),
    Row("Valkey fails over, nobody waited for the replica", failed_over_unconfirmed, program=LONG, place=partial(durable, replicas=1, wait=False), read=read_twice),
    Row("Valkey has snapshots only, killed", from_snapshot, program=LONG, place=snapshots, read=read_twice),
    Row("network to Valkey cut", cut_off, place=durable),
    Row("Valkey's memory full", full, program=LONG, place=durable),
    Row("Valkey's disk full", disk_full, program=LONG, place=lambda folder: durable(folder / "store"), disk=24),
    Row("recorder stopped for longer than its lease in Valkey", stood_still, program=LONG, place=durable),
    Row("Valkey comes back as it was before", went_back, program=LONG, place=durable, read=read_twice),
    Row("Valkey started without its file", forgot, place=durable, read=read_again),
    Row("Valkey started without its file, collected", forgot, program=program(6000), place=durable, before=collector,
        read=read_what_is_collected, form=hidden, after=masked_and_kept_as_told),
]  # fmt: skip
