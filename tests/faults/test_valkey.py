"""Faults of a store on Valkey: it dies, fails over, is full, loses data, or cannot be reached."""

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
from faults.received import Received
from faults.row import parametrize_rows, run_row
from faults.test_masked import check_all_masked, mask, program
from faults.test_recorder import stopped_beyond_its_lease
from support.hand import until
from support.jupyter import counter
from support.valkey import ValkeySetup
from valkey import ResponseError

from cortex_jupyter.errors import CursorNotHeld
from cortex_jupyter.model import TaskRef

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import SandboxProcess
    from faults.case import Case

LONG = counter(10_000, per_second=2000, until="FAULTS_DONE")


async def restarted(case: Case) -> None:
    for _ in range(2):
        await case.wait_lines(3000)
        case.mark_fault()
        await asyncio.to_thread(case.valkey.primary.kill)
        await case.wait_seconds(1)
        await asyncio.to_thread(case.valkey.primary.start)


async def failed_over(case: Case) -> None:
    """Kill the primary while its replica lags behind."""
    await case.wait_lines(3000)
    case.valkey.replication_relay.cut()
    await case.wait_seconds(1)
    await promote_replica(case)
    # A commit waits for a replica, so the operator adds one to the new primary.
    (replica,) = case.valkey.replicas
    await asyncio.to_thread(case.valkey.add_replica, replica.port)


async def promote_replica(case: Case) -> None:
    (replica,) = case.valkey.replicas
    case.mark_fault()
    await asyncio.to_thread(case.valkey.primary.kill)
    await asyncio.to_thread(replica.ask, "REPLICAOF", "NO", "ONE")
    case.valkey.relay.cut()
    case.valkey.relay.restore(replica.port)


async def failed_over_unconfirmed(case: Case) -> None:
    """Fail over to a replica that lacks lines that readers have received, because commits did not wait for it."""
    await case.wait_lines(3000)
    case.valkey.replication_relay.cut()
    await case.wait_lines(2000)
    await promote_replica(case)
    await wait_for_loss_notice(case)


async def cut_off(case: Case) -> None:
    await case.wait_lines(3000)
    case.valkey.relay.cut()
    case.mark_fault()
    await case.wait_seconds(1)
    case.valkey.relay.restore()


async def full(case: Case) -> None:
    await case.wait_lines(3000)
    memory = case.valkey.primary
    case.mark_fault()
    memory.ask("CONFIG", "SET", "maxmemory", memory.client().info("memory")["used_memory"] + 1000)
    await case.until(
        lambda: any("store is full" in n["message"] for n in case.received.notices), "that the store is full"
    )
    await case.wait_seconds(1)
    memory.ask("CONFIG", "SET", "maxmemory", 0)


async def disk_full(case: Case) -> None:
    """Fill the server's disk: it refuses all writes, so that the recording cannot state the problem either."""
    await case.wait_lines(3000)
    filler = case.folder / "store/filler"
    case.mark_fault()
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    await wait_for_refused_writes(case)
    await case.wait_seconds(1)
    filler.unlink()


async def wait_for_refused_writes(case: Case) -> None:
    def refuses() -> bool:
        try:
            case.valkey.primary.ask("PING")
        except ResponseError as error:
            return "MISCONF" in str(error)
        return False

    await case.until(refuses, "that the server refuses to write")


async def rolled_back(case: Case) -> None:
    """Restart the server with an older state, as after a power cut with `appendfsync everysec`."""
    await case.wait_lines(3000)
    server = case.valkey.primary
    (file,) = (server.folder / "appendonlydir").glob("*.incr.aof")
    size = file.stat().st_size
    await case.wait_lines(1500)
    case.mark_fault()
    await asyncio.to_thread(server.kill)
    os.truncate(file, size)
    await asyncio.to_thread(server.start)
    await wait_for_loss_notice(case)


async def wait_for_loss_notice(case: Case) -> None:
    await case.until(lambda: any(n.get("notice") == "store" for n in case.received.notices), "that records were lost")


async def restarted_from_snapshot(case: Case) -> None:
    """Restart the server from its last snapshot; all later records are lost."""
    await case.wait_lines(3000)
    server = case.valkey.primary
    await asyncio.to_thread(server.ask, "SAVE")
    await case.wait_lines(2000)
    case.mark_fault()
    await asyncio.to_thread(server.kill)
    await asyncio.to_thread(server.start)
    await wait_for_loss_notice(case)


async def read_twice(case: Case) -> None:
    """Read to the end, across records that are sent again after a notice; then read again from the start as a new reader."""
    await case.read()
    first = case.received
    assert not first.duplicates and not first.gaps
    written, received = case.node_logs.lines(), first.lines()
    missing = {key: len({*lines} - {*received.get(key, [])}) for key, lines in written.items()}
    assert not any(missing.values()), f"the first reader lacks {missing} lines"
    case.received = Received()
    await case.read()


async def lost_its_file(case: Case) -> None:
    """Restart the server without its data."""
    await case.wait_lines(4000)
    server = case.valkey.primary
    case.mark_fault()
    await asyncio.to_thread(server.kill)
    shutil.rmtree(server.folder / "appendonlydir")
    await asyncio.to_thread(server.start)


async def read_again(case: Case) -> None:
    """Read until the recording is lost; then read again what the cluster still has."""
    with pytest.raises(CursorNotHeld):
        await case.read()
    case.received = Received()
    recording = await case.recordings.find(TaskRef.parse(case.task))
    async with recording.keep_wanted():
        async for event in recording.feed.events():
            case.received.add_event(event.event, orjson.loads(event.entry.data))


def snapshots(folder: Path) -> ValkeySetup:
    return ValkeySetup(folder, save="3600 1")


_WEEK_S = 7 * 86400.0


def collector(case: Case) -> None:
    """Start a collector with settings for masking and retention that the readers do not have."""
    url, config = case.recordings.store.url, str(case.sandbox.kubeconfig)
    command = [sys.executable, "-m", "cortex_jupyter.recorder", "--store", url, "--kubeconfig", config, "--all"]
    settings = {"CORTEX_MASK": "1", "CORTEX_STORE_MAX_AGE": "7d"}
    with (case.folder / "collector.log").open("ab") as log:
        process = subprocess.Popen([*command, "-n", "default"], stdout=log, stderr=log, env=os.environ | settings)
    case.processes.append(process)


async def read_what_is_collected(case: Case) -> None:
    """Read without requesting the task until the recording is lost; then read what the collector records again."""
    with pytest.raises(CursorNotHeld):
        await _read_without_request(case)
    case.received = Received()
    await _read_without_request(case)
    store = case.recordings.store
    await until(lambda: store.budget().max_age_s == _WEEK_S)


async def _read_without_request(case: Case) -> None:
    ref = TaskRef("default", "job", case.task)
    await until(lambda: case.recordings.store.find(ref))
    info = case.recordings.store.find(ref)
    assert info is not None
    async for event in case.recordings.feed(info.id).events():
        case.received.add_event(event.event, orjson.loads(event.entry.data))


def masked_and_retained_as_configured(case: Case) -> None:
    check_all_masked(case)
    assert case.recordings.store.budget().max_age_s == _WEEK_S


def durable(folder: Path, replicas: int = 0, *, wait: bool = True, fsync: str = "everysec") -> ValkeySetup:
    return ValkeySetup(folder, replicas, wait=wait, appendonly="yes", appendfsync=fsync)


ROWS = [
    # With `everysec` a server whose disk is busy writes up to two seconds late, and a kill takes what it has confirmed
    # (`flushAppendOnlyFile` in src/aof.c). "Valkey comes back as it was before" is that case.
    Row("Valkey killed twice, started from its file", restarted, program=LONG, valkey=partial(durable, fsync="always")),
    Row("Valkey fails over to a replica that lags", failed_over, valkey=partial(durable, replicas=1)),
    Row(
        "Valkey fails over, nobody waited for the replica",
        failed_over_unconfirmed,
        program=LONG,
        valkey=partial(durable, replicas=1, wait=False),
        read=read_twice,
    ),
    Row("Valkey has snapshots only, killed", restarted_from_snapshot, program=LONG, valkey=snapshots, read=read_twice),
    Row("network to Valkey cut", cut_off, valkey=durable),
    Row("Valkey's memory full", full, program=LONG, valkey=durable),
    Row(
        "Valkey's disk full",
        disk_full,
        program=LONG,
        valkey=lambda folder: durable(folder / "store"),
        store_disk_mib=24,
    ),
    Row("recorder stopped for longer than its lease in Valkey", stopped_beyond_its_lease, program=LONG, valkey=durable),
    Row("Valkey comes back as it was before", rolled_back, program=LONG, valkey=durable, read=read_twice),
    Row("Valkey started without its file", lost_its_file, valkey=durable, read=read_again),
    Row(
        "Valkey started without its file, collected",
        lost_its_file,
        program=program(6000),
        valkey=durable,
        before=collector,
        read=read_what_is_collected,
        normalize=mask,
        after=masked_and_retained_as_configured,
    ),
]


@parametrize_rows(ROWS)
async def test_row(
    row: Row, sandbox: SandboxProcess, unique: Callable[[str], str], tmp_path: Path, result: Callable[..., None]
) -> None:
    await run_row(row, sandbox, unique("f"), tmp_path, result)
