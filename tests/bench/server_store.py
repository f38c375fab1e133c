"""Recording into Valkey and into SQLite: the same backlog and the same recorder in one run."""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bench import pipe
from bench.report import Report, cpu
from support.hand import Hand
from support.valkey import Server

from cortex_jupyter.model import TaskRef
from cortex_jupyter.reader.feed import Feed
from cortex_jupyter.reader.session import Recording, Session
from cortex_jupyter.store.open import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator

LINES, ROUNDS = 300_000, 3
#: Number of tasks that a process watches, and for how long (s).
WATCHED, REST_S = 100, 20
#: Number of waiting readers of one recording, each with its own connection.
READERS = 20


def run(report: Report) -> None:
    """Measure both stores."""
    figures: dict[str, list[dict[str, float]]] = {"sqlite": [], "valkey": [], "always": []}
    with pipe.backlog(LINES) as (_, home, _):
        for _ in range(ROUNDS):
            for kind, found in figures.items():
                with _new_store(kind) as (url, server):
                    found.append(asyncio.run(_ingest(home.kubeconfig, url, server)))
    one = {kind: {k: statistics.median(f[k] for f in found) for k in found[0]} for kind, found in figures.items()}
    for kind, name in (("sqlite", "SQLite"), ("valkey", "Valkey"), ("always", "Valkey, appendfsync always")):
        figure = one[kind]
        report.add(f"{name}: lines/s per core of the recorder", LINES / figure["cpu"] / 1000, None, "k")
        report.add(f"{name}: lines/s by the clock", LINES / figure["wall"] / 1000, None, "k")
        report.add(
            f"{name}: bytes per line", figure["bytes"] / LINES, None, "B", note="disk" if kind == "sqlite" else "memory"
        )
        if kind != "sqlite":
            report.add(f"{name}: server CPU per line", figure["server"] / LINES * 1e6, None, "us")
    report.add("recorder CPU, Valkey / SQLite", one["valkey"]["cpu"] / one["sqlite"]["cpu"], 1.3)
    report.add("bytes per line, Valkey / SQLite", one["valkey"]["bytes"] / one["sqlite"]["bytes"], 1.5)
    _delivery(report)
    with _new_store("valkey") as (url, server):
        assert server is not None
        asyncio.run(_rest(report, url, server))


async def _rest(report: Report, url: str, server: Server) -> None:
    """Measure a process that watches a hundred idle tasks: requests, connections, CPU."""
    recordings = Session(await asyncio.to_thread(open_store, url), None)
    hands = [Hand(recordings.store, TaskRef("default", "job", f"t{i}"), f"u{i}") for i in range(WATCHED)]

    async def read(one: Recording) -> None:
        async with one.keep_wanted():
            async for _ in one.feed.events():
                pass

    reading = [asyncio.create_task(read(Recording(recordings, hand.id, hand.ref, None))) for hand in hands]
    await asyncio.sleep(2)
    with server.client() as client:
        used, before = time.process_time(), client.info("commandstats")
        began, subscribed = time.monotonic(), client.client_list("pubsub")
        await asyncio.sleep(REST_S)
        after, minutes = client.info("commandstats"), (time.monotonic() - began) / 60
    # A script counts as one request; the commands that it runs do not count.
    asked = {k: after[k]["calls"] - before.get(k, {"calls": 0})["calls"] for k in ("cmdstat_evalsha", "cmdstat_ping")}
    report.add(
        f"at rest, {WATCHED} tasks watched: requests",
        sum(asked.values()) / minutes,
        None,
        "/min",
        note=f"{asked['cmdstat_ping'] / minutes:.0f} of them pings; {len(subscribed)} connection waits",
    )
    report.add("at rest: CPU of the process", (time.process_time() - used) / minutes / 60 * 100, None, "%")
    for task in reading:
        task.cancel()
    await asyncio.gather(*reading, return_exceptions=True)
    await recordings.close()


@contextmanager
def _new_store(kind: str) -> Iterator[tuple[str, Server | None]]:
    with tempfile.TemporaryDirectory() as folder:
        if kind == "sqlite":
            yield f"sqlite://{folder}/r.sqlite", None
            return
        fsync = "always" if kind == "always" else "everysec"
        with Server(Path(folder) / "v", appendonly="yes", appendfsync=fsync) as server:
            yield server.url, server


async def _ingest(kubeconfig: Path, url: str, server: Server | None) -> dict[str, float]:
    """Record the backlog with a new recorder; return the CPU time of the recorder and of the server."""
    recordings = await Session.connect(url, str(kubeconfig))
    assert recordings.cluster is not None
    workload = await recordings.resolve(TaskRef.parse("backlog"))
    host = recordings.cluster.id
    await recordings.close()
    with closing(open_store(url)) as store, tempfile.TemporaryFile() as log:
        id_ = store.open(host, workload.ref, workload.uid)
        store.want(id_, 600)
        before, began = store.size(), time.monotonic()
        pid = server.process.pid if server and server.process else 0
        used = cpu(pid) if pid else 0.0
        command = [sys.executable, "-m", "cortex_jupyter.recorder", "--store", url, "--kubeconfig", str(kubeconfig)]
        process = subprocess.Popen([*command, "--idle", "0"], stdout=log, stderr=log)  # noqa: ASYNC220
        _, status, usage = await asyncio.to_thread(os.wait4, process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.monotonic() - began
        info = store.info(id_)
        log.seek(0)
        assert info is not None and info.done and store.complete(id_).records == LINES, log.read()
        return {
            "cpu": usage.ru_utime + usage.ru_stime,
            "wall": wall,
            "server": cpu(pid) - used if pid else 0.0,
            "bytes": store.size() - (before if server else 0),
        }


def _delivery(report: Report) -> None:
    """Measure the time from a commit to its readers, each with its own connection: the median and the slowest."""
    for kind, name in (("sqlite", "SQLite"), ("valkey", "Valkey")):
        with _new_store(kind) as (url, _):
            asyncio.run(_deliver(report, url, name))


async def _deliver(report: Report, url: str, name: str) -> None:
    waits: list[float] = []
    sent: dict[int, float] = {}
    with closing(open_store(url)) as store:
        hand = Hand(store)
        stores = [open_store(url) for _ in range(READERS)]

        async def read(feed: Feed) -> None:
            async for event in feed.events():
                if event.last in sent:
                    waits.append(time.monotonic() - sent[event.last])  # noqa: PERF401 - the moment counts

        def write() -> None:
            hand.notice()
            for _ in range(100):
                time.sleep(0.02)
                sent[hand.next] = time.monotonic()
                hand.lines([(1, 1, "x" * 150)])
            hand.end()

        reading = [asyncio.create_task(read(Feed(one, hand.id))) for one in stores]
        await asyncio.sleep(0.5)
        await asyncio.to_thread(write)
        await asyncio.gather(*reading)
        for one in stores:
            one.close()
    ordered = sorted(waits)
    report.add(
        f"{name}: commit to {READERS} readers, p95",
        ordered[int(len(ordered) * 0.95)] * 1000,
        None,
        "ms",
        note=f"p50 {ordered[len(ordered) // 2] * 1000:.1f} ms",
    )
